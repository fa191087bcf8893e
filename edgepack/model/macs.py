# SPDX-License-Identifier: Apache-2.0
"""Multiply-accumulates of TFLite operators, from shapes alone."""

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    import tflite


class Shaped(Protocol):
    """The part of a tensor that counting needs."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the tensor, batch first."""
        ...


Places = Sequence[Shaped | None]

# Which inputs of an operator are its weights. The rest (biases, states) move bytes but no MACs to speak of.
WEIGHT_INPUTS: Final[dict[str, tuple[int, ...]]] = {
    "CONV_2D": (1,),
    "CONV_3D": (1,),
    "DEPTHWISE_CONV_2D": (1,),
    "TRANSPOSE_CONV": (1,),
    "CONV_3D_TRANSPOSE": (1,),
    "FULLY_CONNECTED": (1,),
    "BATCH_MATMUL": (0, 1),
    "LSTM": (1, 2, 3, 4, 5, 6, 7, 8, 16),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": (1, 2, 3, 4, 5, 6, 7, 8, 16),
    "BIDIRECTIONAL_SEQUENCE_LSTM": (*range(1, 9), 16, *range(18, 26), 33),
    "RNN": (1, 2),
    "UNIDIRECTIONAL_SEQUENCE_RNN": (1, 2),
    "SVDF": (1, 2),
}
_POOLS: Final = frozenset({"AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D"})
_SEQUENCES: Final = frozenset({name for name in WEIGHT_INPUTS if "SEQUENCE" in name})
_RECURRENT: Final = _SEQUENCES | {"LSTM", "RNN", "SVDF"}
_FILTERS: Final = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV"})
_FILTER_RANK: Final = 4
_FILTER_RANK_3D: Final = 5


def count_macs(name: str, op: "tflite.Operator", inputs: Places, outputs: Places) -> int:
    """Return the multiply-accumulates of one inference of ``op``; 0 where it has none or its shapes are open."""
    out = outputs[0] if outputs else None
    places = WEIGHT_INPUTS.get(name, ())
    weights = [inputs[n] for n in places if n < len(inputs)]
    shapes = [item.shape for item in weights if item is not None]
    source = inputs[0] if inputs else None
    if out is None or source is None or not shapes or any(size < 0 for shape in (*shapes, out.shape) for size in shape):
        return 0
    elements = prod(out.shape)
    if name == "BATCH_MATMUL":
        inner = source.shape[-2:][0 if _transposes_left(op) else -1] if len(source.shape) > 1 else 1
        return elements * inner
    if name in _FILTERS and len(shapes[0]) == _FILTER_RANK:
        return _filter_macs(name, shapes[0], inputs, elements)
    if name == "CONV_3D" and len(shapes[0]) == _FILTER_RANK_3D:
        return elements * prod(shapes[0][:-1])
    if name == "FULLY_CONNECTED":
        return elements * (shapes[0][-1] if shapes[0] else 0)
    steps = prod(source.shape[:-1]) if name in _SEQUENCES else prod(source.shape[:1])
    return steps * sum(prod(shape) for shape in shapes) if name in _RECURRENT else 0


def _filter_macs(name: str, weights: tuple[int, ...], inputs: Places, out_elements: int) -> int:
    """Count a convolution; filters are [out, height, width, in], of a depthwise one [1, height, width, channels]."""
    if name == "DEPTHWISE_CONV_2D":
        return out_elements * weights[1] * weights[2]
    if name == "TRANSPOSE_CONV":  # every input element meets the whole filter of its channel
        source = inputs[2] if len(inputs) > 2 else None  # noqa: PLR2004 - inputs: output shape, filter, input
        return 0 if source is None else prod(source.shape) * prod(weights[:3])
    return out_elements * prod(weights[1:])


def _transposes_left(op: "tflite.Operator") -> bool:
    import tflite

    found = op.BuiltinOptions()
    if found is None or op.BuiltinOptionsType() != tflite.BuiltinOptions.BatchMatMulOptions:
        return False
    options = tflite.BatchMatMulOptions()
    options.Init(found.Bytes, found.Pos)
    return bool(options.AdjX())


def kernel_of(name: str, op: "tflite.Operator", inputs: Places) -> tuple[int, int] | None:
    """Return height and width of a convolution's filter or a pool's window, or None for other operators."""
    if name in _FILTERS and len(inputs) > 1:
        weights = inputs[1]
        return None if weights is None or len(weights.shape) != _FILTER_RANK else (weights.shape[1], weights.shape[2])
    if name in _POOLS:
        import tflite

        found = op.BuiltinOptions()
        if found is not None and op.BuiltinOptionsType() == tflite.BuiltinOptions.Pool2DOptions:
            options = tflite.Pool2DOptions()
            options.Init(found.Bytes, found.Pos)
            return options.FilterHeight(), options.FilterWidth()
    return None
