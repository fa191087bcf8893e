# SPDX-License-Identifier: Apache-2.0
"""Recurrent layers, what exporters write out in several nodes, and what a batch does to constants."""

import numpy as np
import onnx
import onnx_cases_axes  # noqa: F401 - adds its own
import onnx_cases_values  # noqa: F401 - adds its own
from onnx import helper, numpy_helper
from onnx_case import I4, add, case, ints, w

for kind, gates, states in (("LSTM", 4, 2), ("GRU", 3, 1), ("RNN", 1, 1)):
    for way, count in (("forward", 1), ("reverse", 1), ("bidirectional", 2)):
        for name, outs in (("series", [0]), ("state", [1]), ("both", range(1 + states))):
            case(
                f"{kind}-{way}-{name}",
                kind,
                (5, "N", 3),
                w(count, gates * 4, 3),
                w(count, gates * 4, 4),
                w(count, 2 * gates * 4),
                outputs=outs,
                hidden_size=4,
                direction=way,
            )
case("GRU-after", "GRU", (5, "N", 3), w(1, 12, 3), w(1, 12, 4), w(1, 24), hidden_size=4, linear_before_reset=1)
case(
    "GRU-after-both",
    "GRU",
    (5, "N", 3),
    w(2, 12, 3),
    w(2, 12, 4),
    w(2, 24),
    hidden_size=4,
    linear_before_reset=1,
    direction="bidirectional",
    outputs=2,
)
case("GRU-no-bias", "GRU", (5, "N", 3), w(1, 12, 3), w(1, 12, 4), hidden_size=4, opset=7)
case(
    "LSTM-states",
    "LSTM",
    (5, "N", 3),
    w(1, 16, 3),
    w(1, 16, 4),
    w(1, 32),
    None,
    (1, "N", 4),
    (1, "N", 4),
    hidden_size=4,
    outputs=3,
)
case(
    "LSTM-states-both",
    "LSTM",
    (5, "N", 3),
    w(2, 16, 3),
    w(2, 16, 4),
    w(2, 32),
    None,
    (2, "N", 4),
    (2, "N", 4),
    hidden_size=4,
    outputs=3,
    direction="bidirectional",
)


def tokens():
    """A class token that is written out for the batch as it comes in, and another constant after."""
    constants = {"token": w(1, 1, 6), "zero": ints(0), "one": ints(1), "six": ints(6), "end": w(1, 2, 6)}
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["n"], axis=0),
        helper.make_node("Concat", ["n", "one", "six"], ["wanted"], axis=0),
        helper.make_node("Expand", ["token", "wanted"], ["tokens"]),
        helper.make_node("Mul", ["one", "two"], ["twice"]),
        helper.make_node("Concat", ["n", "twice", "six"], ["more"], axis=0),
        helper.make_node("Expand", ["end", "more"], ["ends"]),
        helper.make_node("Concat", ["tokens", "x", "ends", "x"], ["y"], axis=1),
    ]
    constants["two"] = ints(2)
    return helper.make_graph(
        nodes,
        "tokens",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 5, 6])],
        [helper.make_empty_tensor_value_info("y")],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )


add("Concat-tokens", tokens())
case(
    "BatchNormalization-scaled",
    "BatchNormalization",
    I4,
    w(3),
    w(3),
    w(3),
    w(3) ** 2,
    after=[("Mul", w(3, 1, 1)), ("Add", w(1, 3, 1, 1)), ("Mul", w(8))],
)
case("Conv-biased", "Conv", (3, 9, 8), w(5, 3, 3, 3), after=[("Add", w(5, 1, 1)), ("Add", w(7, 1))])


def written_out(nodes, constants=()):
    """A graph on an image of what exporters write out in several nodes; "x" goes in and "y" comes out."""
    made = [helper.make_node(kind, ins, [out], **more) for kind, ins, out, more in nodes]
    known = [numpy_helper.from_array(np.asarray(array), name) for name, array in dict(constants).items()]
    end = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 7, 5, 6])
    return helper.make_graph(made, "out", [end], [helper.make_empty_tensor_value_info("y")], known)


def number(value):
    return np.array(value, np.float32)


NUMBERS = {"root": number(2**0.5), "one": number(1), "half": number(0.5), "three": number(3), "six": number(6),
           "zero": number(0), "sixth": number(1 / 6)}  # fmt: skip
ERF = [("Div", ["x", "root"], "a", {}), ("Erf", ["a"], "e", {}), ("Add", ["e", "one"], "p", {})]
CUT = [("Add", ["x", "three"], "a", {}), ("Clip", ["a", "zero", "six"], "c", {})]
WRITTEN_OUT = {
    "gelu-x-half": [*ERF, ("Mul", ["x", "p"], "m", {}), ("Mul", ["m", "half"], "y", {})],
    "gelu-half-x": [*ERF, ("Mul", ["x", "half"], "h", {}), ("Mul", ["h", "p"], "y", {})],
    "gelu-half-p": [*ERF, ("Mul", ["half", "p"], "m", {}), ("Mul", ["m", "x"], "y", {})],
    "silu": [("Sigmoid", ["x"], "s", {}), ("Mul", ["x", "s"], "y", {})],
    "hard-swish": [("HardSigmoid", ["x"], "s", {"alpha": 1 / 6}), ("Mul", ["x", "s"], "y", {})],
    "hard-swish-div": [*CUT, ("Mul", ["x", "c"], "m", {}), ("Div", ["m", "six"], "y", {})],
    "hard-swish-mul": [*CUT, ("Mul", ["c", "sixth"], "m", {}), ("Mul", ["m", "x"], "y", {})],
}
for what, nodes in WRITTEN_OUT.items():
    add(f"written-out-{what}", written_out(nodes, NUMBERS))
NORM = {"two": number(2), "small": number(1e-3), "gamma": w(6), "beta": w(6), "plane": w(5, 6), "one": ints(1)}


def normalized(*, axes=(-1,), again=(-1,), square="Pow", scale="gamma", shift=True):
    """Layer normalization, written out; with other ``axes`` ``again`` it only looks like it."""
    return [
        ("ReduceMean", ["x"], "m", {"axes": axes}),
        ("Sub", ["x", "m"], "c", {}),
        (square, ["c", "two" if square == "Pow" else "c"], "q", {}),
        ("ReduceMean", ["q"], "v", {"axes": again}),
        ("Add", ["v", "small"], "e", {}),
        ("Sqrt", ["e"], "d", {}),
        ("Div", ["c", "d"], "n", {}),
        ("Mul", ["n", scale], "s" if shift else "y", {}),
        *([("Add", ["s", "beta"], "y", {})] if shift else []),
    ]


for what, nodes in {
    "norm": normalized(),
    "norm-product": normalized(square="Mul", shift=False),
    "norm-plane": normalized(axes=(2, 3), again=(-2, -1), scale="plane", shift=False),
    "no-norm-axes": normalized(again=(1,)),
    "no-norm-middle": normalized(axes=(1,), again=(1,)),
    "no-norm-scale": normalized(scale="plane"),
    "no-norm-heard": [*normalized()[:-1], ("Add", ["s", "c"], "y", {})],
}.items():
    add(f"written-out-{what}", written_out(nodes, NORM))
LRN = {"up": ints(1), "pads": ints(0, 0, 2, 0, 0, 0, 0, 2, 0, 0), "alpha": number(0.3), "bias": number(1.2),
       "beta": number(0.7)}  # fmt: skip
add(
    "written-out-lrn",
    written_out(
        [
            ("Mul", ["x", "x"], "s", {}),
            ("Unsqueeze", ["s", "up"], "u", {}),
            ("Pad", ["u", "pads"], "p", {}),
            ("AveragePool", ["p"], "m", {"kernel_shape": [5, 1, 1], "strides": [1, 1, 1]}),
            ("Squeeze", ["m", "up"], "q", {}),
            ("Mul", ["q", "alpha"], "a", {}),
            ("Add", ["a", "bias"], "b", {}),
            ("Pow", ["b", "beta"], "d", {}),
            ("Div", ["x", "d"], "y", {}),
        ],
        LRN,
    ),
)


def attention():
    """Two heads over a batch that is fixed to 1 and lies second, as a static export of torch's has them."""
    constants = {"heads": ints(10, 2, 8), "rows": ints(10, 16), "back": ints(10, 1, 16), "k": w(16, 16), "b": w(16)}
    nodes = [
        helper.make_node("Reshape", ["x", "heads"], ["h"]),
        helper.make_node("Transpose", ["h"], ["q"], perm=[1, 0, 2]),
        helper.make_node("Transpose", ["q"], ["t"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["q", "t"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["weights"], axis=-1),
        helper.make_node("MatMul", ["weights", "q"], ["mixed"]),
        helper.make_node("Transpose", ["mixed"], ["turned"], perm=[1, 0, 2]),
        helper.make_node("Reshape", ["turned", "rows"], ["flat"]),
        helper.make_node("Gemm", ["flat", "k", "b"], ["dense"]),
        helper.make_node("Reshape", ["dense", "back"], ["open"]),
        helper.make_node("Add", ["open", "x"], ["sum"]),
        helper.make_node("ReduceMean", ["sum"], ["y"], axes=[0], keepdims=0),
    ]
    end = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [10, 1, 16])
    known = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    return helper.make_graph(nodes, "attention", [end], [helper.make_empty_tensor_value_info("y")], known)


add("fixed-attention", attention())

FUSED = {
    **{f"written-out-{what}": {"Activation"} for what in WRITTEN_OUT},
    "written-out-lrn": {"LocalResponseNormalization"},
    **{f"written-out-{what}": {"LayerNormalization"} for what in ("norm", "norm-product", "norm-plane")},
    "BatchNormalization-scaled": {"Conv2D", "BatchNormalization", "WithConstant"},
    "Conv-biased": {"Conv2D", "WithConstant"},
    "MatMul-bias": {"Dense"},
    "GlobalAveragePool-flat": {"Conv2D", "GlobalAveragePooling2D"},
    "ReduceMean-flat": {"Conv2D", "GlobalAveragePooling2D"},
    "Flatten-dense": {"Conv2D", "Flatten", "Dense"},
}
"""What the import of some cases consists of, the input aside."""
