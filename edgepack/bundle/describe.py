# SPDX-License-Identifier: Apache-2.0
"""From what the pipeline hands over to the manifest, and to the figures that stay outside its digest."""

from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from edgepack import __version__
from edgepack.bundle.contents import BundleContents, DataUsed, FileEdge, MinimalBuild, Source, TrainingUsed
from edgepack.bundle.golden import GoldenFile
from edgepack.bundle.manifest import (
    GOLDEN,
    MODELS,
    ORT_CONFIG,
    ORT_MODEL,
    SCHEMA_VERSION,
    DataPart,
    Described,
    DevicePart,
    FigurePart,
    FiguresPart,
    GoldenPart,
    LimitPart,
    Manifest,
    MinimalBuildPart,
    ModelPart,
    RuntimePart,
    SourcePart,
    StepPart,
    TeacherPart,
    TensorPart,
    TolerancePart,
    TrainingPart,
)
from edgepack.device.profile import DeviceProfile, RuntimeSpec
from edgepack.figure import Figure, is_host
from edgepack.graph.context import StepReport
from edgepack.measure.measurement import FIGURES, LimitVerdict, Measurement, Verdict, figure_of

# Which figure each accuracy limit is held against; a cost limit bears its figure's own name.


def described(contents: BundleContents) -> Described:
    """Return what the manifest and the report both say of ``contents``."""
    measured = contents.measurement
    return Described(
        edgepack_version=__version__,
        verdict="fits" if contents.fits else "does-not-fit",
        reason=contents.reason,
        device=_device_part(contents.profile),
        runtime=_runtime_part(contents.runtime),
        recipe=contents.recipe,
        recipe_digest=contents.recipe.digest,
        steps=step_parts(contents.steps),
        layer_precisions=dict((contents.plan or contents.recipe.precision).layers),
        limits=limit_parts(contents.verdict, measured),
        figures=figures_part(measured.figures()),
        host_figures=host_names(measured.figures()),
        ram_items=() if is_host(measured.ram) else measured.ram_items,
        metric=contents.metric,
        flips=measured.flips,
        optimize=contents.optimize,
        source=_source_part(contents.source),
        data=_data_part(contents.data),
        seed=contents.seed,
        reproducible=contents.reproducible,
        ended=contents.ended,
        versions=dict(contents.versions),
    )


def make_manifest(contents: BundleContents, golden: GoldenFile, digests: Mapping[str, str]) -> Manifest:
    """Return the manifest of a bundle whose files have ``digests`` by relative path."""
    return Manifest(
        **dict(described(contents)),
        model=_model(contents),
        golden=GoldenPart(
            file=GOLDEN,
            samples=golden.samples,
            tolerance=tuple(TolerancePart(unit=item.unit, maximum=item.maximum) for item in golden.tolerances),
        ),
        preprocess=None if contents.preprocess is None else dict(contents.preprocess),
        training=training_part(contents.training),
        minimal_build=_minimal(contents.minimal, digests),
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


def _device_part(profile: DeviceProfile) -> DevicePart:
    """Return the device's part."""
    return DevicePart(
        name=profile.name,
        title=profile.title,
        device_class=profile.device_class,
        arch=profile.cpu.arch,
        profile_digest=profile.digest,
    )


def _runtime_part(runtime: RuntimeSpec) -> RuntimePart:
    """Return the runtime's part."""
    return RuntimePart(
        name=runtime.name,
        version=runtime.version,
        kernels=runtime.kernels,
        threads=runtime.threads,
        provider=runtime.provider,
    )


def _source_part(source: Source) -> SourcePart:
    """Return the part of the model that the user gave."""
    return SourcePart(name=source.name, format=source.format, digest=source.digest, notes=source.notes)


def _data_part(data: DataUsed | None) -> DataPart | None:
    """Return the data's part, or None."""
    if data is None:
        return None
    return DataPart(name=data.name, digest=data.digest, counts=dict(data.counts), notes=data.notes)


def step_parts(steps: Sequence[StepReport]) -> tuple[StepPart, ...]:
    """Return what each step did."""
    return tuple(
        StepPart(kind=step.kind, sentences=step.sentences, facts=dict(step.facts), control=step.control)
        for step in steps
    )


def training_part(training: TrainingUsed | None) -> TrainingPart | None:
    """Return how the steps trained, or None where nothing did."""
    if training is None:
        return None
    options, teacher = training.options, training.teacher
    return TrainingPart(
        loss=options.loss,
        teacher=None if teacher is None else TeacherPart(name=teacher[0], sha256=teacher[1]),
        batch_size=options.batch_size,
        threads=options.threads,
        time_s=options.time_s,
        distribute=options.distribute,
        mixed_precision=options.mixed_precision,
        rematerialize=options.rematerialize,
        jit=options.jit,
        augmentation=training.augmentation.model_dump(mode="json"),
    )


def figures_part(figures: Mapping[str, Figure | None]) -> FiguresPart:
    """Return figures by name without the host's, which ``host_names`` names."""
    return FiguresPart(**{name: figure_part(figures.get(name)) for name in FIGURES})


def host_names(figures: Mapping[str, Figure | None]) -> tuple[str, ...]:
    """Return the names of the figures that belong to the machine that built the bundle."""
    return tuple(name for name, figure in figures.items() if is_host(figure))


def limit_parts(verdict: Verdict, measurement: Measurement) -> tuple[LimitPart, ...]:
    """Return what became of each limit."""
    return tuple(_limit(limit, measurement) for limit in verdict.limits)


def figure_part(figure: Figure | None) -> FigurePart | None:
    """Return a figure's JSON form; None where it is the host's."""
    return None if figure is None or is_host(figure) else FigurePart.model_validate(figure.as_json())


def _limit(limit: LimitVerdict, measurement: Measurement) -> LimitPart:
    """Keep the state of a limit that is held against a host figure, and leave its values out."""
    figure = measurement.figures()[figure_of(limit.name)]
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
        file=MODELS[artifact.format],
        format=artifact.format,
        sha256=artifact.digest,
        size_bytes=artifact.size_bytes,
        precision=artifact.precision,
        ops=artifact.ops,
        inputs=tuple(_tensor(edge) for edge in contents.edges if edge.side == "input"),
        outputs=tuple(_tensor(edge) for edge in contents.edges if edge.side == "output"),
        notes=artifact.notes,
    )


def _minimal(minimal: MinimalBuild | None, digests: Mapping[str, str]) -> MinimalBuildPart | None:
    if minimal is None:
        return None
    size_bytes = minimal.model.stat().st_size
    return MinimalBuildPart(file=ORT_MODEL, config=ORT_CONFIG, sha256=digests[ORT_MODEL], size_bytes=size_bytes)


def _tensor(edge: FileEdge) -> TensorPart:
    tensor = edge.tensor
    return TensorPart(
        name=tensor.name,
        shape=tensor.shape,
        dtype=tensor.dtype,
        scale=tensor.scale,
        zero_point=tensor.zero_point,
        formula=tensor.formula,
        axes=edge.axes,
    )


def _host_figures(figures: Mapping[str, Figure | None]) -> dict[str, JsonValue]:
    return {name: dict(figure.as_json()) for name, figure in figures.items() if figure is not None and is_host(figure)}
