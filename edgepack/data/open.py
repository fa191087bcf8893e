# SPDX-License-Identifier: Apache-2.0
"""From what the command line gives to the splits: opens the sources, draws, and says what the user should know."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgepack.arrays import Array
from edgepack.data._arrays import ArraySource
from edgepack.data._splits import strata
from edgepack.data.data import SPLIT_NAMES, Data, Split
from edgepack.data.draw import draw
from edgepack.data.match import LABEL_NAMES
from edgepack.data.metric import BUILT_IN, Metric, class_labels
from edgepack.data.settings import Settings, find_settings, read_settings
from edgepack.data.source import Opening, Parts, Source, open_source
from edgepack.digest import digest_json
from edgepack.errors import DataError
from edgepack.registry import nearest
from edgepack.work import Work

_SOURCES = ("data", "train", "calib", "select", "test")


@dataclass(frozen=True, slots=True)
class DataOptions:
    """What the command line gives: paths or ``module:function``; None where an option was not used."""

    data: str | None = None
    train: str | None = None
    calib: str | None = None
    select: str | None = None
    test: str | None = None
    group_by: str | None = None
    seed: int = 0


def data_options(options: Mapping[str, object]) -> DataOptions | None:
    """Return the data options among a command's ``options`` (by parameter name), or None where no source is given."""

    def text(name: str) -> str | None:
        return None if options.get(name) is None else str(options[name])

    if not any(options.get(name) is not None for name in _SOURCES):
        return None
    return DataOptions(
        data=text("data"),
        train=text("train"),
        calib=text("calib"),
        select=text("select"),
        test=text("test"),
        group_by=text("group_by"),
        seed=int(text("seed") or 0),
    )


def open_data(options: DataOptions, *, work: Work | None = None) -> Data:
    """Open the sources and draw the splits; reads no sample, and imports no framework.

    Args:
        options: What the user gave; one of the sources at least.
        work: Where CSV text and the samples of a user's function are kept as arrays; default ``.edgepack``.

    Returns:
        The splits. One source of ``x``, ``y``: 10% calibration, 30% selection, 60% test, stratified and seeded, with
        ``optimistic`` set. Train and test apart: calibration is up to 256 stratified samples of train, selection is
        half of test.

    Raises:
        DataError: Options that contradict each other (EP-200), a source that cannot be used (EP-201 to EP-204,
            EP-216 to EP-218), too few samples or groups (EP-211), ``--group-by`` (EP-212), ``data.yaml`` (EP-213).
        HostError: No space left (EP-501).
    """
    given = {name: spec for name in _SOURCES if (spec := getattr(options, name))}
    _check_options(given)
    settings, notes = _settings(list(given.values()))
    opening = Opening(settings, work or Work(Path(".edgepack")), options.group_by)
    found = _roles({name: open_source(spec, opening) for name, spec in given.items()})
    rng = np.random.default_rng(options.seed)
    splits, optimistic = draw(found, options.group_by, rng)
    notes += [note for source in found.values() for note in source.notes]
    notes += _label_notes(found, settings)
    notes += _remarks(splits, optimistic=optimistic, grouped=options.group_by is not None)
    return _assemble(splits, found=found, settings=settings, notes=notes, optimistic=optimistic, seed=options.seed)


def _check_options(given: dict[str, str]) -> None:
    if not given:
        raise DataError("EP-200", "no data was given", hint="give --data SOURCE, or --train and --test apart")
    if "data" in given and {"train", "test"} & given.keys():
        raise DataError(
            "EP-200",
            "--data gives all splits, and --train or --test was given too",
            hint="use --data alone (with --calib or --select if you like), or --train and --test",
        )


def _settings(specs: list[str]) -> tuple[Settings, list[str]]:
    """Read the one ``data.yaml`` of all sources; two different ones are refused."""
    files = list(dict.fromkeys(path.absolute() for spec in specs if (path := find_settings(spec)) is not None))
    read = [read_settings(path) for path in files]
    different = next((path for path, settings in zip(files, read, strict=True) if settings != read[0]), None)
    if different is not None:
        raise DataError(
            "EP-213", f"{files[0]} and {different} differ", hint="all sources of a build share one data.yaml"
        )
    return (read[0] if read else Settings()), [f"settings from {path}" for path in files[:1]]


def _roles(opened: dict[str, Parts]) -> dict[str, Source]:
    """Return sources by what they are for: all, train, calib, select, test.

    Raises:
        DataError: A source lacks the part that its option names, or classes differ (EP-204).
    """
    found: dict[str, Source] = {}
    for option, parts in opened.items():
        if option == "data":
            found |= parts
            continue
        wanted = "train" if option == "calib" and "train" in parts else option
        if "all" not in parts and wanted not in parts:
            raise DataError(
                "EP-204",
                f"--{option}: {next(iter(parts.values())).origin} has no part {option}; it has {', '.join(parts)}",
                hint="give a source of samples that are not split, or use --data",
            )
        found[option] = parts.get("all") or parts[wanted]
    if "test" not in found and "select" in found and "all" not in found:
        found["test"] = found.pop("select")
    named = [source for source in found.values() if source.class_names]
    odd = next((source for source in named if source.class_names != named[0].class_names), None)
    if odd is not None:
        raise DataError(
            "EP-204",
            f"{named[0].origin} has the classes {', '.join(named[0].class_names)}, "
            f"and {odd.origin} {', '.join(odd.class_names)}: the same number would mean different classes",
            hint="put the same labels.txt, one class a line in the model's order, into both",
        )
    return found


def _remarks(splits: dict[str, Split], *, optimistic: bool, grouped: bool) -> list[str]:
    notes = [
        "no calibration data: precisions that need calibrated ranges are left out"
        if "calibration" not in splits
        else f"calibration: {splits['calibration'].count} samples, never scored"
    ]
    if optimistic:
        notes.append("one source for all splits: the accuracy is optimistic if the model was trained on it")
    if "test" not in splits:
        notes.append("no test data: accuracy is not measured")
    elif splits["test"].source.labels is None:
        notes.append("the test data has no labels: accuracy is not measured")
    if not grouped:
        for source in {id(split.source): split.source for split in splits.values()}.values():
            notes += _lonely_classes(source)
    return notes


def _lonely_classes(source: Source) -> list[str]:
    classes = None if source.labels is None else class_labels(source.labels)
    if classes is None or not strata(source.labels, source.count).any():
        return []
    found, counts = np.unique(classes, return_counts=True)
    return [
        f"{source.origin}: class {source.class_names[one] if 0 <= one < len(source.class_names) else one} "
        "has one sample, so only one split knows it"
        for one in found[counts == 1]
    ]


def _label_notes(found: dict[str, Source], settings: Settings) -> list[str]:
    """Say which array may hold the labels where none does.

    Raises:
        DataError: ``data.yaml`` names one that no source has (EP-204).
    """
    arrays = {source.origin: source for source in found.values() if isinstance(source, ArraySource)}
    if "label" in settings.model_fields_set and arrays and all(source.labels is None for source in found.values()):
        known = sorted({name for source in arrays.values() for name in source.arrays})
        raise DataError(
            "EP-204",
            f"data.yaml: label names the array {settings.label!r}, and {' and '.join(arrays)} "
            f"{'has' if len(arrays) == 1 else 'have'} none of that name",
            hint=nearest(settings.label, known),
        )
    return [
        f"{origin} has no array {settings.label}, but {name} of shape {array.shape}: "
        f"if it holds the labels, put label: {name} into data.yaml"
        for origin, source in arrays.items()
        if source.labels is None
        for name, array in source.arrays.items()
        if name.lower() in LABEL_NAMES and len(array.shape) in {1, 2}
    ]


def _assemble(
    splits: dict[str, Split],
    *,
    found: dict[str, Source],
    settings: Settings,
    notes: list[str],
    optimistic: bool,
    seed: int,
) -> Data:
    scored = [splits[name] for name in ("selection", "test") if name in splits]
    labels = next((split.source.labels for split in scored if split.source.labels is not None), None)
    metric = settings.chosen_metric() or _default_metric(labels)
    if settings.metric is None and metric.name == "mae":
        notes.append("labels are neither classes nor one-hot, so the metric is mae; set metric: in data.yaml")
    return Data(
        calibration=splits.get("calibration"),
        train=splits.get("train"),
        selection=splits.get("selection"),
        test=splits.get("test"),
        metric=metric,
        preprocess=settings.preprocess,
        seed=seed,
        digest=digest_json(
            [
                {name: splits[name].digest for name in SPLIT_NAMES if name in splits},
                settings.preprocess.model_dump(mode="json"),
                settings.augmentation.model_dump(mode="json"),
                [metric.name, metric.higher_is_better],
                seed,
            ]
        ),
        notes=tuple(dict.fromkeys(notes)),
        optimistic=optimistic,
        labelled=bool(scored) and all(split.source.labels is not None for split in scored),
        class_names=next((source.class_names for source in found.values() if source.class_names), ()),
        augmentation=settings.augmentation,
    )


def _default_metric(labels: Array | None) -> Metric:
    """Return accuracy for class labels (and where there are none), mae for numbers."""
    name = "accuracy" if labels is None or class_labels(labels) is not None else "mae"
    return Metric(name, higher_is_better=BUILT_IN[name])
