# SPDX-License-Identifier: Apache-2.0
"""Which operators the importer knows, and of which opset versions it knows the meaning; read without Keras.

A version is that of the opset which defined the operator anew.
"""

from collections.abc import Mapping
from typing import Final

FUSED: Final = (0,)
"""The version of what only fusion makes."""


def _each(*kinds: str, versions: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    return dict.fromkeys(kinds, versions)


VERSIONS: Final[Mapping[str, tuple[int, ...]]] = {
    # convolution
    **_each("Conv", versions=(1, 11, 22)),
    **_each("ConvTranspose", versions=(1, 11, 22)),
    # dense
    **_each("Gemm", versions=(7, 9, 11, 13)),
    **_each("Dense", versions=FUSED),
    **_each("MatMul", versions=(1, 9, 13)),
    # normalization
    **_each("BatchNormalization", versions=(7, 9, 14, 15)),
    **_each("LayerNormalization", versions=(17, *FUSED)),
    **_each("RMSNormalization", versions=(23,)),
    **_each("InstanceNormalization", versions=(6, 22)),
    **_each("GroupNormalization", versions=(18, 21)),
    **_each("LRN", versions=(1, 13, *FUSED)),
    # pooling
    **_each("MaxPool", versions=(1, 8, 10, 11, 12, 22)),
    **_each("AveragePool", versions=(1, 7, 10, 11, 19, 22)),
    **_each("GlobalAveragePool", "GlobalMaxPool", versions=(1, 22)),
    # activations
    **_each("Relu", versions=(1, 6, 13, 14)),
    **_each("LeakyRelu", versions=(6, 16)),
    **_each("Elu", versions=(6, 22)),
    **_each("ThresholdedRelu", versions=(10, 22)),
    **_each("Sigmoid", versions=(6, 13)),
    **_each("Softplus", versions=(1, 22)),
    **_each("Tanh", versions=(6, 13)),
    **_each("Softsign", versions=(1, 22)),
    **_each("HardSwish", versions=(14, 22, *FUSED)),
    **_each("Mish", versions=(18, 22)),
    **_each("Silu", versions=FUSED),
    **_each("Swish", versions=(24,)),
    **_each("Selu", versions=(6, 22)),
    **_each("Celu", versions=(12,)),
    **_each("Gelu", versions=(20, *FUSED)),
    **_each("HardSigmoid", versions=(6, 22)),
    **_each("Clip", versions=(6, 11, 12, 13)),
    **_each("PRelu", versions=(7, 9, 16)),
    **_each("Softmax", versions=(1, 11, 13)),
    **_each("LogSoftmax", versions=(1, 11, 13)),
    # elementwise
    **_each("Sqrt", "Exp", "Log", "Neg", "Abs", "Reciprocal", "Floor", "Ceil", versions=(6, 13)),
    **_each("Erf", "Sign", versions=(9, 13)),
    **_each("Round", versions=(11, 22)),
    **_each("Sin", "Cos", versions=(7, 22)),
    **_each("Not", versions=(1,)),
    **_each("Add", "Sub", "Mul", "Div", versions=(7, 13, 14)),
    **_each("Pow", versions=(7, 12, 13, 15)),
    **_each("Max", "Min", "Sum", versions=(6, 8, 12, 13)),
    **_each("Mean", versions=(6, 8, 13)),
    **_each("Equal", versions=(7, 11, 13, 19)),
    **_each("Greater", "Less", versions=(7, 9, 13)),
    **_each("GreaterOrEqual", "LessOrEqual", versions=(12, 16)),
    **_each("And", "Or", versions=(7,)),
    **_each("Where", versions=(9, 16)),
    # reductions
    **_each("ReduceMean", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceProd", versions=(1, 11, 13, 18)),
    **_each("ReduceLogSumExp", versions=(1, 11, 13, 18)),
    **_each("ReduceMax", "ReduceMin", versions=(1, 11, 12, 13, 18, 20)),
    **_each("ReduceSum", versions=(1, 11, 13)),
    **_each("ArgMax", "ArgMin", versions=(1, 11, 12, 13)),
    # shapes
    **_each("Reshape", versions=(5, 13, 14, 19, 21, 23, 24, 25)),
    **_each("Flatten", versions=(1, 9, 11, 13, 21, 23, 24, 25)),
    **_each("Squeeze", "Unsqueeze", versions=(1, 11, 13, 21, 23, 24, 25)),
    **_each("Transpose", versions=(1, 13, 21, 23, 24, 25)),
    **_each("Identity", versions=(1, 13, 14, 16, 19, 21, 23, 24, 25)),
    **_each("Dropout", versions=(1, 6, 7, 10, 12, 13, 22)),
    **_each("Cast", versions=(6, 9, 13, 19, 21, 23, 24, 25)),
    **_each("CastLike", versions=(15, 19, 21, 23, 24, 25)),
    **_each("Expand", versions=(8, 13)),
    **_each("Tile", versions=(6, 13)),
    **_each("DepthToSpace", versions=(1, 11, 13)),
    **_each("SpaceToDepth", versions=(1, 13)),
    # slicing
    **_each("Split", versions=(2, 11, 13, 18)),
    **_each("Slice", versions=(1, 10, 11, 13)),
    **_each("Gather", versions=(1, 11, 13)),
    **_each("Concat", versions=(4, 11, 13)),
    **_each("Pad", versions=(2, 11, 13, 18, 19, 21, 23, 24, 25)),
    # resize
    **_each("Upsample", versions=(7, 9)),
    **_each("Resize", versions=(10, 11, 13, 18, 19)),
    # recurrent
    **_each("LSTM", "GRU", "RNN", versions=(7, 14, 22)),
    # quantized
    **_each("QuantizeLinear", "DequantizeLinear", versions=(10, 13, 19, 21, 23, 24, 25)),
}
