# SPDX-License-Identifier: Apache-2.0
"""Write the operators of a quantized graph as those of the float graph that it came from."""

from collections.abc import Iterable
from typing import Final

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgepack.arrays import Array

_LINEAR: Final = {"QLinearConv": "Conv", "QLinearMatMul": "MatMul", "QLinearAdd": "Add", "QLinearMul": "Mul"}
# Of one input and its grid, then the output's; onnxruntime's own.
_ALONE: Final = {
    "QLinearAveragePool": "AveragePool",
    "QLinearGlobalAveragePool": "GlobalAveragePool",
    "QLinearLeakyRelu": "LeakyRelu",
    "QLinearSigmoid": "Sigmoid",
    "QLinearSoftmax": "Softmax",
}
_OWN: Final = frozenset({*_ALONE, "QGemm", "QLinearConcat", "QLinearWhere"})
_NOT_IN_FLOAT: Final = frozenset({"channels_last", "opset"})
_INTEGER: Final = {"ConvInteger": "Conv", "MatMulInteger": "MatMul"}
_QUANTIZED: Final = frozenset(
    {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", *_LINEAR, *_INTEGER, *_OWN}
)
# Operators that graphs in the older format call on integers.
_PASSING: Final = frozenset(
    ["MaxPool", "Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Resize", "Split", "Slice", "Gather"]
)
_POSITIVE: Final = frozenset({"Relu", "Sigmoid", "HardSigmoid", "Softmax", "Softplus", "Exp", "Abs"})
_KEEP_SIGN: Final = frozenset(
    [
        *_PASSING,
        *("AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Concat", "Identity", "DepthToSpace", "SpaceToDepth"),
        *("QuantizeLinear", "DequantizeLinear", "ReduceMean", "ReduceMax"),
    ]
)
_SIX: Final = 6.0


def rounds(model: onnx.ModelProto) -> bool:
    """As ``is_quantized``."""
    return any(node.op_type in _QUANTIZED for node in model.graph.node)


def unquantize(model: onnx.ModelProto) -> tuple[onnx.ModelProto, dict[str, tuple[float, float]]]:
    """Return the model and the ranges of ``float_graph``."""
    graph = _Graph(model)
    for node in model.graph.node:
        graph.take(node)
    return graph.finished(), graph.ranges


class _Graph:
    """The float graph as far as it is written."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = model
        self._nodes: list[onnx.NodeProto] = []
        self._new: dict[str, Array] = {}
        self._constants = {item.name: item for item in model.graph.initializer}
        self._float_of: dict[str, str] = {}  # the float value behind an integer one
        self._positive: set[str] = set()  # values that are never below 0
        self._ends = {item.name for item in model.graph.input}
        self.ranges: dict[str, tuple[float, float]] = {}
        self._lookups = {node.output[0]: node for node in model.graph.node if node.op_type == "Gather"}
        for node in model.graph.node:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                self._constants[node.output[0]] = node.attribute[0].t

    def take(self, node: onnx.NodeProto) -> None:
        """Write ``node``; what nobody reads in the end goes."""
        kind = node.op_type
        self._follow(node)
        if kind == "QuantizeLinear":
            self._keep_range(node.input[0], node.input[1:])
            self._float_of[node.output[0]] = self._cut(node.input[0])
        if kind == "DequantizeLinear" and self._dequantized(node):
            return
        if kind == "DynamicQuantizeLinear":
            self._dynamic(node)
        elif kind in _LINEAR:
            self._linear(node)
        elif kind in _OWN:
            self._own(node)
        elif kind in _INTEGER:
            self._integer(node)
        else:
            self._nodes.append(node)
            if kind in _PASSING and node.input[0] in self._float_of:
                self._twin(node)

    def finished(self) -> onnx.ModelProto:
        """Return the graph without what nobody reads."""
        made = onnx.ModelProto()
        made.CopyFrom(self._model)
        graph = made.graph
        wanted, kept = {item.name for item in graph.output}, []
        for node in reversed(self._nodes):
            if wanted & set(node.output):
                kept.append(node)
                wanted |= set(node.input)
        initializers = [item for item in graph.initializer if item.name in wanted]
        initializers += [numpy_helper.from_array(array, name) for name, array in self._new.items() if name in wanted]
        for field, items in (("node", kept[::-1]), ("initializer", initializers)):
            made.graph.ClearField(field)
            getattr(graph, field).extend(items)
        graph.ClearField("value_info")
        return made

    def _array(self, name: str) -> Array | None:
        if name in self._new:
            return self._new[name]
        return numpy_helper.to_array(self._constants[name]) if name in self._constants else None

    def _keep_range(self, name: str, grid: Iterable[str]) -> None:
        """Keep what one scale and one zero point can hold."""
        scale, zero = (*(self._array(item) for item in grid), None)[:2]
        if scale is not None and scale.size == 1 and self._array(name) is None:
            points = np.zeros((), np.uint8) if zero is None else zero
            if np.issubdtype(points.dtype, np.integer):
                limits, start = np.iinfo(points.dtype), float(points.reshape(-1)[0])
                step = float(scale.reshape(-1)[0])
                self.ranges[name] = ((limits.min - start) * step, (limits.max - start) * step)

    def _follow(self, node: onnx.NodeProto) -> None:
        """Remember whether what ``node`` gives can be below 0."""
        tensors = [name for name in node.input if name and self._array(name) is None]
        passes = node.op_type in _KEEP_SIGN and all(self._float_of.get(one, one) in self._positive for one in tensors)
        if node.op_type in _POSITIVE or passes:
            self._positive |= set(node.output)

    def _cut(self, name: str) -> str:
        """Return ``name`` cut where rounding cuts it: quantizers leave a ReLU to a range that begins at 0."""
        low, high = self.ranges.get(name, (-1.0, 1.0))
        if low < 0 or name in self._positive or name in self._ends or self._array(name) is not None:
            return name
        made = f"{name} cut"
        if abs(high - _SIX) < _SIX / 255:
            self._new |= {f"{made} low": np.zeros((), np.float32), f"{made} high": np.full((), _SIX, np.float32)}
            self._nodes.append(helper.make_node("Clip", [name, f"{made} low", f"{made} high"], [made], name=made))
        else:
            self._nodes.append(helper.make_node("Relu", [name], [made], name=made))
        self.ranges[made] = (low, high)
        self._positive.add(made)
        return made

    def _numbers(self, name: str, scale: str, zero: str, *, axis: int, block: int = 0) -> str | None:
        """Return the name of a constant: what the integers ``name`` stand for; None where they are computed."""
        array, steps, points = self._array(name), self._array(scale), self._array(zero) if zero else None
        if array is None or steps is None:
            return None
        numbers = array.astype(np.float32)
        if points is not None:
            numbers = numbers - _along(points.astype(np.float32), numbers, axis, block)
        made = f"{name} in float"
        self._new[made] = (numbers * _along(steps.astype(np.float32), numbers, axis, block)).astype(np.float32)
        return made

    def _dequantized(self, node: onnx.NodeProto) -> bool:
        """Write what ``node`` gives as the float value behind it; whether that was possible."""
        name, scale, zero = (*node.input, "")[:3]
        source = self._float_of.get(name)
        if source is None:
            axis, block = _whole(node, "axis", 1), _whole(node, "block_size", 0)
            source = self._numbers(name, scale, zero, axis=axis, block=block)
        if source is None:
            return self._looked_up(node)
        self._nodes.append(helper.make_node("Identity", [source], list(node.output), name=node.name))
        return True

    def _looked_up(self, node: onnx.NodeProto) -> bool:
        """Write ``node``, which dequantizes rows of a table, as a look into the float table; whether it was one."""
        name, scale, zero = (*node.input, "")[:3]
        lookup, steps = self._lookups.get(name), self._array(scale)
        if lookup is None or steps is None or steps.size > 1:
            return False
        table = self._numbers(lookup.input[0], scale, zero, axis=0)
        if table is not None:
            self._nodes.append(_like(lookup, "Gather", [table, lookup.input[1]], list(node.output)))
        return table is not None

    def _value(self, name: str, scale: str, zero: str) -> str:
        """Return the float value behind the integers ``name``."""
        found = self._float_of.get(name) or self._numbers(name, scale, zero, axis=0)
        if found is None:
            found = f"{name} in float"
            self._nodes.append(helper.make_node("DequantizeLinear", [name, scale, zero], [found], name=found))
            self._float_of[name] = found
        self._keep_range(found, (scale, zero))
        return found

    def _linear(self, node: onnx.NodeProto) -> None:
        """Write QLinearConv and the like: three numbers for each of two inputs, two for the output, a bias."""
        x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, *bias = node.input
        inputs = [self._value(x, x_scale, x_zero)]
        kernel = self._numbers(w, w_scale, w_zero, axis=0 if node.op_type == "QLinearConv" else -1)
        inputs.append(kernel if kernel is not None else self._value(w, w_scale, w_zero))
        if bias:
            inputs += self._bias(bias[0], x_scale, w_scale)
        self._rounded(node, _LINEAR[node.op_type], inputs, [y_scale, y_zero])

    def _own(self, node: onnx.NodeProto) -> None:
        """Write an operator of onnxruntime's own; one whose channels are last stays, and has no counterpart."""
        given = list(node.input)
        if _whole(node, "channels_last", 0):
            self._nodes.append(node)
        elif node.op_type in _ALONE:
            self._rounded(node, _ALONE[node.op_type], [self._value(*given[:3])], given[3:])
        elif node.op_type == "QLinearConcat":
            grid, parts = given[:2], [given[place : place + 3] for place in range(2, len(given), 3)]
            self._rounded(node, "Concat", [self._value(*part) for part in parts], grid)
        elif node.op_type == "QLinearWhere":
            self._rounded(node, "Where", [given[0], self._value(*given[1:4]), self._value(*given[4:7])], given[7:])
        else:
            axis = 1 - bool(_whole(node, "transB", 0))
            kernel = self._numbers(*given[3:6], axis=axis) or self._value(*given[3:6])
            alpha = next((item.f for item in node.attribute if item.name == "alpha"), 1.0)
            bias = self._bias(given[6], given[1], given[4], alpha=alpha) if given[6] else []
            self._rounded(node, "Gemm", [self._value(*given[:3]), kernel, *bias], given[7:])

    def _bias(self, name: str, x_scale: str, w_scale: str, *, alpha: float = 1.0) -> list[str]:
        """Return the float bias behind the integers ``name``; nothing where they are computed."""
        steps = self._array(x_scale), self._array(w_scale), self._array(name)
        if any(item is None for item in steps):
            return []
        one, other, whole = (np.asarray(item, np.float32) for item in steps)
        self._new[f"{name} in float"] = whole * one.reshape(-1) * other.reshape(-1) * np.float32(alpha)
        return [f"{name} in float"]

    def _rounded(self, node: onnx.NodeProto, kind: str, inputs: list[str], grid: list[str]) -> None:
        """Write the float operator ``kind`` in place of ``node``, and the rounding of what it gives to ``grid``."""
        if not any(grid):  # it gives floats
            self._nodes.append(_like(node, kind, inputs, [node.output[0]]))
            return
        made = f"{node.output[0]} in float"
        self._nodes.append(_like(node, kind, inputs, [made]))
        self._follow(self._nodes[-1])
        self._nodes.append(helper.make_node("QuantizeLinear", [made, *grid], list(node.output)))
        self._keep_range(made, grid)
        self._float_of[node.output[0]] = self._cut(made)

    def _dynamic(self, node: onnx.NodeProto) -> None:
        """Write DynamicQuantizeLinear as what it rounds, with steps of 1 from 0 on."""
        self._float_of[node.output[0]] = node.input[0]
        for name, array in zip(node.output[1:], (np.float32(1), np.uint8(0)), strict=True):
            self._new[name] = np.asarray(array)

    def _integer(self, node: onnx.NodeProto) -> None:
        """Write ConvInteger or MatMulInteger after it: the scale of the kernel comes later in the graph."""
        x, w, _, w_zero = (*node.input, "", "")[:4]
        array, points = self._array(w), self._array(w_zero) if w_zero else None
        if x not in self._float_of or array is None:
            self._nodes.append(node)
            return
        numbers = array.astype(np.float32)
        if points is not None:
            numbers = numbers - _along(points.astype(np.float32), numbers, 0 if node.op_type == "ConvInteger" else -1)
        self._new[f"{w} in float"] = numbers
        made = _like(node, _INTEGER[node.op_type], [self._float_of[x], f"{w} in float"], [node.output[0]])
        self._nodes.append(made)

    def _twin(self, node: onnx.NodeProto) -> None:
        inputs = [self._float_of[node.input[0]], *node.input[1:]]
        made = [f"{name} in float" if name else "" for name in node.output]
        self._nodes.append(_like(node, node.op_type, inputs, made))
        self._follow(self._nodes[-1])
        self._float_of |= dict(zip(node.output, made, strict=True))


def _like(node: onnx.NodeProto, kind: str, inputs: list[str], outputs: list[str]) -> onnx.NodeProto:
    made = helper.make_node(kind, inputs, outputs, name=f"{node.name or outputs[0]}")
    made.attribute.extend(item for item in node.attribute if item.name not in _NOT_IN_FLOAT)
    return made


def _whole(node: onnx.NodeProto, name: str, default: int) -> int:
    return next((item.i for item in node.attribute if item.name == name), default)


def _along(numbers: Array, whole: Array, axis: int, block: int = 0) -> Array:
    """Return ``numbers``, one for all, for each along ``axis``, or for each ``block`` of it, as they meet ``whole``."""
    if numbers.size == 1:
        return numbers.reshape(())
    if numbers.ndim == 1:
        shape = [1] * whole.ndim
        shape[axis] = -1
        return numbers.reshape(shape)
    repeated = np.repeat(numbers, block or -(-whole.shape[axis] // numbers.shape[axis]), axis=axis)
    return repeated.take(np.arange(whole.shape[axis]), axis=axis)
