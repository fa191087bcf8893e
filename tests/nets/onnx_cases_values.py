# SPDX-License-Identifier: Apache-2.0
"""Graphs of what works value by value, and of convolutions."""

import numpy as np
from onnx_case import I4, case, ints, w

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
case("Sqrt", "Abs", I4, after=[("Sqrt",)])
case("Log", "Softplus", I4, after=[("Log",)])
case("Reciprocal", "Exp", I4, after=[("Reciprocal",)])
case("Equal", "Equal", (4, 5), (4, 5), dtype="int64", after=[("Cast", "", {"to": 1})])
for kind in ("Greater", "Less", "GreaterOrEqual", "LessOrEqual"):
    case(kind, kind, I4, (3, 6, 8), after=[("Cast", "", {"to": 1})])
mask = np.arange(8) % 2 == 0
for kind in ("And", "Or"):
    case(kind, "Greater", I4, w(3, 1, 1), after=[(kind, mask), ("Not",), ("Cast", "", {"to": 1})])
case("Gather-embedding", "Gather", w(6, 4), (3,), dtype="int64")
case("Pow-root", "Abs", I4, after=[("Pow", np.float32([0.5]))])
case("Max-number", "Max", I4, np.float32(0.2))
