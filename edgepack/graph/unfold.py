# SPDX-License-Identifier: Apache-2.0
"""Give back the BatchNormalization that an exporter folded away: training needs it, answers do not change by it."""

from typing import TYPE_CHECKING, Final

import numpy as np

from edgepack.data.prepare import Prepared
from edgepack.graph.probe import batches
from edgepack.graph.wiring import Wiring
from edgepack.model.flat import again, as_list, copy_weights, rebuild

if TYPE_CHECKING:
    import keras
    from keras import KerasTensor, Operation

    from edgepack.arrays import Floats

_SAMPLES: Final = 512
_FOLDED_INTO: Final = frozenset(
    {"Conv1D", "Conv2D", "Conv3D", "DepthwiseConv1D", "DepthwiseConv2D", "Conv1DTranspose", "Conv2DTranspose"}
)


def unfold(net: "keras.Model", samples: Prepared) -> "keras.Model":
    """Return ``net`` with an identity BatchNormalization behind each convolution that may hold a folded one.

    Those are linear convolutions with a bias, called once, of more than one place (the ones inside squeeze and
    excitation never had one), which no normalization follows and which are no output. Mean and variance are measured;
    scale and offset undo them, so that the answers stay as they were (the inverse of Jacob et al. 2018,
    https://arxiv.org/abs/1712.05877, section 3.2).

    Args:
        net: A flat graph; not changed.
        samples: What the statistics are measured on.
    """
    import keras

    wiring = Wiring.of(net)
    places = {id(layer): wiring.nodes_of(layer)[0].outputs[0] for layer in net.layers if _is_bare(layer, wiring)}
    if not places:
        return net
    seen = dict(zip(places, _moments(net, list(places.values()), samples), strict=True))
    names = {layer.name for layer in net.layers}
    pairs: list[tuple[Operation, Operation]] = []
    norms = {}

    def make(operation: "Operation") -> object:
        layer = again(operation)
        pairs.append((operation, layer))
        if id(operation) not in places:
            return layer
        name = f"{operation.name}_bn"
        norm = keras.layers.BatchNormalization(name=name if name not in names else f"{name}_", dtype=operation.dtype)
        norms[id(operation)] = norm
        return lambda tensor, **more: norm(layer(tensor, **more))

    new = rebuild(net, make)  # type: ignore[arg-type]
    copy_weights(pairs)
    for key, norm in norms.items():
        mean, variance = seen[key]
        norm.set_weights([np.sqrt(variance + norm.epsilon), mean, mean, variance])
    return new


def _is_bare(layer: "keras.Layer", wiring: Wiring) -> bool:
    """Whether a normalization may have been folded into ``layer``, and none is there now."""
    nodes = wiring.nodes_of(layer)
    if type(layer).__name__ not in _FOLDED_INTO or len(nodes) != 1 or not layer.use_bias:
        return False
    if getattr(layer.activation, "__name__", "") != "linear":
        return False
    output = nodes[0].outputs[0]
    consumers = wiring.consumers(output)
    normalized = any(type(node.operation).__name__ == "BatchNormalization" for node in consumers)
    one_place = all(size == 1 for size in output.shape[1:-1])
    return bool(consumers) and id(output) not in wiring.outputs and not normalized and not one_place


def _moments(net: "keras.Model", tensors: "list[KerasTensor]", samples: Prepared) -> "list[tuple[Floats, Floats]]":
    """Return mean and variance of each channel of ``tensors``."""
    import keras
    import tensorflow as tf

    reader = keras.Model(net.inputs, tensors)
    read = tf.function(lambda values: reader(values, training=False), reduce_retracing=True)
    counts = [0] * len(tensors)
    sums = [np.zeros(tensor.shape[-1]) for tensor in tensors]
    squares = [np.zeros(tensor.shape[-1]) for tensor in tensors]
    for batch in batches(samples, _SAMPLES):
        found = as_list(read([tf.constant(value) for value in batch]))
        for place, value in enumerate(found):
            flat = np.asarray(value, np.float64).reshape(-1, value.shape[-1])
            counts[place] += len(flat)
            sums[place] += flat.sum(axis=0)
            squares[place] += (flat**2).sum(axis=0)
    means = [total / count for total, count in zip(sums, counts, strict=True)]
    pairs = zip(means, squares, counts, strict=True)
    return [(mean, np.maximum(square / count - mean**2, 0.0)) for mean, square, count in pairs]
