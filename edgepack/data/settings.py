# SPDX-License-Identifier: Apache-2.0
"""``data.yaml``: how the samples become model inputs, and how answers are scored; strict, with line numbers."""

from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from edgepack.data.metric import BUILT_IN, Metric
from edgepack.data.preprocess import Preprocess
from edgepack.errors import DataError
from edgepack.registry import nearest

_MAX_BYTES = 1 << 20
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
    """The ``augmentation:`` block, for steps that train; nothing else reads it."""

    flip_horizontal: bool = False
    shift: Annotated[int, Field(ge=0)] = 0
    """Largest shift in pixels."""


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
        DataError: Not YAML, unknown keys, bad values, or aliases, with file and line (EP-213).
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise _invalid(path, None, f"is larger than {_MAX_BYTES} bytes")
        text = path.read_text(encoding="utf-8")
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text, Loader=yaml.SafeLoader)):
            raise _invalid(path, None, "uses YAML aliases, which a settings file does not need")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error)
        raise _invalid(path, None if mark is None else mark.line + 1, f"is not valid YAML: {problem}") from error
    except OSError as error:
        raise DataError("EP-201", f"cannot read {path}: {error.strerror}", hint="check its permissions") from error
    try:
        return Settings.model_validate({} if content is None else content)
    except ValidationError as error:
        raise _refused(path, root, error) from error


def _refused(path: Path, root: yaml.Node | None, error: ValidationError) -> DataError:
    first = error.errors()[0]
    where = tuple(first["loc"])
    line = _line_of(root, where)
    name = ".".join(str(part) for part in where)
    if first["type"] == "extra_forbidden":
        return _invalid(path, line, f"has the unknown key {name!r}; {nearest(str(where[-1]), _keys(where[:-1]))}")
    problem = first["msg"].removeprefix("Value error, ")
    return _invalid(path, line, f"has a wrong value: {name}: {problem}" if name else problem)


def _keys(where: tuple[int | str, ...]) -> list[str]:
    """Return the keys allowed at ``where`` in the file."""
    model: type[BaseModel] = Settings
    for part in where:
        inner = model.model_fields[str(part)].annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            model = inner
    return list(model.model_fields)


def _line_of(node: yaml.Node | None, where: tuple[int | str, ...]) -> int | None:
    """Return the line (from 1) of the deepest part of ``where`` that the file holds."""
    if node is None:
        return None
    line: int = node.start_mark.line + 1
    for part in where:
        if not isinstance(node, yaml.MappingNode):
            break
        found = next((pair for pair in node.value if pair[0].value == str(part)), None)
        if found is None:
            break
        line, node = found[0].start_mark.line + 1, found[1]
    return line


def _invalid(path: Path, line: int | None, problem: str) -> DataError:
    place = str(path) if line is None else f"{path}:{line}"
    return DataError("EP-213", f"{place}: {problem}", hint="edgepack data init writes a commented data.yaml")


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

# Used only by steps that train.
# augmentation:
#   flip_horizontal: true
#   shift: 2
"""
