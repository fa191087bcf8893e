# SPDX-License-Identifier: Apache-2.0
"""Keras layers that round weights and activations to the integer grid that TFLite's converter then writes.

They belong to the trainable form, for a file that holds them is read with them. The classes exist once Keras does:
``fake_quant_layers`` defines and registers them.
"""

import math
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from edgepack.arrays import Array

_LEAST_RANGE: Final = 1e-6
_JUST: Final = 2.0**-22
_BEYOND: Final = 1e30  # no activation reaches it
RangeSource = Literal["observed", "learned", "set", "runtime"]
WEIGHTED: Final = (
    "Conv1D",
    "Conv2D",
    "DepthwiseConv1D",
    "DepthwiseConv2D",
    "Conv1DTranspose",
    "Conv2DTranspose",
    "Dense",
)
"""Keras layers that have a form whose kernel lies on the grid."""


@cache
def fake_quant_layers() -> "Mapping[str, type[keras.layers.Layer]]":
    """Return by name: ``FakeQuant``, ``FloatOnly``, ``RoundedAgain``, and what stands for each of ``WEIGHTED``."""
    import keras

    register = keras.saving.register_keras_serializable(package="edgepack")
    found = {layer.__name__: register(layer) for layer in (_activation_layer(), *_separating_layers())}
    for name in WEIGHTED:
        found[name] = register(_on_grid(getattr(keras.layers, name)))
    return found


def _activation_layer() -> "type[keras.layers.Layer]":
    import keras
    import tensorflow as tf

    class FakeQuant(keras.layers.Layer):  # type: ignore[misc]
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
            del shape
            for name in ("low", "high"):
                start = keras.initializers.Constant(self.options[name])
                weight = self.add_weight(name=name, shape=(), initializer=start, trainable=self.source == "learned")
                setattr(self, name, weight)
            # The share of a batch's range in the moving range; 0 while nothing is observed.
            self.rate = self.add_weight(name="rate", shape=(), initializer="zeros", trainable=False)

        def call(self, tensor: "tf.Tensor", *, training: bool = False) -> "tf.Tensor":
            if training and self.source == "runtime":
                return tensor
            exact = tf.cast(tensor, tf.float32)
            if training and self.source == "observed":
                self._observe(exact)
            low, high = tf.minimum(self.low.value, 0.0), tf.maximum(self.high.value, _LEAST_RANGE)
            rounded = tf.quantization.fake_quant_with_min_max_vars(exact, low, high, num_bits=self.bits)
            return tf.cast(rounded, tensor.dtype)

        def _observe(self, tensor: "tf.Tensor") -> None:
            for weight, seen in ((self.low, tf.reduce_min(tensor)), (self.high, tf.reduce_max(tensor))):
                weight.assign(weight.value + self.rate.value * (seen - weight.value))

        def compute_output_shape(self, shape: object) -> object:
            return shape

        def get_config(self) -> dict[str, object]:
            return {**super().get_config(), **self.options}

    return FakeQuant


def _separating_layers() -> "tuple[type[keras.layers.Layer], ...]":
    import keras
    import tensorflow as tf

    class FloatOnly(keras.layers.Layer):  # type: ignore[misc]
        """Gives back what it takes, in a way that keeps the converter from quantizing what comes next.

        Without it the converter quantizes weights and means behind a fake-quantized tensor unasked, or writes int8
        inputs beside float weights. What is added is 0, but only at run time does anybody know.
        """

        def call(self, tensor: "tf.Tensor") -> "tf.Tensor":
            first = tensor[(slice(None), *(slice(0, 1),) * (len(tensor.shape) - 1))]
            return tensor + tf.nn.relu(first - _BEYOND)

        def compute_output_shape(self, shape: object) -> object:
            return shape

    class RoundedAgain(keras.layers.Layer):  # type: ignore[misc]
        """Stands between two ranges of one tensor: the converter refuses to round what is rounded.

        A multiplication may have another range than what it takes; the factor is 1 to the last bit but one.
        """

        def call(self, tensor: "tf.Tensor") -> "tf.Tensor":
            return tensor * tf.cast(_on_eight_bits(tf.fill((tensor.shape[-1],), 1 - 2.0**-24)), tensor.dtype)

        def compute_output_shape(self, shape: object) -> object:
            return shape

    return FloatOnly, RoundedAgain


def _on_eight_bits(values: "tf.Tensor") -> "tf.Tensor":
    import tensorflow as tf

    most = tf.maximum(tf.reduce_max(tf.abs(values)), _LEAST_RANGE)
    return tf.quantization.fake_quant_with_min_max_vars(values, -most, most, narrow_range=True)


def _on_grid(base: "type[keras.layers.Layer]") -> "type[keras.layers.Layer]":
    """Return ``base`` with its kernel rounded to the symmetric, narrow grid below a limit per output channel."""
    import keras
    import tensorflow as tf

    transposed, depthwise = "Transpose" in base.__name__, "Depthwise" in base.__name__

    class OnGrid(base):  # type: ignore[misc]
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
            channels = _channels(tuple(self._kernel.shape), depthwise=depthwise, transposed=transposed)
            shape = (channels,) if self.per_channel else ()
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

        def _shaped(self, limits: "tf.Tensor") -> "tf.Tensor":
            """Return ``limits`` so that they multiply the kernel channel by channel."""
            if not self.per_channel:
                return limits
            shape = self._kernel.shape
            if depthwise:
                return tf.reshape(limits, shape[-2:])
            return limits[:, tf.newaxis] if transposed else limits

        @property
        def kernel(self) -> "tf.Tensor":
            return self.rounded(0)

        @kernel.setter
        def kernel(self, value: "keras.Variable") -> None:
            self._kernel = value

        def rounded(self, more: int) -> "tf.Tensor":
            """Return the kernel on the grid, with ``more`` leading dimensions of 1."""
            kernel = tf.cast(self.float_kernel, tf.float32)
            kernel = tf.reshape(kernel, (*(1,) * more, *kernel.shape))
            limits = self.limits.value if self.stretch is None else self.limits.value * tf.exp(self.stretch.value)
            # The converter leaves float what several operators share, so each call has limits of its own, just.
            limits = limits * (1 + self._turn * _JUST)
            found = _rounded(kernel, limits, self.weight_bits, depthwise=depthwise, transposed=transposed)
            return tf.cast(found, self.compute_dtype)

        def call(self, inputs: "tf.Tensor", *, turn: int = 0) -> "tf.Tensor":
            self._turn = turn
            return super().call(inputs)

        def save_own_variables(self, store: dict[str, object]) -> None:
            keras.layers.Layer.save_own_variables(self, store)

        def load_own_variables(self, store: Mapping[str, object]) -> None:
            keras.layers.Layer.load_own_variables(self, store)

        def get_config(self) -> dict[str, object]:
            options = {"weight_bits": self.weight_bits, "per_channel": self.per_channel, "learned": self.learned}
            return {**super().get_config(), **options}

    found: type[keras.layers.Layer] = OnGrid
    if base.__name__ == "Dense":
        found = _dense_as_image(OnGrid)
    elif base.__name__ in {"Conv1D", "DepthwiseConv1D"}:
        found = _series_as_image(OnGrid)
    found.__name__ = found.__qualname__ = f"{base.__name__}OnGrid"  # it is registered, and found again, by its name
    return found


def _dense_as_image(base: "type[keras.layers.Layer]") -> "type[keras.layers.Layer]":
    """Return a dense layer that multiplies as a 1x1 convolution where its limits are per channel.

    The converter transposes a dense kernel and then trips over its channel axis ("'tfl.transpose' op has mismatched
    quantized axes"); a convolution's it does not, and TFLM takes 4-bit convolutions but no 4-bit dense layers.
    """
    import tensorflow as tf

    class DenseOnGrid(base):  # type: ignore[misc]
        """A dense layer, its kernel on the grid."""

        def call(self, inputs: "tf.Tensor", *, turn: int = 0) -> "tf.Tensor":
            if not self.per_channel:
                return super().call(inputs, turn=turn)
            self._turn = turn
            rows = math.prod(inputs.shape[1:-1])
            image = tf.reshape(inputs, (-1, rows, 1, inputs.shape[-1]))
            found = tf.nn.conv2d(image, self.rounded(2), strides=1, padding="VALID")
            found = found if self.bias is None else tf.nn.bias_add(found, self.bias)
            found = found if self.activation is None else self.activation(found)
            return tf.reshape(found, (-1, *inputs.shape[1:-1], self.units))

    return DenseOnGrid


def _series_as_image(base: "type[keras.layers.Layer]") -> "type[keras.layers.Layer]":
    """Return a 1-D convolution that works on images of one row.

    TensorFlow does so too, but reshapes the kernel after it was rounded, which the converter refuses.
    """
    import keras
    import tensorflow as tf

    class SeriesOnGrid(base):  # type: ignore[misc]
        """A 1-D convolution, its kernel on the grid."""

        def call(self, inputs: "tf.Tensor", *, turn: int = 0) -> "tf.Tensor":
            self._turn = turn
            padding, image = self.padding, tf.reshape(inputs, (-1, 1, *inputs.shape[1:]))
            if padding == "causal":
                past = self.dilation_rate[0] * (self.kernel_size[0] - 1)
                padding, image = "valid", keras.ops.pad(image, ((0, 0), (0, 0), (past, 0), (0, 0)))
            multiply = keras.ops.depthwise_conv if hasattr(self, "depth_multiplier") else keras.ops.conv
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

    return SeriesOnGrid


def _channels(shape: tuple[int, ...], *, depthwise: bool, transposed: bool) -> int:
    if depthwise:
        return shape[-2] * shape[-1]
    return shape[-2] if transposed else shape[-1]


def _rounded(kernel: "tf.Tensor", limits: "tf.Tensor", bits: int, *, depthwise: bool, transposed: bool) -> "tf.Tensor":
    import tensorflow as tf

    if not limits.shape.rank:
        return tf.quantization.fake_quant_with_min_max_vars(kernel, -limits, limits, num_bits=bits, narrow_range=True)
    shape = kernel.shape
    last = kernel
    if depthwise:
        last = tf.reshape(kernel, (*shape[:-2], shape[-2] * shape[-1]))
    elif transposed:
        last = tf.linalg.matrix_transpose(kernel)
    found = tf.quantization.fake_quant_with_min_max_vars_per_channel(
        last, -limits, limits, num_bits=bits, narrow_range=True
    )
    if transposed:
        return tf.linalg.matrix_transpose(found)
    return tf.reshape(found, shape)
