# SPDX-License-Identifier: Apache-2.0
"""Import graphs of one operator each and hold them against onnxruntime, at batch 1 and 4. Runs in a worker.

Read by pytest too, for the names in ``CASES`` alone.
"""

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

RNG = np.random.default_rng(7)
CASES = {}


def w(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def ints(*numbers):
    return np.array(numbers, np.int64)


def case(name, kind, *inputs, opset=17, outputs=1, after=None, dtype="float32", **attributes):
    """Add a graph: a tuple is an input without its batch, an array a constant, None is left out.

    An input whose tuple ends in "c" goes through a convolution first, so that its channels lie last.
    """
    nodes, names, constants, ends = [], [], [], []
    for number, item in enumerate(inputs):
        if item is None:
            names.append("")
            continue
        names.append(f"i{number}")
        if isinstance(item, np.ndarray | np.generic):
            constants.append(numpy_helper.from_array(np.asarray(item), names[-1]))
            continue
        shape = [size for size in item if size != "c"]
        of = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        ends.append(helper.make_tensor_value_info(f"x{number}", of, ["N", *shape] if "N" not in shape else shape))
        if item[-1] == "c":
            kernel = np.eye(shape[0], dtype=np.float32).reshape(shape[0], shape[0], *(1,) * (len(shape) - 1))
            constants.append(numpy_helper.from_array(kernel, f"k{number}"))
            nodes.append(helper.make_node("Conv", [f"x{number}", f"k{number}"], [names[-1]], name=f"conv{number}"))
        else:
            names[-1] = f"x{number}"
    made = [
        f"y{number}" if number in (range(outputs) if isinstance(outputs, int) else outputs) else ""
        for number in range(outputs if isinstance(outputs, int) else max(outputs) + 1)
    ]
    nodes.append(helper.make_node(kind, names, made, name=f"/a/{kind}.1", **attributes))
    for one, (step, *more) in enumerate(after or ()):
        second = [item for item in more[:1] if isinstance(item, np.ndarray)]
        constants += [numpy_helper.from_array(item, f"c{one}") for item in second]
        options = more[1] if len(more) > 1 else {}
        nodes.append(helper.make_node(step, [made[0], *(f"c{one}" for _ in second)], [f"z{one}"], **options))
        made = [f"z{one}", *made[1:]]
    results = [helper.make_empty_tensor_value_info(name) for name in made if name]
    graph = helper.make_graph(nodes, name, ends, results, constants)
    add(name, graph, opset)


def add(name, graph, opset=17):
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    assert name not in CASES, name
    CASES[name] = onnx.shape_inference.infer_shapes(model)
    for item in CASES[name].graph.output:
        item.type.tensor_type.elem_type = item.type.tensor_type.elem_type or onnx.TensorProto.FLOAT


I4, S3 = (3, 6, 8, "c"), (3, 9, "c")
for kind in (
    "Relu",
    "Sigmoid",
    "Tanh",
    "Exp",
    "Neg",
    "Abs",
    "Erf",
    "Floor",
    "Ceil",
    "Softplus",
    "Softsign",
    "Sign",
    "LeakyRelu",
    "Elu",
    "Selu",
    "HardSigmoid",
    "Round",
    "Sin",
    "Cos",
    "ThresholdedRelu",
    "Celu",
    "Identity",
):
    case(kind, kind, I4)
case("HardSwish", "HardSwish", I4)
case("HardSigmoid-torch", "HardSigmoid", I4, alpha=1 / 6, beta=0.5)
case("HardSigmoid-alpha", "HardSigmoid", I4, alpha=0.3, beta=0.4)
case("LeakyRelu-alpha", "LeakyRelu", I4, alpha=0.3)
case("Mish", "Mish", I4, opset=18)
case("Gelu", "Gelu", I4, opset=20)
case("Gelu-tanh", "Gelu", I4, opset=20, approximate="tanh")
case("Clip-relu6", "Clip", I4, np.float32(0), np.float32(6))
case("Clip-both", "Clip", I4, np.float32(-0.5), np.float32(0.7))
case("Clip-low", "Clip", I4, np.float32(-0.5))
case("Clip-high", "Clip", I4, None, np.float32(0.5))
case("Clip-6", "Clip", I4, opset=9, min=-0.3, max=0.4)
case("PRelu", "PRelu", I4, w(3, 1, 1))
case("PRelu-one", "PRelu", I4, w(1))
case("PRelu-all", "PRelu", I4, w(3, 6, 8))
case("PRelu-2d", "PRelu", (7,), w(7))
for opset in (9, 11, 13):
    case(f"Softmax-{opset}", "Softmax", I4, opset=opset)
    case(f"LogSoftmax-{opset}", "LogSoftmax", I4, opset=opset)
    case(f"Softmax-axis1-{opset}", "Softmax", I4, opset=opset, axis=1)
    case(f"Softmax-axis2-{opset}", "Softmax", I4, opset=opset, axis=2)
    case(f"Softmax-squeezenet-{opset}", "Softmax", (5, 1, 1, "c"), opset=opset, axis=1)
    case(f"Softmax-last-{opset}", "Softmax", (4, 7), opset=opset, axis=-1)
for kind in ("Add", "Sub", "Mul", "Div"):
    case(kind, kind, I4, I4)
    case(f"{kind}-layouts", kind, I4, (3, 6, 8))
    case(f"{kind}-number", kind, I4, np.float32(1.7))
    case(f"{kind}-number-first", kind, np.array([1.7], np.float32), I4)
    case(f"{kind}-channels", kind, I4, w(3, 1, 1))
    case(f"{kind}-channels-first", kind, w(1, 3, 1, 1), I4)
    case(f"{kind}-row", kind, I4, w(8))
    case(f"{kind}-gate", kind, I4, (3, 1, 1, "c"), opset=14)
    case(f"{kind}-opset7", kind, I4, (1, 6, 8, "c"), opset=7)
case("Add-int", "Add", (4, 5), ints(1, 2, 3, 4, 5), dtype="int64")
case("Pow-2", "Pow", I4, np.float32(2))
case("Pow-3", "Pow", I4, np.float32(3))
for kind in ("Max", "Min", "Sum", "Mean"):
    case(kind, kind, I4, I4)
    case(f"{kind}-three", kind, I4, I4, (3, 6, 8), opset=8)
    case(f"{kind}-constant", kind, I4, w(3, 1, 1))
case("Where", "Where", np.array([[True, False, True, False, True]]), (4, 5), w(4, 1))
case("Conv", "Conv", (3, 9, 8), w(5, 3, 3, 3), w(5))
case("Conv-pads", "Conv", (3, 9, 8), w(5, 3, 3, 3), pads=[1, 1, 1, 1])
case("Conv-uneven", "Conv", (3, 9, 8), w(5, 3, 3, 2), w(5), pads=[2, 0, 1, 3], strides=[2, 1])
case("Conv-stride2", "Conv", (3, 8, 8), w(5, 3, 3, 3), pads=[1, 1, 1, 1], strides=[2, 2])
case("Conv-upper", "Conv", (3, 8, 7), w(5, 3, 4, 3), auto_pad="SAME_UPPER", strides=[2, 2])
case("Conv-lower", "Conv", (3, 8, 7), w(5, 3, 4, 3), auto_pad="SAME_LOWER", strides=[2, 2])
case("Conv-valid", "Conv", (3, 8, 7), w(5, 3, 4, 3), auto_pad="VALID")
case("Conv-dilated", "Conv", (3, 9, 9), w(5, 3, 3, 3), dilations=[2, 2], pads=[2, 2, 2, 2])
case("Conv-groups", "Conv", (4, 9, 8), w(6, 2, 3, 3), w(6), group=2)
case("Conv-depthwise", "Conv", (4, 9, 8), w(4, 1, 3, 3), w(4), group=4, pads=[1, 1, 1, 1])
case("Conv-depthwise-2", "Conv", (4, 9, 8), w(8, 1, 3, 3), group=4, strides=[2, 2])
case("Conv-depthwise-uneven", "Conv", (4, 9, 8), w(4, 1, 3, 3), group=4, strides=[2, 1])
case("Conv-1d", "Conv", (3, 12), w(5, 3, 4), w(5), pads=[3, 0], dilations=[1])
case("Conv-1d-depthwise", "Conv", (4, 12), w(4, 1, 3), w(4), group=4, pads=[1, 1])
case("Conv-3d", "Conv", (2, 5, 6, 4), w(3, 2, 3, 3, 3), pads=[1, 1, 1, 1, 1, 1])
case("Conv-opset9", "Conv", (3, 9, 8), w(5, 3, 3, 3), w(5), opset=9)
case("ConvTranspose", "ConvTranspose", (3, 5, 6), w(3, 4, 2, 2), w(4), strides=[2, 2])
case("ConvTranspose-pads", "ConvTranspose", (3, 5, 6), w(3, 4, 3, 3), w(4), strides=[2, 2], pads=[1, 1, 1, 1])
case(
    "ConvTranspose-padding",
    "ConvTranspose",
    (3, 5, 6),
    w(3, 4, 3, 3),
    w(4),
    strides=[2, 2],
    pads=[1, 1, 1, 1],
    output_padding=[1, 1],
)
case("ConvTranspose-4", "ConvTranspose", (3, 5, 6), w(3, 4, 4, 4), strides=[2, 2], pads=[1, 1, 1, 1])
case("ConvTranspose-beyond", "ConvTranspose", (3, 5, 6), w(3, 4, 2, 2), strides=[2, 2], output_padding=[1, 0])
case("ConvTranspose-shape", "ConvTranspose", (3, 5, 6), w(3, 4, 3, 3), strides=[2, 2], output_shape=[10, 12])
case("ConvTranspose-upper", "ConvTranspose", (3, 5, 6), w(3, 4, 3, 3), strides=[2, 2], auto_pad="SAME_UPPER")
case("ConvTranspose-1d", "ConvTranspose", (3, 7), w(3, 4, 4), w(4), strides=[2], pads=[1, 1])
case("MaxPool", "MaxPool", I4, kernel_shape=[2, 2], strides=[2, 2])
case("MaxPool-pads", "MaxPool", I4, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
case("MaxPool-relu", "MaxPool", I4, kernel_shape=[3, 3], strides=[2, 2], pads=[0, 2, 1, 0], after=[])
case("MaxPool-ceil", "MaxPool", (3, 7, 8), kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
case("MaxPool-upper", "MaxPool", (3, 7, 8), kernel_shape=[3, 2], strides=[2, 2], auto_pad="SAME_UPPER")
case("MaxPool-lower", "MaxPool", (3, 7, 8), kernel_shape=[3, 2], strides=[2, 2], auto_pad="SAME_LOWER")
case("MaxPool-1d", "MaxPool", S3, kernel_shape=[3], strides=[2], pads=[1, 0])
case("AveragePool", "AveragePool", I4, kernel_shape=[2, 2], strides=[2, 2])
for include in (0, 1):
    case(
        f"AveragePool-pads-{include}",
        "AveragePool",
        I4,
        kernel_shape=[3, 3],
        pads=[1, 1, 1, 1],
        count_include_pad=include,
    )
    case(
        f"AveragePool-uneven-{include}",
        "AveragePool",
        I4,
        kernel_shape=[3, 2],
        strides=[2, 2],
        pads=[2, 0, 1, 1],
        count_include_pad=include,
    )
    case(
        f"AveragePool-ceil-{include}",
        "AveragePool",
        (3, 7, 8),
        kernel_shape=[3, 3],
        strides=[2, 2],
        ceil_mode=1,
        count_include_pad=include,
    )
    case(
        f"AveragePool-ceil-pads-{include}",
        "AveragePool",
        (3, 7, 8),
        kernel_shape=[3, 3],
        strides=[2, 2],
        pads=[1, 1, 1, 1],
        ceil_mode=1,
        count_include_pad=include,
        opset=19,
    )
    case(
        f"AveragePool-same-{include}",
        "AveragePool",
        (3, 7, 8),
        kernel_shape=[3, 3],
        strides=[2, 2],
        auto_pad="SAME_UPPER",
        count_include_pad=include,
        opset=11,
    )
case("AveragePool-1d", "AveragePool", S3, kernel_shape=[3], pads=[1, 1])
for kind in ("GlobalAveragePool", "GlobalMaxPool"):
    case(kind, kind, I4)
    case(f"{kind}-flat", kind, I4, after=[("Flatten",)])
    case(f"{kind}-1d", kind, S3)
for epsilon in (1e-3, 1e-5, 1e-8):
    case(f"BatchNormalization-{epsilon}", "BatchNormalization", I4, w(3), w(3), w(3), w(3) ** 2 * 1e-3, epsilon=epsilon)
case("BatchNormalization-9", "BatchNormalization", (5,), w(5), w(5), w(5), w(5) ** 2, opset=9)
case("BatchNormalization-7", "BatchNormalization", (5, 4), w(5), w(5), w(5), w(5) ** 2, opset=7)
case("InstanceNormalization", "InstanceNormalization", I4, w(3), w(3), epsilon=1e-4)
case("InstanceNormalization-1d", "InstanceNormalization", S3, w(3), w(3))
case("GroupNormalization-21", "GroupNormalization", (6, 5, 4, "c"), w(6), w(6), num_groups=3, opset=21)
case("GroupNormalization-18", "GroupNormalization", (6, 5, 4, "c"), w(3), w(3), num_groups=3, opset=18)
case("LayerNormalization", "LayerNormalization", (4, 6), w(6), w(6))
case("LayerNormalization-no-bias", "LayerNormalization", (4, 6), w(6), epsilon=1e-3)
case("LayerNormalization-channels", "LayerNormalization", I4, w(3, 6, 8), w(3, 6, 8), axis=1)
case("LayerNormalization-last", "LayerNormalization", I4, w(8), w(8))
case("RMSNormalization", "RMSNormalization", (4, 6), w(6), opset=23)
case("LRN", "LRN", I4, size=3, alpha=0.2, beta=0.6, bias=1.3)
case("LRN-5", "LRN", (7, 4, 5, "c"), size=5, opset=11)
case("Gemm", "Gemm", (6,), w(6, 4), w(4))
case("Gemm-options", "Gemm", (6,), w(4, 6), w(4), alpha=0.5, beta=2.0, transB=1)
case("Gemm-no-bias", "Gemm", (6,), w(6, 4))
case("Gemm-scalar-bias", "Gemm", (6,), w(6, 4), w(1, 1))
case("Gemm-7", "Gemm", (6,), w(6, 4), w(4), opset=7)
case("MatMul", "MatMul", (6,), w(6, 4))
case("MatMul-3d", "MatMul", (5, 6), w(6, 4))
case("MatMul-image", "MatMul", I4, w(8, 4))
case("MatMul-left", "MatMul", w(4, 5), (5, 6))
case("MatMul-stack", "MatMul", (3, 5, 6), w(3, 6, 2))
case("MatMul-stack-left", "MatMul", w(3, 2, 5), (3, 5, 6))
case("MatMul-two", "MatMul", (3, 5, 6), (3, 6, 2))
case("MatMul-two-1", "MatMul", (5, 6), (6, 2), opset=8)
case("MatMul-bias", "MatMul", (5, 6), w(6, 4), after=[("Add", w(4))])
for kind in (
    "ReduceMean",
    "ReduceSum",
    "ReduceMax",
    "ReduceMin",
    "ReduceL1",
    "ReduceL2",
    "ReduceSumSquare",
    "ReduceProd",
    "ReduceLogSumExp",
):
    more = {} if kind == "ReduceSum" else {"axes": [2, 3]}
    axes = [ints(2, 3)] if kind == "ReduceSum" else []
    case(kind, kind, I4, *axes, **more)
    case(f"{kind}-drop", kind, I4, *axes, keepdims=0, **more)
    case(f"{kind}-18", kind, I4, ints(1), opset=18, keepdims=0)
case("ReduceSum-11", "ReduceSum", I4, opset=11, axes=[-1], keepdims=0)
case("ReduceMean-series", "ReduceMean", (6, 4), axes=[1], keepdims=0)
case("ReduceMean-flat", "ReduceMean", I4, axes=[2, 3], after=[("Flatten",)])
case("ReduceMean-nothing", "ReduceMean", I4, opset=18, noop_with_empty_axes=1)
case("ArgMax", "ArgMax", I4, axis=1)
case("ArgMin-drop", "ArgMin", (4, 6), axis=-1, keepdims=0)
case("Reshape", "Reshape", I4, ints(0, -1))
case("Reshape-split", "Reshape", (6, 4, 5, "c"), ints(0, 2, 3, 4, 5))
case("Reshape-rows", "Reshape", I4, ints(-1, 18, 8))
case("Reshape-5", "Reshape", (4, 6), ints(-1, 2, 12), opset=5)
case(
    "Reshape-shuffle",
    "Reshape",
    (6, 4, 5, "c"),
    ints(0, 2, 3, 4, 5),
    after=[("Transpose", "", {"perm": [0, 2, 1, 3, 4]}), ("Reshape", ints(0, 6, 4, 5))],
)
case("Reshape-batch", "Reshape", (5, 6), ints(-1, 6), after=[("MatMul", w(6, 4)), ("Reshape", ints(-1, 5, 4))])
case(
    "Reshape-batch-last",
    "Reshape",
    (2, 5, 6),
    ints(-1, 5, 6),
    after=[("Softmax",), ("Transpose", "", {"perm": [0, 2, 1]}), ("Reshape", ints(-1, 2, 6, 5))],
)
case("Flatten", "Flatten", I4)
case("Flatten-dense", "Flatten", I4, after=[("MatMul", w(144, 4))])
case("Flatten-9", "Flatten", I4, opset=9, axis=1)
case("Squeeze", "Squeeze", (3, 1, 8, "c"), ints(2))
case("Squeeze-11", "Squeeze", (3, 1, 8, "c"), opset=11, axes=[2])
case("Unsqueeze", "Unsqueeze", S3, ints(1, -1))
case("Unsqueeze-11", "Unsqueeze", S3, opset=11, axes=[2])
case("Transpose", "Transpose", I4, perm=[0, 2, 3, 1])
case("Transpose-twice", "Transpose", I4, perm=[0, 3, 1, 2], after=[("Transpose", "", {"perm": [0, 2, 1, 3]})])
case(
    "Transpose-front",
    "Transpose",
    (4, 5),
    perm=[1, 0, 2],
    after=[("Add", w(4, 1, 5)), ("Transpose", "", {"perm": [1, 0, 2]})],
)
case("Dropout", "Dropout", I4, after=[("Relu",)])
case("Dropout-7", "Dropout", I4, opset=7, ratio=0.3)
case("Cast", "Cast", (4, 5), to=6)
case("Cast-back", "Cast", (4, 5), to=7, after=[("Cast", "", {"to": 1})])
case("Cast-half", "Cast", (4, 5), to=1)
case("CastLike", "CastLike", (4, 5), ints(1), after=[("Cast", "", {"to": 1})])
case("Expand", "Expand", (3, 1, 1, "c"), ints(1, 3, 4, 5))
case("Expand-8", "Expand", (3, 1), ints(1, 3, 4), opset=8)
case("Tile", "Tile", S3, ints(1, 2, 3))
for mode in ("DCR", "CRD"):
    case(f"DepthToSpace-{mode}", "DepthToSpace", (12, 3, 4, "c"), blocksize=2, mode=mode)
case("SpaceToDepth", "SpaceToDepth", (3, 4, 6, "c"), blocksize=2)
case("Split", "Split", (6, 4, 5, "c"), outputs=2, axis=1)
case("Split-sizes", "Split", (6, 4, 5, "c"), ints(1, 5), outputs=2, axis=1)
case("Split-11", "Split", (6, 4), opset=11, outputs=2, axis=2, split=[1, 3])
case("Split-18", "Split", (7, 4), opset=18, outputs=3, axis=1, num_outputs=3)
case("Slice", "Slice", I4, ints(1, 2), ints(5, 100), ints(2, 3))
case("Slice-steps", "Slice", I4, ints(1, 0), ints(6, 3), ints(2, 1), ints(2, 2))
case("Slice-back", "Slice", I4, ints(-1), ints(-100), ints(3), ints(-1))
case("Slice-9", "Slice", I4, opset=9, starts=[1], ends=[-1], axes=[2])
case("Gather-one", "Gather", I4, np.array(1), axis=2)
case("Gather-some", "Gather", I4, ints(2, 0, -1), axis=1)
case("Concat", "Concat", I4, (2, 6, 8, "c"), axis=1)
case("Concat-layouts", "Concat", I4, (3, 6, 8), axis=-1)
case("Pad", "Pad", I4, ints(0, 0, 1, 2, 0, 0, 3, 0))
case("Pad-number", "Pad", I4, ints(0, 1, 1, 2, 0, 0, 3, 0), np.float32(0.5))
case("Pad-reflect", "Pad", I4, ints(0, 0, 1, 2, 0, 0, 3, 0), mode="reflect")
case("Pad-edge", "Pad", I4, ints(0, 0, 1, 1, 0, 0, 1, 0), mode="edge")
case("Pad-cut", "Pad", I4, ints(0, 0, -1, 2, 0, 0, 0, -3))
case("Pad-axes", "Pad", I4, ints(1, 2), None, ints(-1), opset=18)
case("Pad-2", "Pad", I4, opset=9, pads=[0, 0, 1, 2, 0, 0, 3, 0], value=0.0)
case("Pad-series", "Pad", S3, ints(0, 0, 2, 0, 0, 1))
EMPTY = np.zeros(0, np.float32)
for grid in ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"):
    for mode in ("nearest", "linear"):
        case(
            f"Resize-{mode}-{grid}-up",
            "Resize",
            I4,
            EMPTY,
            np.array([1, 1, 2, 3], np.float32),
            mode=mode,
            coordinate_transformation_mode=grid,
        )
for rounding in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"):
    case(f"Resize-{rounding}", "Resize", I4, None, np.array([1, 1, 1.5, 0.5], np.float32), nearest_mode=rounding)
case("Resize-linear-down", "Resize", I4, None, np.array([1, 1, 0.5, 0.5], np.float32), mode="linear")
case("Resize-linear-odd", "Resize", I4, None, np.array([1, 1, 1.5, 1.25], np.float32), mode="linear", opset=13)
case("Resize-10", "Resize", I4, np.array([1, 1, 2, 2], np.float32), opset=10)
case("Resize-10-linear", "Resize", I4, np.array([1, 1, 2, 2], np.float32), opset=10, mode="linear")
case("Resize-series", "Resize", S3, None, np.array([1, 1, 2], np.float32))
case("Resize-series-linear", "Resize", S3, None, np.array([1, 1, 2], np.float32), mode="linear")
case("Upsample-9", "Upsample", I4, np.array([1, 1, 2, 2], np.float32), opset=9)
case("Upsample-7", "Upsample", I4, opset=7, scales=[1.0, 1.0, 2.0, 2.0], mode="nearest")
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


FUSED = {
    **{f"written-out-{what}": {"Activation"} for what in WRITTEN_OUT},
    "written-out-lrn": {"LocalResponseNormalization"},
    "BatchNormalization-scaled": {"Conv2D", "BatchNormalization", "WithConstant"},
    "Conv-biased": {"Conv2D", "WithConstant"},
    "MatMul-bias": {"Dense"},
    "GlobalAveragePool-flat": {"Conv2D", "GlobalAveragePooling2D"},
    "ReduceMean-flat": {"Conv2D", "GlobalAveragePooling2D"},
    "Flatten-dense": {"Conv2D", "Flatten", "Dense"},
}
"""What the import of some cases consists of, the input aside."""


def held(model, name):
    """Return how the import of ``model`` differs from onnxruntime, as a share of the output's range."""
    import onnxruntime as ort

    from edgepack.importer.importer import import_onnx
    from edgepack.importer.prepare import prepare

    imported = import_onnx(prepare(model, shapes={}, where=name), where=name)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    rng, worst, most = np.random.default_rng(3), 0.0, 0.0
    for batch in (1, 4):
        feeds = {}
        for end in session.get_inputs():
            shape = [batch if isinstance(size, str) else size for size in end.shape]
            if "int" in end.type:
                feeds[end.name] = rng.integers(-5, 5, shape).astype(end.type[7:-1])
            else:
                feeds[end.name] = rng.normal(size=shape).astype(np.float32)
        tensors = [feeds[edge.name].transpose(edge.axes) for edge in imported.inputs]
        found = imported.net(tensors, training=False)
        found = found if isinstance(found, list) else [found]
        for tensor, edge, wanted in zip(found, imported.outputs, session.run(None, feeds), strict=True):
            ours = np.transpose(tensor, np.argsort(edge.axes)).astype(np.float64)
            theirs = np.asarray(wanted, np.float64)
            assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
            assert np.isfinite(theirs).all()
            span = max(float(np.ptp(theirs)), 1e-3)
            worst = max(worst, float(np.abs(ours - theirs).max()) / span)
            most = max(most, float(np.ptp(theirs)))
    if name in FUSED:
        assert {type(layer).__name__ for layer in imported.net.layers} == {"InputLayer", *FUSED[name]}
    assert most > 0 or "constant" in name, "the output does not depend on the input"
    return worst


def names_differ(imported):
    names = [layer.name for layer in imported.net.operations]
    return len(names) != len(set(names))


if "REPORT" in globals():
    import traceback

    report = {}
    for name, model in CASES.items():
        try:
            report[name] = held(model, name)
        except Exception as error:  # noqa: BLE001 - one case must not hide the others
            report[name] = f"{type(error).__name__}: {error}\n{traceback.format_exc()[-1500:]}"
    Path(REPORT).write_text(json.dumps(report))  # noqa: F821 - given by who runs this
