# SPDX-License-Identifier: Apache-2.0
"""Keras layers that round activations to the integer grid that TFLite's converter then writes.

They belong to the trainable form, for a file that holds them is read with them. Keras is imported late, so what is here
are the methods alone: ``fake_quant_layers`` puts a Keras layer under them, and registers what comes of it.
"""

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Literal

from edgepack.model._fake_quant_kernels import LEAST_RANGE, DenseOnGrid, OnGrid, SeriesOnGrid, on_eight_bits

if TYPE_CHECKING:
    import keras
    import tensorflow as tf
    from keras.layers import Layer as _Layer
else:
    _Layer = object

_BEYOND: Final = 1e30  # no activation reaches it
RangeSource = Literal["observed", "learned", "set", "runtime"]
_FORMS: Final = {
    "Conv1D": SeriesOnGrid,
    "Conv2D": OnGrid,
    "DepthwiseConv1D": SeriesOnGrid,
    "DepthwiseConv2D": OnGrid,
    "Conv1DTranspose": OnGrid,
    "Conv2DTranspose": OnGrid,
    "Dense": DenseOnGrid,
}
WEIGHTED: Final = tuple(_FORMS)
"""Keras layers that have a form whose kernel lies on the grid."""


@cache
def fake_quant_layers() -> "Mapping[str, type[keras.layers.Layer]]":
    """Return by name: ``FakeQuant``, ``FloatOnly``, ``RoundedAgain``, and what stands for each of ``WEIGHTED``."""
    import keras

    register = keras.saving.register_keras_serializable(package="edgepack")
    found = {}
    for methods in (FakeQuant, FloatOnly, RoundedAgain):
        found[methods.__name__] = register(type(methods.__name__, (methods, keras.layers.Layer), {}))
    for name, methods in _FORMS.items():
        # A class is found again by its name.
        found[name] = register(type(f"{name}OnGrid", (methods, getattr(keras.layers, name)), {}))
    return found


class FakeQuant(_Layer):  # type: ignore[misc]
    """Rounds a tensor to ``2**bits`` steps between ``low`` and ``high``, 0 among them.

    One layer may be called on several tensors: they then share a range, as concatenated tensors must.

    Args:
        bits: Of the integers.
        low, high: The range at first, in the tensor's own values.
        source: Where the range comes from. ``observed``: it follows what training sees, at ``rate``; ``learned``:
            it is trained by gradient (Choi et al. 2018, https://arxiv.org/abs/1805.06085); ``set``: it stays;
            ``runtime``: every runtime gives it to the operator before (softmax), and training passes it by.
    """

    def __init__(
        self,
        *,
        low: float,
        high: float,
        bits: int = 8,
        source: RangeSource = "observed",
        **options: Any,  # noqa: ANN401 - what every Keras layer takes
    ) -> None:
        super().__init__(**options)
        self.options = {"low": low, "high": high, "bits": bits, "source": source}
        self.bits, self.source = bits, source

    def build(self, shape: object) -> None:
        """Make the range and what it follows."""
        import keras

        del shape
        for name in ("low", "high"):
            start = keras.initializers.Constant(self.options[name])
            weight = self.add_weight(name=name, shape=(), initializer=start, trainable=self.source == "learned")
            setattr(self, name, weight)
        # The share of a batch's range in the moving range; 0 while nothing is observed.
        self.rate = self.add_weight(name="rate", shape=(), initializer="zeros", trainable=False)

    def call(self, tensor: "tf.Tensor", *, training: bool = False) -> "tf.Tensor":
        """Return ``tensor`` rounded; in training an observed range follows it."""
        import tensorflow as tf

        if training and self.source == "runtime":
            return tensor
        exact = tf.cast(tensor, tf.float32)
        if training and self.source == "observed":
            self._observe(exact)
        low, high = tf.minimum(self.low.value, 0.0), tf.maximum(self.high.value, LEAST_RANGE)
        rounded = tf.quantization.fake_quant_with_min_max_vars(exact, low, high, num_bits=self.bits)
        return tf.cast(rounded, tensor.dtype)

    def _observe(self, tensor: "tf.Tensor") -> None:
        import tensorflow as tf

        for weight, seen in ((self.low, tf.reduce_min(tensor)), (self.high, tf.reduce_max(tensor))):
            weight.assign(weight.value + self.rate.value * (seen - weight.value))

    def compute_output_shape(self, shape: object) -> object:
        """Return ``shape``."""
        return shape

    def get_config(self) -> dict[str, object]:
        """Return what Keras makes the layer from again."""
        return {**super().get_config(), **self.options}


class FloatOnly(_Layer):  # type: ignore[misc]
    """Gives back what it takes, in a way that keeps the converter from quantizing what comes next.

    Without it the converter quantizes weights and means behind a fake-quantized tensor unasked, or writes int8
    inputs beside float weights. What is added is 0, but only at run time does anybody know.
    """

    def call(self, tensor: "tf.Tensor") -> "tf.Tensor":
        """Return what the operator makes of ``tensor``."""
        import tensorflow as tf

        first = tensor[(slice(None), *(slice(0, 1),) * (len(tensor.shape) - 1))]
        return tensor + tf.nn.relu(first - _BEYOND)

    def compute_output_shape(self, shape: object) -> object:
        """Return ``shape``."""
        return shape


class RoundedAgain(_Layer):  # type: ignore[misc]
    """Stands between two ranges of one tensor: the converter refuses to round what is rounded.

    A multiplication may have another range than what it takes; the factor is 1 to the last bit but one.
    """

    def call(self, tensor: "tf.Tensor") -> "tf.Tensor":
        """Return what the operator makes of ``tensor``."""
        import tensorflow as tf

        return tensor * tf.cast(on_eight_bits(tf.fill((tensor.shape[-1],), 1 - 2.0**-24)), tensor.dtype)

    def compute_output_shape(self, shape: object) -> object:
        """Return ``shape``."""
        return shape
