# SPDX-License-Identifier: Apache-2.0
"""Which rule of the channel analysis an operation has: one per kind, by the name of its class.

A class that is neither Keras's nor of those that an import brings, whatever it derives from, has none: nobody knows
what it does to channels.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from edgepack.graph import _channel_rules_linear as linear
from edgepack.graph import _channel_rules_merge as merge
from edgepack.graph import _channel_rules_own as own
from edgepack.graph import _channel_rules_sequence as sequence
from edgepack.graph import _channel_rules_shape as shape
from edgepack.graph.channel_ties import Call, Found, Ties

if TYPE_CHECKING:
    from keras import Operation

Rule = Callable[[Call, Ties], Found]


def rule_of(operation: "Operation") -> Rule | None:
    """Return the rule for ``operation``, or None where it has none."""
    kind = type(operation)
    if kind.__module__.startswith("keras.src.ops."):
        return _OPERATIONS.get(kind.__name__)
    if kind.__module__.startswith("edgepack.importer."):
        return _IMPORTED.get(kind.__name__)
    return _LAYERS.get(kind.__name__) if kind.__module__.startswith("keras.src.layers.") else None


def time_distributed(call: Call, ties: Ties) -> Found:
    """The wrapped layer, at each position of the first axis after the batch."""
    return sequence.time_distributed(call, ties, rule_of(call.operation.layer))


def _named(rule: Rule, *names: str) -> dict[str, Rule]:
    return dict.fromkeys(names, rule)


def _ranks(rule: Rule, *patterns: str) -> dict[str, Rule]:
    return {pattern.format(rank): rule for pattern in patterns for rank in (1, 2, 3)}


_LAYERS: Final[Mapping[str, Rule]] = {
    **_named(
        merge.pointwise,
        *("Activation", "ReLU", "LeakyReLU", "ELU", "Identity", "Dropout", "GaussianDropout", "GaussianNoise"),
        *("AlphaDropout", "ActivityRegularization", "Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"),
        *("Rescaling", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D"),
    ),
    **_named(merge.softmax, "Softmax"),
    **_named(merge.concatenate, "Concatenate"),
    **_named(merge.prelu, "PReLU"),
    **_named(merge.batch_norm, "BatchNormalization"),
    **_named(merge.layer_norm, "LayerNormalization", "RMSNormalization", "UnitNormalization"),
    **_named(merge.group_norm, "GroupNormalization"),
    **_ranks(linear.convolution, "Conv{}D"),
    **_ranks(linear.transposed_convolution, "Conv{}DTranspose"),
    **_ranks(linear.depthwise_convolution, "DepthwiseConv{}D"),
    **_ranks(linear.separable_convolution, "SeparableConv{}D"),
    **_named(linear.dense, "Dense"),
    **_named(linear.einsum_dense, "EinsumDense"),
    **_ranks(shape.spatial, "MaxPooling{}D", "AveragePooling{}D", "ZeroPadding{}D", "Cropping{}D", "UpSampling{}D"),
    **_ranks(shape.spatial, "AdaptiveAveragePooling{}D", "AdaptiveMaxPooling{}D"),
    **_named(shape.spatial, "Resizing", "CenterCrop"),
    **_ranks(shape.global_pooling, "GlobalAveragePooling{}D", "GlobalMaxPooling{}D"),
    **_named(shape.reshape, "Flatten", "Reshape"),
    **_named(shape.permute, "Permute"),
    **_named(shape.repeat_vector, "RepeatVector"),
    **_named(sequence.recurrent, "GRU", "LSTM", "SimpleRNN"),
    **_named(sequence.bidirectional, "Bidirectional"),
    **_named(sequence.embedding, "Embedding"),
    **_named(sequence.multi_head_attention, "MultiHeadAttention"),
    **_named(sequence.attention, "Attention"),
    **_named(time_distributed, "TimeDistributed"),
}

_IMPORTED: Final[Mapping[str, Rule]] = {
    "WithConstant": own.with_constant,
    "JoinConstant": own.join_constant,
    "LocalResponseNormalization": own.local_response,
    "ResizeImage": shape.spatial,
}

_OPERATIONS: Final[Mapping[str, Rule]] = {
    **_named(
        merge.pointwise,
        *("Add", "Subtract", "Multiply", "Divide", "TrueDivide", "DivideNoNan", "Power", "Maximum", "Minimum"),
        *("Absolute", "Abs", "Negative", "Square", "Sqrt", "Rsqrt", "Reciprocal", "Exp", "Expm1", "Log", "Log1p"),
        *("Sin", "Cos", "Tanh", "Erf", "Sign", "Round", "Floor", "Ceil", "Clip", "Cast", "Copy", "StopGradient"),
        *("Relu", "Relu6", "Sigmoid", "Softplus", "Softsign", "Silu", "LogSigmoid", "LeakyRelu", "HardSigmoid"),
        *("HardSilu", "Elu", "Selu", "Gelu", "Celu", "HardTanh", "SquaredDifference"),
    ),
    **_named(merge.softmax, "Softmax", "LogSoftmax"),
    **_named(merge.concatenate, "Concatenate"),
    **_named(shape.reduction, "Mean", "Sum", "Max", "Min", "Amax", "Amin", "Var", "Std"),
    **_named(shape.reshape, "Reshape"),
    **_named(shape.transpose, "Transpose"),
    **_named(shape.squeeze, "Squeeze"),
    **_named(shape.expand_dims, "ExpandDims"),
    **_named(shape.get_item, "GetItem"),
    **_named(shape.pad, "Pad"),
    **_named(sequence.product, "Matmul"),
}
