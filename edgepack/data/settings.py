# SPDX-License-Identifier: Apache-2.0
"""``data.yaml``: how the samples become model inputs, and how answers are scored; strict, with line numbers."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from edgepack.data.metric import BUILT_IN, Metric
from edgepack.data.preprocess import Preprocess
from edgepack.errors import DataError
from edgepack.registry import nearest
from edgepack.strict_yaml import Document, FileKind, StrictYamlError, Where, allowed_keys, dotted, read_yaml

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_KIND = FileKind("settings file", max_bytes=1 << 20, may_be_empty=True)
_UNION_TAGS = {"str", "int"}
_EXPECTED = {
    "string": "text; put numbers in quotes",
    "int": "a whole number",
    "float": "a number, such as 0.5 or 1/255",
    "finite": "a finite number",
    "bool": "true or false",
    "tuple": "a list: [one, two]",
    "too": "a list with one entry at least",
}
_BOUNDS = {"greater_than": "above", "greater_than_equal": "of at least", "less_than_equal": "of at most"}
_Positive = Annotated[int, Field(gt=0)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CsvSettings(_Strict):
    """The ``csv:`` block. Columns are given by header name, or by number from 0."""

    label: str | int | None = None
    """Column of the label; without it a header named label, y, class or target is taken."""
    group: str | int | None = None
    """Column of a recording or a subject; a window never crosses a change of it."""
    ignore: tuple[str | int, ...] = ()
    window: _Positive | None = None
    """Rows in one sample; None makes every row a sample."""
    stride: _Positive | None = None
    """Rows between the starts of two windows; None is ``window``: no overlap."""
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","
    header: bool | None = None
    """None: the first row is a header where none of its cells is a number."""


class WavSettings(_Strict):
    """The ``wav:`` block."""

    length: _Positive | None = None
    """Samples per clip: longer clips are cut at the end, shorter ones get zeros there; None demands equal lengths."""


class Augmentation(_Strict):
    """The ``augmentation:`` block, for steps that train; nothing else reads it.

    What is left out follows the kind of the data (images, audio, series); where that is unknown nothing is changed.
    """

    flip_horizontal: bool = False
    """Never by default: a mirrored 2 is no 2."""
    flip_vertical: bool = False
    shift: Annotated[int, Field(ge=0)] | None = None
    """Largest shift in pixels, or in steps of time."""
    noise: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """Standard deviation of what is added, in standard deviations of the values."""
    mixup: Annotated[float, Field(ge=0, le=1)] | None = None
    """Share of the samples that are blended with another."""
    cutout: Annotated[int, Field(ge=0)] | None = None
    """Side in pixels, or length in steps of time, of a part that is blanked."""


class Settings(_Strict):
    """The whole of ``data.yaml``."""

    preprocess: Preprocess = Preprocess()
    augmentation: Augmentation = Augmentation()
    metric: str | None = None
    """``accuracy``, ``macro-f1``, ``auc``, ``mae``, ``mse``, ``map`` or ``module:function``."""
    higher_is_better: bool | None = None
    """Needed with ``module:function``, refused otherwise."""
    label: str = "y"
    """Name of the label array in ``.npz`` files and folders of ``.npy``."""
    csv: CsvSettings = CsvSettings()
    wav: WavSettings = WavSettings()

    @model_validator(mode="after")
    def _metric_known(self) -> "Settings":
        if self.metric is None or self.metric in BUILT_IN:
            if self.higher_is_better is not None:
                raise ValueError("higher_is_better goes with a metric of your own (module:function)")
        elif ":" not in self.metric:
            raise ValueError(f"metric {self.metric!r} is unknown: {nearest(self.metric, list(BUILT_IN))}")
        elif self.higher_is_better is None:
            raise ValueError(f"metric {self.metric} needs higher_is_better: true or false")
        return self

    def chosen_metric(self) -> Metric | None:
        """Return the metric that the file names, or None where it leaves the choice."""
        if self.metric is None:
            return None
        better = BUILT_IN.get(self.metric, self.higher_is_better)
        return Metric(self.metric, higher_is_better=bool(better))


def find_settings(spec: str) -> Path | None:
    """Return the settings file of the source ``spec``, or None.

    In order: ``NAME.data.yaml`` beside it, ``data.yaml`` inside it (a folder), ``data.yaml`` beside it.
    For ``module:function`` they are looked for in the current folder.
    """
    path = Path(spec)
    if not path.exists() and ":" in spec:
        path = Path(spec.partition(":")[0])
    stem = path.name if path.is_dir() else path.stem
    places = (path.with_name(f"{stem}.data.yaml"), path / "data.yaml", path.with_name("data.yaml"))
    return next((place for place in places if place.is_file()), None)


def read_settings(path: Path) -> Settings:
    """Read ``path``.

    Raises:
        DataError: It cannot be read (EP-201); not plain YAML, unknown keys or bad values, with file and line (EP-213).
    """
    try:
        document = read_yaml(path, _KIND)
        return Settings.model_validate(document.content)
    except OSError as error:
        raise DataError("EP-201", f"cannot read {path}: {error.strerror}", hint="check its permissions") from error
    except StrictYamlError as error:
        raise _invalid(str(error)) from error
    except ValidationError as error:
        raise _refused(document, error) from error


def _refused(document: Document, error: ValidationError) -> DataError:
    """Return one error that names every problem of the file, in the order of its lines."""
    found = [_problem(document, detail) for detail in error.errors(include_url=False)]
    return _invalid("\n".join(dict.fromkeys(text for _, text in sorted(found, key=lambda item: item[0]))))


def _problem(document: Document, detail: "ErrorDetails") -> tuple[int, str]:
    """Return the line of a problem and its message."""
    where: Where = tuple(part for part in detail["loc"] if part not in _UNION_TAGS)
    line, name = document.line(where), dotted(where)
    place = f"{document.label}:{line}"
    if detail["type"] == "extra_forbidden":
        known = allowed_keys(Settings, where[:-1])
        return line, f"{place}: has the unknown key {name!r}; {nearest(str(where[-1]), known)}"
    if detail["type"] == "value_error":
        problem = detail["msg"].removeprefix("Value error, ")
        return line, f"{place}: has a wrong value: {name}: {problem}" if name else f"{place}: {problem}"
    if detail["type"] == "missing":
        return line, f"{place}: has a wrong value: {dotted(where[:-1])} lacks a number; {_expected(detail, where[:-1])}"
    return line, f"{place}: has a wrong value: {name} is {detail['input']!r}; {_expected(detail, where)}"


def _expected(detail: "ErrorDetails", where: Where) -> str:
    context = detail.get("ctx", {})
    kind = detail["type"]
    if kind == "literal_error":
        return f"expected {context['expected']}"
    if kind == "model_type":
        return f"expected keys below it: {', '.join(allowed_keys(Settings, where))}"
    if kind in _BOUNDS:
        return f"expected a number {_BOUNDS[kind]} {context.popitem()[1]}"
    if kind in {"string_too_long", "string_too_short"}:
        return 'expected one character, such as ";" or "\\t"'
    if where[-1:] == ("resize",):
        return "expected two numbers: [height, width]"
    return f"expected {_EXPECTED.get(kind.partition('_')[0], 'another kind of value')}"


def _invalid(message: str) -> DataError:
    return DataError("EP-213", message, hint="edgepack data init writes a commented data.yaml")


TEMPLATE = """\
# How edgepack reads this data. Put the file beside the data source, as data.yaml or NAME.data.yaml.
# Every key is optional; unknown keys are refused. Uncomment what you need.

# From a raw sample to what reaches the model. Steps run in exactly this order, in float32.
# preprocess:
#   resize: [96, 96]          # height, width
#   resample: bilinear        # bilinear (antialiased), bicubic, nearest
#   color: rgb                # rgb or grayscale
#   scale: 1/255              # multiplies every value
#   mean: [0.485, 0.456, 0.406]   # subtracted after scale; one number, or one per channel
#   std: [0.229, 0.224, 0.225]    # divides after mean
#   layout: hwc-to-chw        # or chw-to-hwc
#   dtype: float32            # default: the type of the model's input
#   inputs: [image]           # the model inputs that this block is for; default: all

# The score: accuracy (default for classifiers), macro-f1, auc, mae, mse, map, or your own module:function,
# called with (list of output arrays, labels) and returning a number.
# metric: accuracy
# higher_is_better: true      # only with module:function

# Name of the label array in .npz files and folders of .npy.
# label: y

# csv:
#   label: activity           # header name or column number
#   group: recording          # windows never cross a change of this column
#   ignore: [timestamp]
#   window: 128               # rows in a sample; leave out for one row a sample
#   stride: 64
#   delimiter: ","

# wav:
#   length: 16000             # samples per clip; longer ones are cut, shorter ones zero-padded

# Used only by steps that train. What is left out follows the kind of data; 0 turns a change off.
# augmentation:
#   flip_horizontal: true     # never by default
#   flip_vertical: false
#   shift: 2                  # largest, in pixels or steps of time
#   noise: 0.05               # in standard deviations of the values
#   mixup: 0.5                # share of samples blended with another
#   cutout: 8                 # side in pixels, or steps of time, of a part that is blanked
"""
