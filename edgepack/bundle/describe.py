# SPDX-License-Identifier: Apache-2.0
"""From what the pipeline hands over to the manifest, and to the figures that stay outside its digest."""

from collections.abc import Mapping

from pydantic import JsonValue

from edgepack import __version__
from edgepack.bundle.contents import BundleContents
from edgepack.bundle.golden import GoldenFile
from edgepack.bundle.manifest import (
    GOLDEN,
    MODEL,
    SCHEMA_VERSION,
    DataPart,
    DevicePart,
    FigurePart,
    FiguresPart,
    GoldenPart,
    LimitPart,
    Manifest,
    ModelPart,
    RuntimePart,
    SourcePart,
    StepPart,
    TensorPart,
    TolerancePart,
)
from edgepack.figure import Evidence, Figure
from edgepack.measure.measurement import LimitVerdict, Measurement
from edgepack.runtime.artifact import IoTensor

# Which figure each accuracy limit is held against; a cost limit bears its figure's own name.
_FIGURE_OF_LIMIT = {"drop": "metric_drop", "min-metric": "metric"}


def make_manifest(contents: BundleContents, golden: GoldenFile, digests: Mapping[str, str]) -> Manifest:
    """Return the manifest of a bundle whose files have ``digests`` by relative path."""
    profile, runtime, measured, source = contents.profile, contents.runtime, contents.measurement, contents.source
    return Manifest(
        edgepack_version=__version__,
        verdict="fits" if contents.fits else "does-not-fit",
        reason=contents.reason,
        model=_model(contents),
        golden=GoldenPart(
            file=GOLDEN,
            samples=golden.samples,
            tolerance=tuple(TolerancePart(unit=item.unit, maximum=item.maximum) for item in golden.tolerances),
        ),
        device=DevicePart(
            name=profile.name,
            title=profile.title,
            device_class=profile.device_class,
            arch=profile.cpu.arch,
            profile_digest=profile.digest,
        ),
        runtime=RuntimePart(
            name=runtime.name, version=runtime.version, kernels=runtime.kernels, threads=runtime.threads
        ),
        recipe=contents.recipe,
        recipe_digest=contents.recipe.digest,
        steps=tuple(
            StepPart(kind=step.kind, sentences=step.sentences, facts=dict(step.facts), control=step.control)
            for step in contents.steps
        ),
        layer_precisions=dict((contents.plan or contents.recipe.precision).layers),
        limits=tuple(_limit(limit, measured) for limit in contents.verdict.limits),
        figures=FiguresPart(**{name: _figure(figure) for name, figure in measured.figures().items()}),
        host_figures=tuple(name for name, figure in measured.figures().items() if is_host(figure)),
        ram_items=() if is_host(measured.ram) else measured.ram_items,
        metric=contents.metric,
        flips=measured.flips,
        optimize=contents.optimize,
        source=SourcePart(name=source.name, format=source.format, digest=source.digest, notes=source.notes),
        data=_data(contents),
        preprocess=None if contents.preprocess is None else dict(contents.preprocess),
        seed=contents.seed,
        reproducible=contents.reproducible,
        versions=dict(contents.versions),
        files=dict(digests),
    )


def measurements_json(contents: BundleContents, syntax_checked: str | None) -> dict[str, JsonValue]:
    """Return what the building machine measured: figures by evidence ``host``, of this and every other candidate."""
    host = contents.host
    return {
        "schema_version": SCHEMA_VERSION,
        "about": "Measured on the machine that built this bundle; outside the bundle's digest.",
        "host": {
            "latency_p50_ms": host.latency_p50_ms,
            "latency_p90_ms": host.latency_p90_ms,
            "rss_bytes": host.rss_bytes,
            "threads": host.threads,
            "machine": host.machine,
        },
        "figures": _host_figures(contents.measurement.figures()),
        "ram_items": [[what, n_bytes] for what, n_bytes in contents.measurement.ram_items],
        "candidates": [{"name": row.name, "figures": _host_figures(row.figures)} for row in contents.candidates],
        "firmware_syntax_checked": syntax_checked,
    }


def is_host(figure: Figure | None) -> bool:
    """Whether a figure belongs to the machine that built the bundle."""
    return figure is not None and figure.evidence is Evidence.HOST


def figure_of(limit: LimitVerdict, measurement: Measurement) -> Figure | None:
    """Return the figure that ``limit`` is held against."""
    return measurement.figures()[_FIGURE_OF_LIMIT.get(limit.name, limit.name)]


def _figure(figure: Figure | None) -> FigurePart | None:
    return None if figure is None or is_host(figure) else FigurePart.model_validate(figure.as_json())


def _limit(limit: LimitVerdict, measurement: Measurement) -> LimitPart:
    """Keep the state of a limit that is held against a host figure, and leave its values out."""
    figure = figure_of(limit, measurement)
    host = is_host(figure)
    return LimitPart(
        name=limit.name,
        limit=limit.limit,
        unit=limit.unit,
        value=None if host else limit.value,
        evidence=None if figure is None else figure.evidence,
        state=limit.state.value,
        certain=None if host else limit.certain,
        headroom=None if host else limit.headroom,
        origin=limit.origin,
        note="" if host else limit.note,
    )


def _model(contents: BundleContents) -> ModelPart:
    artifact = contents.artifact
    return ModelPart(
        file=MODEL,
        format=artifact.format,
        sha256=artifact.digest,
        size_bytes=artifact.size_bytes,
        precision=artifact.precision,
        ops=artifact.ops,
        inputs=tuple(map(_tensor, artifact.inputs)),
        outputs=tuple(map(_tensor, artifact.outputs)),
    )


def _tensor(tensor: IoTensor) -> TensorPart:
    return TensorPart(
        name=tensor.name,
        shape=tensor.shape,
        dtype=tensor.dtype,
        scale=tensor.scale,
        zero_point=tensor.zero_point,
        formula=tensor.formula,
    )


def _data(contents: BundleContents) -> DataPart | None:
    data = contents.data
    if data is None:
        return None
    return DataPart(name=data.name, digest=data.digest, counts=dict(data.counts), notes=data.notes)


def _host_figures(figures: Mapping[str, Figure | None]) -> dict[str, JsonValue]:
    return {name: dict(figure.as_json()) for name, figure in figures.items() if figure is not None and is_host(figure)}
