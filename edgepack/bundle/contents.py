# SPDX-License-Identifier: Apache-2.0
"""What goes into a bundle, as the pipeline hands it over: typed values only, nothing on disk yet."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import JsonValue

from edgepack.arrays import Array
from edgepack.compress.recipe import Recipe
from edgepack.data.settings import Augmentation
from edgepack.device.profile import DeviceProfile, RuntimeSpec
from edgepack.figure import Figure
from edgepack.graph.context import Sensitivity, StepReport, Training
from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.lower.artifact import Artifact, IoTensor
from edgepack.measure.answers import Answered
from edgepack.measure.measurement import Measurement, Verdict
from edgepack.search.candidate import Word
from edgepack.search.reached import Reached
from edgepack.search.relax import Relaxation

Ended = Literal["through", "interrupted", "search-time"]
"""How a build came to its end: through, cut off (Ctrl-C, a signal), or when the time for its search was up."""


@dataclass(frozen=True, slots=True)
class Source:
    """The model that the user gave.

    Attributes:
        name: File name without its folder: a path would make equal builds differ.
        format: ``keras``, ``h5``, ``savedmodel``, ``tflite``...
        digest: SHA-256 over architecture and weights.
        notes: What was changed on the way in ("batch fixed to 1"), in sentences.
        layout: How image samples were given, of an ONNX file: as its inputs lie, or channels last (``nhwc``).
    """

    name: str
    format: str
    digest: str
    notes: tuple[str, ...] = ()
    layout: Literal["source", "nhwc"] = "source"


@dataclass(frozen=True, slots=True)
class DataUsed:
    """The data behind calibration and the metric.

    Attributes:
        name: Name of the source without its folder.
        digest: SHA-256 of the source.
        counts: Samples in each split: calibration, selection, test.
        notes: What the reader must know of them ("optimistic if the model was trained on it").
    """

    name: str
    digest: str
    counts: Mapping[str, int]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Golden:
    """Inputs with the answers that the device's own runtime gave here.

    Attributes:
        inputs: By the model's input names, as the model takes them before quantization: ``(n, *sample shape)``.
        raw_outputs: By output names, in the file's own type, as the runtime gave them: ``(n, *sample shape)``.
        raw_inputs: By input names, in the file's own type; None lets the bundle quantize ``inputs`` by the formula.
    """

    inputs: Mapping[str, Array]
    raw_outputs: Mapping[str, Array]
    raw_inputs: Mapping[str, Array] | None = None


@dataclass(frozen=True, slots=True)
class CandidateRow:
    """One line of the report's table.

    Attributes:
        state: As a candidate's.
        reason: Why it is not in the running; empty where it fits. No paths and no times of this machine.
        figures: By name (``size``, ``ram``, ``latency``...); None where not measured.
        chosen: It is the one in the bundle.
        is_control: It was made to hold another candidate against.
        frontier: No other candidate beats it in everything.
        recipe: What was asked; None only where a test leaves it out.
        steps: What each step of the recipe did.
        flips: Answers that differ from the original's on the selection split, or None.
    """

    name: str
    state: Word
    reason: str
    figures: Mapping[str, Figure | None]
    chosen: bool = False
    is_control: bool = False
    frontier: bool = False
    recipe: Recipe | None = None
    steps: tuple[StepReport, ...] = ()
    flips: int | None = None


@dataclass(frozen=True, slots=True)
class OperatorRow:
    """What one operator of the model file costs.

    Attributes:
        kind: Operator name, such as ``CONV_2D``.
        layers: The source's layers that it computes, joined by `` + ``; empty where not known.
        macs: Multiply-accumulates of one inference.
        weight_bytes: Stored constants that are its own: weights and biases.
        weights: Types of the constants that it multiplies by, ``int8`` say; empty where it has none.
        output: Type of what it gives out.
        latency_share: Its part of the predicted latency, of 1.
    """

    kind: str
    layers: str
    macs: int
    weight_bytes: int
    weights: str
    output: str
    latency_share: float


@dataclass(frozen=True, slots=True)
class LayerHarms:
    """How sensitive the layers are, where a step of some candidate had to measure it.

    Attributes:
        candidate: Name of the candidate whose step measured it.
        sensitivity: What was done to each layer, and the harm.
    """

    candidate: str
    sensitivity: Sensitivity


@dataclass(frozen=True, slots=True)
class TrainingUsed:
    """How the steps of the recipe trained.

    Attributes:
        options: As the user asked.
        augmentation: As the data's settings ask.
        teacher: File name and SHA-256 of a larger model of the user's, or None.
    """

    options: Training
    augmentation: Augmentation
    teacher: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class AnswersGiven:
    """The answers behind the metric.

    Attributes:
        answered: Labels, and what the original and the bundle's model answered.
        split_digest: SHA-256 of which samples they are.
        class_names: By class number; empty where the data names none.
    """

    answered: Answered
    split_digest: str
    class_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HostMeasurement:
    """What one inference took on the machine that built the bundle; written outside the digest, judged by nothing.

    Attributes:
        latency_p50_ms: Median of the timed inferences.
        latency_p90_ms: Their 90th percentile.
        rss_bytes: Resident growth of a fresh process, or None where the runtime is a microcontroller's.
        threads: Threads that the runtime was given.
        machine: Processor and system, in words.
    """

    latency_p50_ms: float | None = None
    latency_p90_ms: float | None = None
    rss_bytes: int | None = None
    threads: int = 1
    machine: str = ""


@dataclass(frozen=True, slots=True)
class MinimalBuild:
    """The model for a minimal build of ONNX Runtime.

    Attributes:
        model: In ONNX Runtime's own format, optimized for the device.
        config: The operators, and the types of their inputs, that a build needs for it.
    """

    model: Path
    config: Path


@dataclass(frozen=True, slots=True)
class FileEdge:
    """An input or output of the file, and how it lies in the training code.

    Attributes:
        axes: Axis i of ``tensor`` is axis ``axes[i]`` of what the training code feeds or gets; empty where they are
            the same.
    """

    side: Literal["input", "output"]
    tensor: IoTensor
    axes: tuple[int, ...]

    @property
    def sample_shape(self) -> list[int]:
        """Of one sample as it is fed or given, without a batch."""
        order = self.axes or tuple(range(len(self.tensor.shape)))
        batch = order[0] if order else 0
        return [self.tensor.shape[order.index(axis)] for axis in range(len(order)) if axis != batch]

    @property
    def words(self) -> str:
        """How it lies otherwise than in the training code; empty where it does not."""
        if not self.axes:
            return ""
        given = [self.tensor.shape[self.axes.index(axis)] for axis in range(len(self.axes))]
        return f"{given} in the training code: axis i of this tensor is axis {list(self.axes)}[i] there"


@dataclass(frozen=True, slots=True)
class BundleContents:
    """Everything that ``write_bundle`` writes.

    Attributes:
        runtime: The one of the profile's runtimes that the artifact was measured in.
        data: None where no data was given; the metric is then unmeasured.
        preprocess: The user's block of ``data.yaml`` as plain JSON, or None.
        metric: Name of the metric, or None without labels.
        reason: Why this candidate, in sentences.
        fits: Whether it was found to fit, on the selection split and on the test split.
        versions: Of every package that shaped the file: ``edgepack``, ``tensorflow``, ``ai-edge-litert``...
        reproducible: False where a time limit was set, or the build was cut off.
        optimize: What was optimized among the candidates that fit.
        steps: What each step of the recipe did.
        plan: The precision of each layer where a step decided so; None where it is the recipe's own.
        operators: What each operator of the model file costs, in its order.
        harms: None where no step measured how sensitive the layers are.
        test: None without labels, or where the build was cut off before.
        training: None where nothing trained.
        reached: How near each limit a candidate came that meets the others; empty where one fits.
        relaxations: What would let a candidate fit; empty where one does.
        command: What to type to build this again, file names without their folders.
        minimal: None where it was not asked for, or cannot be had.
        input_axes: Of each input of the file, in its order: axis i is axis ``input_axes[...][i]`` of what the training
            code feeds; empty where they are the same.
        output_axes: Of each output, likewise.
    """

    artifact: Artifact
    profile: DeviceProfile
    runtime: RuntimeSpec
    recipe: Recipe
    verdict: Verdict
    measurement: Measurement
    source: Source
    golden: Golden
    versions: Mapping[str, str]
    seed: int
    reason: str
    fits: bool
    data: DataUsed | None = None
    preprocess: Mapping[str, JsonValue] | None = None
    metric: str | None = None
    candidates: tuple[CandidateRow, ...] = ()
    host: HostMeasurement = field(default_factory=HostMeasurement)
    optimize: str = "latency"
    reproducible: bool = True
    ended: Ended = "through"
    steps: tuple[StepReport, ...] = ()
    plan: PrecisionPlan | None = None
    operators: tuple[OperatorRow, ...] = ()
    harms: LayerHarms | None = None
    test: AnswersGiven | None = None
    training: TrainingUsed | None = None
    reached: tuple[Reached, ...] = ()
    relaxations: tuple[Relaxation, ...] = ()
    command: tuple[str, ...] = ()
    minimal: MinimalBuild | None = None
    input_axes: tuple[tuple[int, ...], ...] = ()
    output_axes: tuple[tuple[int, ...], ...] = ()

    @property
    def edges(self) -> tuple[FileEdge, ...]:
        """The file's inputs, then its outputs."""
        sides: tuple[tuple[Literal["input", "output"], tuple[IoTensor, ...], tuple[tuple[int, ...], ...]], ...]
        sides = (("input", self.artifact.inputs, self.input_axes), ("output", self.artifact.outputs, self.output_axes))
        return tuple(
            FileEdge(side, tensor, axes[place] if axes else ())
            for side, tensors, axes in sides
            for place, tensor in enumerate(tensors)
        )
