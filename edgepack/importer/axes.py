# SPDX-License-Identifier: Apache-2.0
"""How the axes of images lie: channels first in ONNX, channels last in Keras and in most people's files.

An order says which axis of the ONNX value each axis of the other tensor is, as ``numpy.transpose`` takes it.
"""

from typing import Final


def channels_last(rank: int) -> tuple[int, ...]:
    """Return the axes (batch, positions, channels) of an ONNX value (batch, channels, positions)."""
    return (0, *range(2, rank), 1)


IMAGE_LAST: Final = channels_last(4)
"""Of an ONNX image, (batch, channels, height, width): the order (batch, height, width, channels)."""
IMAGE_FIRST: Final = tuple(IMAGE_LAST.index(axis) for axis in range(len(IMAGE_LAST)))
"""The way back."""
