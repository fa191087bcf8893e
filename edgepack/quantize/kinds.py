# SPDX-License-Identifier: Apache-2.0
"""How TFLite quantizes what each operation gives out (https://ai.google.dev/edge/litert/models/quantization_spec)."""

from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from edgepack.model.fake_quant import WEIGHTED

if TYPE_CHECKING:
    from keras import Operation


class Kind(Enum):
    """What becomes of the range of an operation's result."""

    OWN = auto()  # a range of its own
    FIXED = auto()  # the range that every runtime gives it
    SAME = auto()  # the range of its input; values are rounded again
    KEEP = auto()  # the range and the values of its input
    JOIN = auto()  # one range for all its inputs and itself
    FLOAT = auto()  # not quantized


SIGMOID_RANGE: Final = (0.0, 255 / 256)
_FIXED: Final = {"softmax": SIGMOID_RANGE, "sigmoid": SIGMOID_RANGE, "tanh": (-1.0, 127 / 128)}
RUNTIME_RANGES: Final = frozenset(_FIXED.values())
_KINDS: Final = {
    Kind.KEEP: (
        *("MaxPooling1D", "MaxPooling2D", "GlobalMaxPooling1D", "GlobalMaxPooling2D", "UpSampling1D", "RepeatVector"),
        *("Flatten", "Reshape", "Permute", "Cropping1D", "Cropping2D", "ZeroPadding1D", "ZeroPadding2D", "Identity"),
        *("Dropout", "SpatialDropout1D", "SpatialDropout2D", "GaussianNoise", "GaussianDropout", "AlphaDropout"),
        *("ActivityRegularization", "Transpose", "Squeeze", "ExpandDims", "GetItem", "ConvertToTensor"),
    ),
    Kind.SAME: ("AveragePooling1D", "AveragePooling2D"),
    Kind.JOIN: ("Concatenate", "Maximum", "Minimum"),
    Kind.OWN: (
        *("Add", "Subtract", "Multiply", "GlobalAveragePooling1D", "GlobalAveragePooling2D"),
        *("LeakyReLU", "Relu", "Relu6"),
    ),
}
_KIND_OF: Final = {name: kind for kind, names in _KINDS.items() for name in names}
_OWN_FUNCTIONS: Final = frozenset({"relu", "relu6", "leaky_relu", "hard_silu", "hard_swish", "gelu"})
_FUSED: Final = frozenset({"linear", "relu", "relu6"})
_TAKES_RELU: Final = frozenset({*WEIGHTED, "Add", "Subtract", "Multiply"})
_PAIRED: Final = frozenset({"Add", "Subtract", "Multiply"})
_RELU6: Final = 6.0
_PAIR: Final = 2


def kind_of(operation: "Operation") -> Kind:
    """Return how the result of ``operation``, of an expanded graph, is quantized."""
    name, function = type(operation).__name__, activation_of(operation)
    kind = _KIND_OF.get(name, Kind.FLOAT)
    if fixed_range(operation) is not None:
        kind = Kind.FIXED
    elif name in WEIGHTED:
        kind = Kind.OWN if function in _FUSED else Kind.FLOAT
    elif name == "UpSampling2D":
        kind = {"nearest": Kind.KEEP, "bilinear": Kind.SAME}.get(operation.interpolation, Kind.FLOAT)
    elif name == "Activation":
        kind = Kind.KEEP if function == "linear" else Kind.OWN if function in _OWN_FUNCTIONS else Kind.FLOAT
    elif name == "ReLU" and not operation.negative_slope and not operation.threshold:
        kind = Kind.OWN
    elif name in _PAIRED and len(operation._inbound_nodes[0].arguments.keras_tensors) < _PAIR:  # noqa: SLF001
        kind = Kind.FLOAT  # beside 4-bit weights the converter leaves constants float, those of a PReLU too
    channels_last = getattr(operation, "data_format", "channels_last") == "channels_last"
    return kind if channels_last else Kind.FLOAT


def fixed_range(operation: "Operation") -> tuple[float, float] | None:
    """Return the range that the result has in every runtime, or None where it depends on the values.

    A ReLU that is cut at another value than 6 has no operator: its range cuts it.
    """
    name = type(operation).__name__
    if name in {"Softmax", "Sigmoid", "Tanh"}:
        return None if getattr(operation, "axis", -1) != -1 else _FIXED[name.lower()]
    if name == "ReLU" and operation.max_value not in {None, _RELU6}:
        return (0.0, float(operation.max_value)) if not operation.negative_slope and not operation.threshold else None
    return _FIXED.get(activation_of(operation)) if name == "Activation" else None


def activation_of(operation: "Operation") -> str:
    """Return the name of the function that ``operation`` applies to its result; empty where it has none."""
    return str(getattr(getattr(operation, "activation", None), "__name__", ""))


def is_relu(operation: "Operation") -> bool:
    """Whether ``operation`` is a ReLU or ReLU6, which kernels apply as they write their result."""
    name = type(operation).__name__
    if name == "ReLU":
        return kind_of(operation) in {Kind.OWN, Kind.FIXED}
    return name in {"Relu", "Relu6"} or (name == "Activation" and activation_of(operation) in {"relu", "relu6"})


def takes_relu(operation: "Operation") -> bool:
    """Whether a ReLU after ``operation`` becomes part of it."""
    return type(operation).__name__ in _TAKES_RELU and activation_of(operation) in {"", "linear"}


def is_weighted(operation: "Operation") -> bool:
    """Whether ``operation`` has a kernel that TFLite quantizes."""
    return type(operation).__name__ in WEIGHTED


def arity_fits(operation: "Operation", tensors: int) -> bool:
    """Whether ``operation`` on so many tensors is one operator."""
    return type(operation).__name__ not in {"Add", "Multiply", "Maximum", "Minimum"} or tensors <= _PAIR
