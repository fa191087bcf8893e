# SPDX-License-Identifier: Apache-2.0
"""The float graph inside a quantized ONNX graph, and the ranges that its values were rounded in."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True, slots=True, eq=False)
class FloatGraph:
    """What is left without rounding.

    Attributes:
        model: Its inputs and outputs are those of the source, integers where those are.
        ranges: Smallest and largest number that the source can hold in a value, by the value's name.
    """

    model: "onnx.ModelProto"
    ranges: Mapping[str, tuple[float, float]]


def float_graph(model: "onnx.ModelProto") -> FloatGraph:
    """Return ``model`` without rounding inside: weights as the numbers that they stand for, pairs of Q and DQ gone.

    A graph that is not quantized comes back as it is.
    """
    from edgepack.importer._unquantize import unquantize

    return FloatGraph(*unquantize(model)) if is_quantized(model) else FloatGraph(model, {})


def is_quantized(model: "onnx.ModelProto") -> bool:
    """Whether any operator of ``model`` rounds, or stands for numbers that were rounded."""
    from edgepack.importer._unquantize import rounds

    return rounds(model)
