# SPDX-License-Identifier: Apache-2.0
"""Layers for what Keras has none of: arithmetic with constants that train, local response normalization, resizing."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import keras
import tensorflow as tf
from keras import ops

_register = keras.saving.register_keras_serializable(package="edgepack")
_ARITHMETIC: Final = {
    # keras.ops.add may write a bias in NCHW, for which TFLite has no operator.
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "pow": ops.power,
    "max": ops.maximum,
    "min": ops.minimum,
    "matmul": ops.matmul,
}
Shape = Sequence[int | None]


@_register
class WithConstant(keras.layers.Layer):  # type: ignore[misc]
    """``x + c`` and the like, with a constant that trains.

    Args:
        operation: A name of ``_ARITHMETIC``.
        shape: Of the constant, with 1 for the batch.
        constant_first: ``c - x`` instead of ``x - c``.
    """

    def __init__(
        self,
        *,
        operation: str,
        shape: Sequence[int],
        constant_first: bool = False,
        **options: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(**options)
        self.operation, self.constant_first = operation, constant_first
        self.constant_shape = tuple(shape)

    def build(self, shape: object) -> None:
        """Make the constant."""
        del shape
        self.constant = self.add_weight(name="constant", shape=self.constant_shape, initializer="zeros")

    def call(self, tensor: tf.Tensor) -> tf.Tensor:
        """Return the result."""
        constant = ops.convert_to_tensor(self.constant)
        pair = (constant, tensor) if self.constant_first else (tensor, constant)
        return _ARITHMETIC[self.operation](*pair)

    def compute_output_spec(self, tensor: keras.KerasTensor) -> keras.KerasTensor:
        """Return the result's shape."""
        constant = keras.KerasTensor(self.constant_shape, self.compute_dtype)
        pair = (constant, tensor) if self.constant_first else (tensor, constant)
        function = ops.matmul if self.operation == "matmul" else ops.multiply
        return keras.KerasTensor(function(*pair).shape, self.compute_dtype)

    def get_config(self) -> dict[str, object]:
        """Return what Keras makes the layer from again."""
        own = {"operation": self.operation, "shape": self.constant_shape, "constant_first": self.constant_first}
        return {**super().get_config(), **own}


@_register
class JoinConstant(keras.layers.Layer):  # type: ignore[misc]
    """A constant that trains, beside what comes in: a class token before the patches of an image, say.

    Args:
        shape: Of the constant, with 1 for the batch.
        axis: Along which they lie side by side.
        constant_first: The constant comes before.
    """

    def __init__(
        self,
        *,
        shape: Sequence[int],
        axis: int,
        constant_first: bool = False,
        **options: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(**options)
        self.axis, self.constant_first = axis, constant_first
        self.constant_shape = tuple(shape)

    def build(self, shape: object) -> None:
        """Make the constant."""
        del shape
        self.constant = self.add_weight(name="constant", shape=self.constant_shape, initializer="zeros")

    def call(self, tensor: tf.Tensor) -> tf.Tensor:
        """Return both side by side."""
        shape = (ops.shape(tensor)[0], *self.constant_shape[1:])
        constant = ops.broadcast_to(ops.convert_to_tensor(self.constant), shape)
        return ops.concatenate([constant, tensor] if self.constant_first else [tensor, constant], axis=self.axis)

    def compute_output_shape(self, shape: Shape) -> tuple[int | None, ...]:
        """Return the shape of both side by side."""
        found = list(shape)
        found[self.axis] = (found[self.axis] or 0) + self.constant_shape[self.axis]
        return tuple(found)

    def get_config(self) -> dict[str, object]:
        """Return what Keras makes the layer from again."""
        own = {"shape": self.constant_shape, "axis": self.axis, "constant_first": self.constant_first}
        return {**super().get_config(), **own}


@_register
class LocalResponseNormalization(keras.layers.Layer):  # type: ignore[misc]
    """Each channel of an image divided by what its neighbours hold: ``x / (bias + alpha * sum(x**2)) ** beta``.

    Args:
        radius: How many channels to either side count.
        bias, alpha, beta: As above.
    """

    def __init__(
        self,
        *,
        radius: int,
        bias: float,
        alpha: float,
        beta: float,
        **options: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(**options)
        self.options = {"radius": radius, "bias": bias, "alpha": alpha, "beta": beta}

    def call(self, tensor: tf.Tensor) -> tf.Tensor:
        """Return the normalized image."""
        options = dict(self.options)
        return tf.nn.local_response_normalization(tensor, depth_radius=options.pop("radius"), **options)

    def compute_output_shape(self, shape: Shape) -> Shape:
        """Return ``shape``."""
        return shape

    def get_config(self) -> dict[str, object]:
        """Return what Keras makes the layer from again."""
        return {**super().get_config(), **self.options}


@_register
class ResizeImage(keras.layers.Layer):  # type: ignore[misc]
    """An image (batch, height, width, channels) of another size, bilinear.

    Args:
        size: Height and width.
        grid: What stays where it is: the centres of the ``corners``, the middle of each half pixel (``centers``), or
            the top left (``origin``).
    """

    def __init__(
        self,
        *,
        size: Sequence[int],
        grid: Literal["corners", "centers", "origin"],
        **options: Any,  # noqa: ANN401 - what every Keras layer takes
    ) -> None:
        super().__init__(**options)
        self.size, self.grid = tuple(size), grid

    def call(self, tensor: tf.Tensor) -> tf.Tensor:
        """Return the resized image."""
        return tf.raw_ops.ResizeBilinear(
            images=tensor,
            size=self.size,
            align_corners=self.grid == "corners",
            half_pixel_centers=self.grid == "centers",
        )

    def compute_output_shape(self, shape: Shape) -> tuple[int | None, ...]:
        """Return the new shape."""
        return (shape[0], *self.size, shape[-1])

    def get_config(self) -> dict[str, object]:
        """Return what Keras makes the layer from again."""
        return {**super().get_config(), "size": self.size, "grid": self.grid}


LAYERS: Final[Mapping[str, type[keras.layers.Layer]]] = {
    kind.__name__: kind for kind in (WithConstant, JoinConstant, LocalResponseNormalization, ResizeImage)
}
"""By name."""
