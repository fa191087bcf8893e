# SPDX-License-Identifier: Apache-2.0
"""Windows that slide over positions: how ONNX pads them, and how Keras does."""

from dataclasses import dataclass
from math import ceil

import keras
from keras import KerasTensor, ops

from edgepack.importer._build import Build
from edgepack.importer._graph import Node


@dataclass(frozen=True, slots=True)
class Window:
    """A kernel over positions.

    Attributes:
        sizes: Of what it slides over.
        kernel, strides, dilations: Per axis of positions.
        begin, end: What is padded.
    """

    sizes: tuple[int, ...]
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    begin: tuple[int, ...]
    end: tuple[int, ...]

    @property
    def padded(self) -> bool:
        """Whether anything is padded."""
        return any(self.begin) or any(self.end)

    @property
    def is_same(self) -> bool:
        """Whether the padding is that of Keras's "same"."""
        total = _same(self.sizes, self.kernel, self.strides, self.dilations)
        lead = tuple(amount // 2 for amount in total)
        return self.begin == lead and self.end == tuple(all_ - first for all_, first in zip(total, lead, strict=True))


def window(build: Build, node: Node, sizes: tuple[int, ...], kernel: tuple[int, ...]) -> Window:
    """Return the window of ``node`` over positions of ``sizes``."""
    rank, attributes = len(kernel), node.attributes
    if len(sizes) != rank:
        build.refuse(f"its kernel has {rank} axes of positions, and its input {len(sizes)}")
    strides = tuple(attributes.get("strides", (1,) * rank))
    dilations = tuple(attributes.get("dilations", (1,) * rank))
    pads, mode = tuple(attributes.get("pads", (0,) * 2 * rank)), attributes.get("auto_pad", "NOTSET")
    begin, end = pads[:rank], pads[rank:]
    if mode in {"SAME_UPPER", "SAME_LOWER"}:
        total = _same(sizes, kernel, strides, dilations)
        less = tuple(amount // 2 for amount in total)
        more = tuple(all_ - half for all_, half in zip(total, less, strict=True))
        begin, end = (less, more) if mode == "SAME_UPPER" else (more, less)
    elif mode == "VALID":
        begin = end = (0,) * rank
    if min(*begin, *end) < 0:
        build.refuse("its padding is negative")
    return Window(sizes, tuple(kernel), strides, dilations, begin, end)


def pad(build: Build, node: Node, tensor: KerasTensor, found: Window, *, number: float = 0.0) -> KerasTensor:
    """Return ``tensor``, channels last, padded as ``found`` says."""
    pairs = tuple(zip(found.begin, found.end, strict=True))
    if number:
        spans = ((0, 0), *pairs, (0, 0))
        return build.op(node, ops.pad, tensor, spans, constant_values=number, part="pad")
    kind = getattr(keras.layers, f"ZeroPadding{len(pairs)}D")
    return kind(pairs if len(pairs) > 1 else pairs[0], name=build.name(node, "pad"))(tensor)


def bare(numbers: tuple[int, ...]) -> tuple[int, ...] | int:
    """Return ``numbers``, or the only one of them: what layers of one axis take."""
    return numbers if len(numbers) > 1 else numbers[0]


def _same(
    sizes: tuple[int, ...], kernel: tuple[int, ...], strides: tuple[int, ...], dilations: tuple[int, ...]
) -> tuple[int, ...]:
    """Return how much is padded along each axis so that one position in ``strides`` is left."""
    axes = zip(sizes, kernel, strides, dilations, strict=True)
    return tuple(
        max((ceil(size / stride) - 1) * stride + (taps - 1) * dilation + 1 - size, 0)
        for size, taps, stride, dilation in axes
    )
