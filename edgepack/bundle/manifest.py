# SPDX-License-Identifier: Apache-2.0
"""The manifest as types: what a bundle is, in JSON that depends on the inputs alone, and whose digest is the bundle's.

Figures with the evidence ``host`` (times and resident memory of the machine that built it) change from run to run:
they are named here and their values live in ``measurements.json``, outside the digest. ``manifest.schema.json`` is
made from these types.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, JsonValue

from edgepack.compress.recipe import Recipe
from edgepack.device.parts import Provider
from edgepack.device.wheels import FileFormat
from edgepack.digest import digest_json
from edgepack.figure import Evidence, Figure
from edgepack.model.precision import Precision

SCHEMA_VERSION: Final = 1
KIND: Final = "edgepack-bundle"
MODELS: Final[Mapping[FileFormat, str]] = {"tflite": "model.tflite", "onnx": "model.onnx"}
MANIFEST: Final = "manifest.json"
MEASUREMENTS: Final = "measurements.json"
GOLDEN: Final = "golden.npz"
ORT_MODEL: Final = "model.ort"
ORT_CONFIG: Final = "required_operators_and_types.config"
REPORT: Final = "report.json"
REPORT_MARKDOWN: Final = "report.md"
REPORT_HTML: Final = "report.html"
ANSWERS: Final = "answers.npz"
# report.html is drawn from report.json by a library that is not pinned: another release draws other bytes.
OUTSIDE_DIGEST: Final = frozenset({MANIFEST, MEASUREMENTS, REPORT_HTML})


class Part(BaseModel):
    """Base of everything that ``manifest.json`` and ``report.json`` hold."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_serialization_defaults_required=True)


class FigurePart(Part):
    """A figure with its evidence; never ``host``."""

    value: float
    unit: str
    evidence: Evidence
    ci_low: float | None
    ci_high: float | None
    ci_level: float | None
    n: int | None

    def figure(self) -> Figure:
        """Return the figure that this is the JSON of."""
        return Figure(**dict(self))


class TensorPart(Part):
    """One input or output; its place in the list is its place in the file.

    Axis i of it is axis ``axes[i]`` of what the training code feeds or gets; empty where they are the same.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None
    zero_point: int | None
    formula: str
    axes: tuple[int, ...] = ()


class ModelPart(Part):
    """The model file; ``notes`` say what was found out when it was made, how much of it runs in integers say."""

    file: str
    format: FileFormat
    sha256: str
    size_bytes: int
    precision: Precision
    ops: tuple[str, ...]
    inputs: tuple[TensorPart, ...]
    outputs: tuple[TensorPart, ...]
    notes: tuple[str, ...] = ()


class MinimalBuildPart(Part):
    """The same model for a minimal build of ONNX Runtime, and the operators that such a build needs."""

    file: str
    config: str
    sha256: str
    size_bytes: int


class TolerancePart(Part):
    """How far an output may differ from its golden value: units of an integer output, or its own unit."""

    unit: Literal["lsb", "abs"]
    maximum: float


class GoldenPart(Part):
    """The golden vectors: ``input_0``, ``raw_input_0``, ``raw_output_0``, ``output_0``... in an ``.npz``."""

    file: str
    samples: int
    tolerance: tuple[TolerancePart, ...]


class DevicePart(Part):
    """The device that the bundle was built for."""

    name: str
    title: str
    device_class: Literal["linux", "mcu"]
    arch: str
    profile_digest: str


class RuntimePart(Part):
    """The runtime on the device, in which the golden vectors and the metric were computed: of a GPU's, its processor.

    ``provider`` is what computes on the GPU there, or null.
    """

    name: str
    version: str
    kernels: str
    threads: int
    provider: Provider | None = None


class LimitPart(Part):
    """One active limit; ``value``, ``headroom`` and ``certain`` are null where the figure is a host's."""

    name: str
    limit: float
    unit: str
    value: float | None
    evidence: Evidence | None
    state: Literal["met", "missed", "unmeasured"]
    certain: bool | None
    headroom: float | None
    origin: str
    note: str


class FiguresPart(Part):
    """The figures; null means not measured, or named in ``host_figures``."""

    size: FigurePart | None
    flash: FigurePart | None
    ram: FigurePart | None
    latency: FigurePart | None
    energy: FigurePart | None
    download: FigurePart | None
    metric: FigurePart | None
    metric_drop: FigurePart | None


class SourcePart(Part):
    """The model that the user gave."""

    name: str
    format: str
    digest: str
    notes: tuple[str, ...]


class DataPart(Part):
    """The data behind calibration and the metric."""

    name: str
    digest: str
    counts: dict[str, int]
    notes: tuple[str, ...]


class StepPart(Part):
    """What one step of the recipe did."""

    kind: str
    sentences: tuple[str, ...]
    facts: dict[str, float | int | str]
    control: str


class TeacherPart(Part):
    """A larger model of the user's that steps learnt from."""

    name: str
    sha256: str


class TrainingPart(Part):
    """How the steps trained, where the user has a say; null is the step's or the library's own choice.

    ``time_s`` is the limit that was asked for, not what it took; ``loss`` is empty for the model's own.
    """

    loss: str
    teacher: TeacherPart | None
    batch_size: int | None
    threads: int | None
    time_s: float | None
    distribute: Literal["none", "mirrored"]
    mixed_precision: bool
    rematerialize: bool
    jit: bool
    augmentation: dict[str, JsonValue]


class Described(Part):
    """What the manifest and the report of one bundle both say; ``ended`` is null in those of older versions."""

    edgepack_version: str
    verdict: Literal["fits", "does-not-fit"]
    reason: str
    device: DevicePart
    runtime: RuntimePart
    recipe: Recipe
    recipe_digest: str
    steps: tuple[StepPart, ...]
    layer_precisions: dict[str, Precision]
    limits: tuple[LimitPart, ...]
    figures: FiguresPart
    host_figures: tuple[str, ...]
    ram_items: tuple[tuple[str, int], ...]
    metric: str | None
    flips: int | None
    optimize: str
    source: SourcePart
    data: DataPart | None
    seed: int
    reproducible: bool
    ended: Literal["through", "interrupted", "search-time"] | None = None
    versions: dict[str, str]


class Manifest(Described):
    """``manifest.json``."""

    kind: Literal["edgepack-bundle"] = KIND
    schema_version: Literal[1] = SCHEMA_VERSION
    model: ModelPart
    golden: GoldenPart
    preprocess: dict[str, JsonValue] | None
    training: TrainingPart | None = None
    minimal_build: MinimalBuildPart | None = None
    files: dict[str, str]

    @property
    def digest(self) -> str:
        """The bundle's identity: SHA-256 over the canonical JSON."""
        return digest_json(self.model_dump(mode="json"))


def manifest_schema() -> dict[str, JsonValue]:
    """Return the JSON Schema of ``manifest.json``, as ``manifest.schema.json`` holds it."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Manifest.model_json_schema(mode="serialization"),
    }


def write_json(body: Mapping[str, JsonValue], target: Path) -> None:
    """Write JSON for people and diffs: sorted keys, two spaces, one final newline."""
    text = json.dumps(body, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False)
    target.write_text(text + "\n", encoding="utf-8")
