# SPDX-License-Identifier: Apache-2.0
"""What of an operator the importer does not know, as far as the node, the constants and the shapes tell; no Keras.

The one home of these refusals: a handler is not called where there is one, and what only foresees an import asks here
too. What depends on where the batch went and how axes lie is refused by the handlers.
"""

from collections.abc import Callable
from math import prod
from typing import Final

import numpy as np
from onnx import helper

from edgepack.importer._graph import Graph, Node
from edgepack.importer._versions import VERSIONS

_Limit = Callable[[Graph, Node], str]
_SERIES: Final = 3
_PLANE: Final = 2
_PEEPHOLES, _LENGTHS = 7, 4  # inputs of a recurrent operator
_USUAL: Final = {"LSTM": ("sigmoid", "tanh", "tanh"), "GRU": ("sigmoid", "tanh"), "RNN": ("tanh",)}
_DTYPES: Final = frozenset(
    ["float16", "float32", "float64", "bfloat16", "bool"]
    + [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
)
_WEIGHTS: Final = {
    **dict.fromkeys(("Conv", "ConvTranspose", "Gemm"), (1, 2)),
    **dict.fromkeys(("LSTM", "GRU", "RNN"), (1, 2, 3)),
    "BatchNormalization": (1, 2, 3, 4),
}
"""Inputs that must be constants."""
_VIEWS: Final = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze"})
_SHAPED: Final = _VIEWS | {"Expand", "MatMul", "Gemm", "Conv", "ConvTranspose", "Concat", "Add", "Sub", "Mul", "Div"}
"""What is built from the shape that inference found."""


def unknown(node: Node) -> str | None:
    """Return why no handler knows ``node``, empty where it is enough that none does; None where one may."""
    versions = VERSIONS.get(node.kind)
    if versions is None:
        return "control flow" if node.inner else ""
    if node.version not in versions:
        return f"as opset {node.version} defines it; known are those of {', '.join(map(str, versions))}"
    return None


def limit(graph: Graph, node: Node) -> str:
    """Return what of ``node``, which has a handler, is not known; empty where nothing is."""
    for rule in (_constants, _shape, _LIMITS.get(node.kind)):
        if rule is not None and (why := rule(graph, node)):
            return why
    return ""


def folds(before: tuple[int, ...], after: tuple[int, ...]) -> str:
    """Return the refusal of a reshape after which no axis, or part of one, is the batch."""
    return f"reshaping {list(before)} to {list(after)} folds the batch into other axes"


def needs_constant(index: int, name: str) -> str:
    """Return the refusal of an input that is computed."""
    return f"input {index} ({name!r}) is computed, and only a constant will do"


def casts_to(dtype: str) -> str:
    """Return the refusal of a cast to ``dtype``; empty where Keras has that."""
    return "" if dtype in _DTYPES else f"it casts to {dtype}"


NO_SHAPE: Final = "its shape depends on the values that come in"
REDUCES: Final = "it reduces over the batch"
PICKS: Final = "it picks out of the batch"


def _constants(graph: Graph, node: Node) -> str:
    for index in _WEIGHTS.get(node.kind, ()):
        if node.has(index) and node.inputs[index] not in graph.constants:
            return needs_constant(index, node.inputs[index])
    return ""


def _shape(graph: Graph, node: Node) -> str:
    """What has no shape, and what is reshaped as if the batch were the one that it was exported with."""
    if node.kind not in _SHAPED or node.inputs[0] in graph.constants:
        return ""
    after = graph.shapes.get(node.outputs[0])
    if after is None:
        return NO_SHAPE
    before = graph.shapes.get(node.inputs[0])
    if node.kind in _VIEWS and before is not None and prod(before) != prod(after):
        return folds(before, after)
    return ""


def _conv_transpose(graph: Graph, node: Node) -> str:
    kernel = graph.constants[node.inputs[1]]
    if int(node.attributes.get("group", 1)) != 1 or kernel.ndim - 2 > _PLANE:
        return "it has groups or three axes of positions"
    return _both_over_1(graph, node)


def _both_over_1(graph: Graph, node: Node) -> str:
    del graph
    strides, dilations = (node.attributes.get(name, (1,)) for name in ("strides", "dilations"))
    both = max(strides) > 1 < max(dilations)
    return "strides and dilations are both over 1, which TensorFlow does not compute" if both else ""


def _max_pool(graph: Graph, node: Node) -> str:
    return "its indices are used" if graph.is_used(node, 1) else _pool(graph, node)


def _pool(graph: Graph, node: Node) -> str:
    del graph
    dilated = max(node.attributes.get("dilations", (1,))) > 1
    return "its windows are dilated, which Keras does not know for pooling" if dilated else ""


def _identity(graph: Graph, node: Node) -> str:
    if graph.is_used(node, 1):
        return "its mask is used"
    training = graph.constants.get(node.inputs[2]) if node.has(2) else None
    random = training is not None and bool(training.any())
    return "it drops at random even when it predicts" if random else ""


def _cast(graph: Graph, node: Node) -> str:
    del graph
    return casts_to(np.dtype(helper.tensor_dtype_to_np_dtype(node.attributes["to"])).name)


def _gemm(graph: Graph, node: Node) -> str:
    del graph
    turned = node.attributes.get("transA", 0)
    return "its first input is transposed, the batch along with it" if turned else ""


def _batch_norm(graph: Graph, node: Node) -> str:
    if node.attributes.get("training_mode", 0) or not node.attributes.get("spatial", 1):
        return "it normalizes by the batch, or by position"
    return _statistics(graph, node)


def _statistics(graph: Graph, node: Node) -> str:
    used = any(graph.is_used(node, output) for output in range(1, len(node.outputs)))
    return "its statistics are outputs" if used else ""


def _swish(graph: Graph, node: Node) -> str:
    del graph
    alpha = float(node.attributes.get("alpha", 1.0))
    return "" if alpha == 1.0 else f"alpha is {alpha:g}, and only 1 is known"


def _resize(graph: Graph, node: Node) -> str:
    before, after = graph.shapes.get(node.inputs[0]), graph.shapes.get(node.outputs[0])
    attributes, mode = node.attributes, str(node.attributes.get("mode", "nearest"))
    if before and after and (after[:2] != before[:2] or len(after) < _SERIES):
        return f"it resizes {list(before)} to {list(after)}, and only positions are known to be resized"
    if attributes.get("antialias", 0) or attributes.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        return "it smooths before it shrinks, or keeps the aspect ratio"
    known = mode in {"nearest", "linear", "bilinear"}
    return "" if known else f"its mode is {mode!r}, and nearest and linear are known"


def _recurrent(graph: Graph, node: Node) -> str:
    attributes, ways = node.attributes, 2 if node.attributes.get("direction") == "bidirectional" else 1
    if attributes.get("layout", 0):
        return "its layout puts the batch first"
    activations = tuple(name.lower() for name in attributes.get("activations", ()))
    if activations not in {(), _USUAL[node.kind] * ways}:
        return f"its activations are {', '.join(activations)}"
    if attributes.get("clip") or attributes.get("input_forget") or node.has(_PEEPHOLES):
        return "it cuts what its gates hold, or couples them, or looks through peepholes"
    lengths = graph.constants.get(node.inputs[_LENGTHS]) if node.has(_LENGTHS) else None
    steps = graph.shapes.get(node.inputs[0], (0,))[0]
    uneven = node.has(_LENGTHS) and (lengths is None or bool((lengths != steps).any()))
    return "its sequences differ in length" if uneven else ""


_LIMITS: Final[dict[str, _Limit]] = {
    **dict.fromkeys(("LSTM", "GRU", "RNN"), _recurrent),
    **dict.fromkeys(("Resize", "Upsample"), _resize),
    **dict.fromkeys(("Identity", "Dropout"), _identity),
    "AveragePool": _pool,
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Conv": _both_over_1,
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "LayerNormalization": _statistics,
    "MaxPool": _max_pool,
    "Swish": _swish,
}
