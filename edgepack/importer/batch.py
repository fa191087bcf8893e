# SPDX-License-Identifier: Apache-2.0
"""Which axis of each input and output of an ONNX graph is the batch, by the names of its open dimensions."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import onnx

_SHORT: Final = frozenset({"n", "b", "bs"})
_INVENTED: Final = "_dynamic_axes_"
"""In the names that torch gives where nobody does: another one for each input, whose own name stands before it."""


def batch_names(inputs: "Sequence[onnx.ValueInfoProto]") -> frozenset[str]:
    """Return what the graph calls its batch: open dimensions that say so, else short names for it, else those in front.

    A short name stands for it where no batch of 1 is in front: of a cloud [1, N, 3], N is the number of points.
    """
    for names in (_telling, _short):
        found = {name for item in inputs for name in names(item)}
        if found:
            return frozenset(found)
    return frozenset(name for item in inputs for name in _names(item)[:1] if name)


def batch_axis(item: "onnx.ValueInfoProto", names: frozenset[str]) -> int | None:
    """Return which axis of ``item`` is the batch: one of ``names``, else the first where it is open; None: none is."""
    words = _names(item)
    found = next((axis for axis, word in enumerate(words) if word in names), None)
    return 0 if found is None and words and is_open(item, 0) else found


def is_open(item: "onnx.ValueInfoProto", axis: int) -> bool:
    """Whether the size of an axis is not known."""
    size: int = item.type.tensor_type.shape.dim[axis].dim_value
    return size <= 0


def _names(item: "onnx.ValueInfoProto") -> list[str]:
    return [dim.dim_param for dim in item.type.tensor_type.shape.dim]


def _telling(item: "onnx.ValueInfoProto") -> Iterator[str]:
    """Yield the first name with the word batch in it."""
    yield from [word for word in _names(item) if "batch" in word.lower() and _INVENTED not in word][:1]


def _short(item: "onnx.ValueInfoProto") -> Iterator[str]:
    """Yield the first short name."""
    dims = item.type.tensor_type.shape.dim
    if dims and dims[0].dim_value != 1:
        yield from [word for word in _names(item) if word.lower() in _SHORT][:1]
