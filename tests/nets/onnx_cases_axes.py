# SPDX-License-Identifier: Apache-2.0
"""Graphs of what works along axes: pooling, normalization, products, reductions, shapes, cuts, resizing."""

import numpy as np
from onnx_case import I4, S3, case, ints, w

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
