# SPDX-License-Identifier: Apache-2.0
"""What a step works on and with: the graph, its costs, the samples, the device, and how training is done."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edgepack.data.metric import Metric
from edgepack.data.prepare import Prepared
from edgepack.data.settings import Augmentation
from edgepack.data.source import SampleKind
from edgepack.events import Reporter, silent
from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.model.precision import Precision

if TYPE_CHECKING:
    import keras

_MS_PER_S = 1e3


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensitivity:
    """How much the answers suffer from each layer alone.

    Attributes:
        what: What was done to one layer at a time and what was measured, in words.
        harms: Layer and harm, in the order of the graph; more is worse.
    """

    what: str
    harms: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReport:
    """What one step did.

    Attributes:
        kind: The step's name in a recipe.
        sentences: What was done, with figures, for a person.
        facts: The same for a program: name and value.
        control: What the same training reached without the step, in a sentence; empty where none was run.
        sensitivity: Of the layers, where the step had to measure it; None elsewhere.
    """

    kind: str
    sentences: tuple[str, ...]
    facts: tuple[tuple[str, float | int | str], ...] = ()
    control: str = ""
    sensitivity: Sensitivity | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Graph:
    """A model on its way through the steps; no step changes the one that it is given.

    Attributes:
        net: Flat functional Keras graph: lists of inputs and outputs in the model's order, float32, batch open.
        plan: The precision that it will be lowered to.
        fake_quantized: ``net`` holds fake-quantization layers and its ranges; it is lowered without calibration.
        reports: One per step so far.
    """

    net: "keras.Model"
    plan: PrecisionPlan
    fake_quantized: bool = False
    reports: tuple[StepReport, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a graph costs once it is lowered to its plan; none of it depends on what the weights are.

    Attributes:
        size_bytes: Length of the file.
        macs: Multiply-accumulates of one inference.
        latency_ms: Predicted on the device, the upper end of its band; None where nothing predicts it.
        ram_bytes: The arena, with what optimized kernels may ask for; None where the device has no arena.
    """

    size_bytes: int
    macs: int
    latency_ms: float | None = None
    ram_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What a latency is predicted from, at the middle of its band.

    Attributes:
        macs_per_s: Multiply-accumulates.
        bytes_per_s: Bytes that are read or written; infinite where they cost nothing.
        operator_ms: For each operator, whatever it does.
    """

    macs_per_s: float
    bytes_per_s: float
    operator_ms: float

    def ms(self, *, macs: int, bytes_moved: int, operators: int) -> float:
        """Return the milliseconds that so much work takes, or saves where it is below 0."""
        moving_ms = bytes_moved / self.bytes_per_s * _MS_PER_S
        return macs / self.macs_per_s * _MS_PER_S + moving_ms + operators * self.operator_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The part of a device that steps heed.

    Attributes:
        name: The profile's name.
        runtime: ``litert``, ``tflite-runtime``, ``tflm`` or ``onnxruntime``.
        channel_multiple: Channels that its kernels take at once; widths are rounded to it where groups are wide enough.
        int4_ops: TFLite operators whose weights the runtime takes in 4 bits.
        rates: By precision; those are left out for which the profile predicts no latency.
    """

    name: str
    runtime: str
    channel_multiple: int = 1
    int4_ops: frozenset[str] = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"})
    rates: Mapping[Precision, Rates] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """How steps train, whatever the recipe; what shapes the result is part of an artifact's key.

    Attributes:
        checkpoints: Folder for checkpoints; a killed training resumes from there.
        time_s: Ends a training after that many seconds: the result is then not reproducible. None: no limit.
        loss: ``NAME`` of a Keras loss or ``module:function`` given by the user; empty takes the model's own.
        batch_size: None takes the schedule's.
        threads: Of TensorFlow's pools; part of the artifact's key.
        augmentation: What the data's settings ask for.
        sample_kind: Of the data; decides the augmentation that applies where the settings ask for none.
        jit: Compile the training step with XLA.
        mixed_precision: Compute in bfloat16 or float16 under float32 weights (Keras dtype policy).
        rematerialize: Recompute activations in the backward pass instead of keeping them (keras.RematScope).
        distribute: ``mirrored`` trains on all devices that TensorFlow sees.
        tensorboard: Folder for logs, or None.
    """

    checkpoints: Path
    time_s: float | None = None
    loss: str = ""
    batch_size: int | None = None
    threads: int | None = None
    augmentation: Augmentation = field(default_factory=Augmentation)
    sample_kind: SampleKind = "unknown"
    jit: bool = False
    mixed_precision: bool = False
    rematerialize: bool = False
    distribute: Literal["none", "mirrored"] = "none"
    tensorboard: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Context:
    """Everything that a step may use beside the graph.

    Attributes:
        original: The user's model, flat; never changed, and the default teacher.
        cost: Lowers a graph to its plan and reads what it costs (one or two seconds).
        teacher: A larger model of the user's with the same inputs and outputs, flat; None where none was given.
        loss: What the original was compiled with: Keras configuration as JSON, or empty.
        calibration: Samples for ranges and statistics; None where there is no data.
        train: Samples to train on; None where there are none: such a step is refused, never faked.
        selection: Samples that decide; training never sees them.
        metric: How answers on ``selection`` are scored; None without labels.
        download: Lowers a graph to its plan and returns the bytes of the file, compressed; unlike ``cost`` it depends
            on what the weights are. None where nothing measures it.
    """

    original: "keras.Model"
    cost: Callable[[Graph], Cost]
    target: Target
    training: Training
    seed: int = 0
    teacher: "keras.Model | None" = None
    loss: str = ""
    calibration: Prepared | None = None
    train: Prepared | None = None
    selection: Prepared | None = None
    metric: Metric | None = None
    report: Reporter = silent
    download: Callable[[Graph], int] | None = None
