# SPDX-License-Identifier: Apache-2.0
"""Convolutions and dense layers whose kernels are rounded to the grid that TFLite's converter then writes.

Methods alone, as in ``fake_quant``: each goes over the Keras layer whose kernel it rounds.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import keras
    import tensorflow as tf
    from keras.layers import Layer as _Layer

    from edgepack.arrays import Array
else:
    _Layer = object

LEAST_RANGE: Final = 1e-6
_JUST: Final = 2.0**-22


class OnGrid(_Layer):  # type: ignore[misc]
    """The kernel's base layer, its kernel on the grid.

    What is trained is the kernel in units of its limits: one rate then suits channels of any scale, as those that
    a BatchNormalization was folded into have.

    Args:
        weight_bits: Of the integers; 2 ** (weight_bits - 1) - 1 steps on either side of 0.
        per_channel: One limit for each output channel, else one for the kernel.
        learned: The limits are trained, as a factor ``exp(stretch)``.

    A call's ``turn`` is its number among the calls of a shared layer.
    """

    def __init__(
        self,
        *args: Any,  # noqa: ANN401 - the base layer's own
        weight_bits: int = 8,
        per_channel: bool = True,
        learned: bool = False,
        **options: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(*args, **options)
        self.weight_bits, self.per_channel, self.learned = weight_bits, per_channel, learned
        self._turn = 0

    def build(self, input_shape: object) -> None:
        super().build(input_shape)
        shape: tuple[int, ...] = ()
        if self.per_channel:
            shape = (math.prod(self._kernel.shape[-2:]) if self._is_depthwise else self._kernel.shape[-1],)
        self.limits = self.add_weight(name="limits", shape=shape, initializer="ones", trainable=False)
        self.stretch = None
        if self.learned:
            self.stretch = self.add_weight(name="stretch", shape=shape, initializer="zeros", trainable=True)
        self.built = True

    @property
    def float_kernel(self) -> "tf.Tensor":
        """The kernel before it is rounded."""
        return self._kernel.value * self._shaped(self.limits.value)

    def set_kernel(self, kernel: "Array", limits: "Array") -> None:
        """Take over a float kernel and the limits of its grid."""
        self.limits.assign(limits.reshape(self.limits.shape))
        self._kernel.assign(kernel / self._shaped(self.limits.value).numpy())

    def weight_scales(self) -> "Array":
        """Return the real value of an integer's step, one for each channel or one for all."""
        stretch = 1.0 if self.stretch is None else math.e ** self.stretch.numpy().astype("float64")
        scales: Array = self.limits.numpy().astype("float64") * stretch / (2 ** (self.weight_bits - 1) - 1)
        return scales

    def _shaped(self, limits: "tf.Tensor") -> "tf.Tensor":
        """Return ``limits`` so that they multiply the kernel channel by channel."""
        import tensorflow as tf

        by_channel = self._is_depthwise and self.per_channel
        return tf.reshape(limits, self._kernel.shape[-2:]) if by_channel else limits

    @property
    def _is_depthwise(self) -> bool:
        return hasattr(self, "depth_multiplier")

    @property
    def kernel(self) -> "tf.Tensor":
        return self.rounded(0)

    @kernel.setter
    def kernel(self, value: "keras.Variable") -> None:
        self._kernel = value

    def rounded(self, more: int) -> "tf.Tensor":
        """Return the kernel on the grid, with ``more`` leading dimensions of 1."""
        import tensorflow as tf

        kernel = tf.cast(self.float_kernel, tf.float32)
        kernel = tf.reshape(kernel, (*(1,) * more, *kernel.shape))
        limits = self.limits.value if self.stretch is None else self.limits.value * tf.exp(self.stretch.value)
        # The converter leaves float what several operators share, so each call has limits of its own, just.
        limits = limits * (1 + self._turn * _JUST)
        shape = kernel.shape
        if self.per_channel and self._is_depthwise:
            kernel = tf.reshape(kernel, (*shape[:-2], math.prod(shape[-2:])))
        form = "fake_quant_with_min_max_vars" + ("_per_channel" if self.per_channel else "")
        found = getattr(tf.quantization, form)(kernel, -limits, limits, num_bits=self.weight_bits, narrow_range=True)
        return tf.cast(tf.reshape(found, shape), self.compute_dtype)

    def call(self, inputs: "tf.Tensor", *, turn: int = 0) -> "tf.Tensor":
        self._turn = turn
        return super().call(inputs)

    def save_own_variables(self, store: dict[str, object]) -> None:
        import keras

        keras.layers.Layer.save_own_variables(self, store)

    def load_own_variables(self, store: Mapping[str, object]) -> None:
        import keras

        keras.layers.Layer.load_own_variables(self, store)

    def get_config(self) -> dict[str, object]:
        options = {"weight_bits": self.weight_bits, "per_channel": self.per_channel, "learned": self.learned}
        return {**super().get_config(), **options}


class DenseOnGrid(OnGrid):
    """A dense layer, its kernel on the grid: a 1x1 convolution where its limits are per channel.

    The converter transposes a dense kernel and then trips over its channel axis ("'tfl.transpose' op has mismatched
    quantized axes"); a convolution's it does not, and TFLM takes 4-bit convolutions but no 4-bit dense layers.
    """

    def call(self, inputs: "tf.Tensor", *, turn: int = 0) -> "tf.Tensor":
        import tensorflow as tf

        if not self.per_channel:
            return super().call(inputs, turn=turn)
        self._turn = turn
        rows = math.prod(inputs.shape[1:-1])
        image = tf.reshape(inputs, (-1, rows, 1, inputs.shape[-1]))
        found = tf.nn.conv2d(image, self.rounded(2), strides=1, padding="VALID")
        found = found if self.bias is None else tf.nn.bias_add(found, self.bias)
        found = found if self.activation is None else self.activation(found)
        return tf.reshape(found, (-1, *inputs.shape[1:-1], self.units))


class SeriesOnGrid(OnGrid):
    """A 1-D convolution, its kernel on the grid, that works on images of one row.

    TensorFlow does so too, but reshapes the kernel after it was rounded, which the converter refuses.
    """

    def call(self, inputs: "tf.Tensor", *, turn: int = 0) -> "tf.Tensor":
        import keras
        import tensorflow as tf

        self._turn = turn
        padding, image = self.padding, tf.reshape(inputs, (-1, 1, *inputs.shape[1:]))
        if padding == "causal":
            past = self.dilation_rate[0] * (self.kernel_size[0] - 1)
            padding, image = "valid", keras.ops.pad(image, ((0, 0), (0, 0), (past, 0), (0, 0)))
        multiply = keras.ops.depthwise_conv if self._is_depthwise else keras.ops.conv
        found = multiply(
            image,
            self.rounded(1),
            strides=(1, *self.strides) if multiply is keras.ops.conv else self.strides * 2,
            padding=padding,
            dilation_rate=(1, *self.dilation_rate),
        )
        found = found if self.bias is None else found + self.bias
        found = found if self.activation is None else self.activation(found)
        return tf.reshape(found, (-1, *found.shape[2:]))


def on_eight_bits(values: "tf.Tensor") -> "tf.Tensor":
    """Return constants rounded to 8 bits, the largest of them kept."""
    import tensorflow as tf

    most = tf.maximum(tf.reduce_max(tf.abs(values)), LEAST_RANGE)
    return tf.quantization.fake_quant_with_min_max_vars(values, -most, most, narrow_range=True)
