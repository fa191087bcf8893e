# SPDX-License-Identifier: Apache-2.0
"""ONNX graphs written node by node, with the names and the idioms of torch's two exporters; seeded weights.

The exporter that traces ("legacy") writes Constant nodes, names nodes ``/stem/conv/Conv``, and calls a weight into
which it folded a BatchNorm ``onnx::Conv_12``; below opset 17 it spells LayerNorm out. The newer one ("dynamo") writes
initializers alone, names nodes ``node_conv2d_1``, means by ReduceMean with its axes as an input, flattens by Reshape.
"""

from collections import Counter

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

DYNAMO_NAMES = {
    "Conv": "conv2d", "Gemm": "linear", "MaxPool": "max_pool2d", "AveragePool": "avg_pool2d", "Concat": "cat",
    "ReduceMean": "mean", "Reshape": "view", "Gather": "select", "LayerNormalization": "layer_norm",
}  # fmt: skip


class Graph:
    """An ONNX graph to which nodes are appended; ``op`` and its kin take and return names of values."""

    def __init__(self, *, opset: int, dynamo: bool = False, seed: int = 7):
        self.opset, self.dynamo = opset, dynamo
        self.draw = np.random.default_rng(seed)
        self.nodes, self.weights, self.inputs = [], [], []
        self.batch = "batch"
        self.taken = Counter()

    def input(self, name: str, *shape: int | str, dtype: int = TensorProto.FLOAT) -> str:
        """Declare an input; a dimension that is a string is open."""
        self.batch = next((size for size in shape if isinstance(size, str)), self.batch)
        self.inputs.append(helper.make_tensor_value_info(name, dtype, shape))
        return name

    def op(self, kind: str, *inputs: str, at: str = "", outputs: int = 1, **attributes: object):
        """Append a node inside the module called ``at``; return its output, or a tuple of several."""
        if self.dynamo:
            name = self._free(DYNAMO_NAMES.get(kind, kind.lower()))
            made = [name] if outputs == 1 else [f"{name}_split_{i}" for i in range(outputs)]
            name = f"node_{name}"
        else:
            name = self._free("/".join(["", *filter(None, at.split(".")), kind]))
            made = [f"{name}_output_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), made, name=name, **attributes))
        return made[0] if outputs == 1 else tuple(made)

    def array(self, name: str, values: object) -> str:
        """Add an initializer."""
        self.weights.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def weight(self, name: str, *shape: int, fan_in: int = 0) -> str:
        """Add drawn float32 weights: of variance 2 / ``fan_in``, or small ones around 0 where that is 0."""
        scale = (2 / fan_in) ** 0.5 if fan_in else 0.1
        return self.array(name, self.draw.normal(0, scale, shape).astype(np.float32))

    def constant(self, values: object, dtype: str = "int64", at: str = "") -> str:
        """Add a small constant as the exporter does: a Constant node, or an initializer."""
        array = np.asarray(values, dtype)
        if self.dynamo:
            return self.array(self._free("val"), array)
        return self.op("Constant", at=at, value=numpy_helper.from_array(array))

    def conv(self, x, c_in, c_out, size, *, at, stride=1, pad=None, groups=1, folded=True, rank=2, kind="Conv", **more):
        """Convolution with "same" padding unless ``pad`` says otherwise; ``folded``: a BatchNorm went into it."""
        shape = (c_in, c_out // groups) if kind == "ConvTranspose" else (c_out, c_in // groups)
        weight, bias = f"{at}.weight", f"{at}.bias"
        if folded:
            weight, bias = (
                (weight, f"{weight}_bias") if self.dynamo else (self._free("onnx::Conv"), self._free("onnx::Conv"))
            )
        kernel = self.weight(weight, *shape, *[size] * rank, fan_in=c_in // groups * size**rank)
        attributes = {
            "dilations": [1] * rank,
            "group": groups,
            "kernel_shape": [size] * rank,
            "pads": [size // 2 if pad is None else pad] * 2 * rank,
            "strides": [stride] * rank,
        }
        if self.dynamo:
            attributes["auto_pad"] = "NOTSET"
        return self.op(kind, x, kernel, self.weight(bias, c_out), at=at, **(attributes | more))

    def gemm(self, x: str, c_in: int, c_out: int, *, at: str) -> str:
        """``nn.Linear`` on a matrix."""
        weight = self.weight(f"{at}.weight", c_out, c_in, fan_in=c_in)
        return self.op("Gemm", x, weight, self.weight(f"{at}.bias", c_out), at=at, alpha=1.0, beta=1.0, transB=1)

    def linear(self, x: str, c_in: int, c_out: int, *, at: str) -> str:
        """``nn.Linear`` on a tensor of higher rank: MatMul, then Add (the legacy one puts the bias first)."""
        weight = self.weight(self._free("val" if self.dynamo else "onnx::MatMul"), c_in, c_out, fan_in=c_in)
        bias, product = self.weight(f"{at}.bias", c_out), self.op("MatMul", x, weight, at=at)
        return self.op("Add", *((product, bias) if self.dynamo else (bias, product)), at=at)

    def batch_norm(self, x: str, channels: int, *, at: str, epsilon: float = 1e-5) -> str:
        """A BatchNorm that was not folded, with statistics of its own."""
        drawn = [self.draw.uniform(0.5, 1.5, channels).astype(np.float32) for _ in range(2)]
        given = [
            self.array(f"{at}.weight", drawn[0]),
            self.weight(f"{at}.bias", channels),
            self.weight(f"{at}.running_mean", channels),
            self.array(f"{at}.running_var", drawn[1]),
        ]
        return self.op("BatchNormalization", x, *given, at=at, epsilon=epsilon, momentum=0.9)

    def relu6(self, x: str, *, at: str) -> str:
        """Clip between the two scalars."""
        limits = [self.constant(limit, "float32", at=at) for limit in (0, 6)]
        return self.op("Clip", x, *limits, at=at)

    def silu(self, x: str, *, at: str) -> str:
        """``x * sigmoid(x)``, which neither exporter has an operator for."""
        return self.op("Mul", x, self.op("Sigmoid", x, at=at), at=at)

    def hard_swish(self, x: str, *, at: str) -> str:
        """HardSwish, which is two nodes below opset 14."""
        if self.opset >= 14:
            return self.op("HardSwish", x, at=at)
        return self.op("Mul", x, self.op("HardSigmoid", x, at=at, alpha=1 / 6), at=at)

    def gelu(self, x: str, *, at: str) -> str:
        """Exact GELU, which is five nodes below opset 20."""
        if self.opset >= 20:
            return self.op("Gelu", x, at=at, approximate="none")
        scaled = self.op("Div", x, self.constant(2**0.5, "float32", at=at), at=at)
        one = self.op("Add", self.op("Erf", scaled, at=at), self.constant(1, "float32", at=at), at=at)
        return self.op("Mul", self.op("Mul", x, one, at=at), self.constant(0.5, "float32", at=at), at=at)

    def layer_norm(self, x: str, width: int, *, at: str, epsilon: float = 1e-5) -> str:
        """LayerNorm over the last axis, spelled out below opset 17."""
        gamma = self.array(f"{at}.weight", self.draw.uniform(0.5, 1.5, width).astype(np.float32))
        beta = self.weight(f"{at}.bias", width)
        if self.opset >= 17:
            return self.op("LayerNormalization", x, gamma, beta, at=at, axis=-1, epsilon=epsilon)
        centred = self.op("Sub", x, self.op("ReduceMean", x, at=at, axes=[-1]), at=at)
        squared = self.op("Pow", centred, self.constant(2, "float32", at=at), at=at)
        variance = self.op("ReduceMean", squared, at=at, axes=[-1])
        deviation = self.op("Sqrt", self.op("Add", variance, self.constant(epsilon, "float32", at=at), at=at), at=at)
        scaled = self.op("Mul", self.op("Div", centred, deviation, at=at), gamma, at=at)
        return self.op("Add", scaled, beta, at=at)

    def view(self, x: str, *sizes: int | str, at: str = "", axis: int = 0) -> str:
        """Reshape to ``sizes``; "N" is the batch, axis ``axis`` of ``x``, and "6N" six times it.

        The legacy exporter computes the sizes from ``x``'s shape; the newer one folds what it can.
        """
        if self.dynamo:
            plain = [-1 if isinstance(size, str) else size for size in sizes]
            return self.op("Reshape", x, self.constant(plain), allowzero=1)
        batch = self.op("Gather", self.op("Shape", x, at=at), self.constant(axis, at=at), at=at, axis=0)
        parts = []
        for size in sizes:
            if isinstance(size, int):
                parts.append(self.constant([size], at=at))
                continue
            value = batch if size == "N" else self.op("Mul", batch, self.constant(int(size[:-1]), at=at), at=at)
            parts.append(self.op("Unsqueeze", value, self.constant([0], at=at), at=at))
        return self.op("Reshape", x, self.op("Concat", *parts, at=at, axis=0), at=at)

    def pool(self, x: str, *, at: str, rank: int = 2) -> str:
        """The mean over all places, which stay as axes of size 1."""
        if not self.dynamo:
            return self.op("GlobalAveragePool", x, at=at)
        return self.op("ReduceMean", x, self.constant(list(range(-rank, 0))), keepdims=1, noop_with_empty_axes=0)

    def flatten(self, x: str, size: int, *, at: str) -> str:
        """All but the batch on one axis of ``size``."""
        if self.dynamo:
            return self.op("Reshape", x, self.constant([-1, size]), allowzero=1)
        return self.op("Flatten", x, at=at, axis=1)

    def head(self, x: str, channels: int, classes: int, *, rank: int = 2) -> str:
        """Mean, flatten, dense."""
        flat = self.flatten(self.pool(x, at="pool", rank=rank), channels, at="flat")
        return self.gemm(flat, channels, classes, at="fc")

    def model(self, **outputs: str) -> onnx.ModelProto:
        """Return the checked model whose ``outputs`` are called as their keywords, with the shapes that follow."""
        names = {value: name for name, value in outputs.items()}
        for node in self.nodes:
            node.input[:] = [names.get(value, value) for value in node.input]
            node.output[:] = [names.get(value, value) for value in node.output]
        made = [onnx.ValueInfoProto(name=name) for name in outputs]
        for value in made:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
        graph = helper.make_graph(self.nodes, "main_graph", self.inputs, made, self.weights)
        opsets = [helper.make_opsetid("", self.opset)]
        model = helper.make_model(graph, opset_imports=opsets, producer_name="pytorch", ir_version=8)
        model = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
        for output in model.graph.output:  # exporters know that the batch is the batch; inference may not
            for size in output.type.tensor_type.shape.dim:
                if size.dim_param.startswith("unk__"):
                    size.dim_param = self.batch
        if not self.dynamo:
            del model.graph.value_info[:]
        onnx.checker.check_model(model, full_check=True)
        return model

    def _free(self, name: str) -> str:
        """Return ``name``, numbered from its second use on; those that exporters always number, from their first."""
        number = self.taken[name]
        self.taken[name] += 1
        return f"{name}_{number}" if number or name in {"val", "onnx::Conv", "onnx::MatMul"} else name
