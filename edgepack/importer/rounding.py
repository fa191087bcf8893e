# SPDX-License-Identifier: Apache-2.0
"""Hold the float graph inside a quantized ONNX graph against that graph: rounding alone may part them."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from edgepack.arrays import Array
from edgepack.errors import ModelError
from edgepack.importer.quantized import FloatGraph
from edgepack.importer.runnable import inputs_of
from edgepack.importer.simplify import of_batch_one

if TYPE_CHECKING:
    import onnx

_SAMPLES: Final = 8
_ALLOWED: Final = 0.1
"""Of an output's spread, root mean square: rounding to 8 bits stays below, another graph does not."""
_DEVIATIONS: Final = 8
"""Of the numbers drawn for an input, from end to end of what it can hold."""
_USUAL: Final = ((-4.0, 4.0), (0.0, 1.0), (0.0, 255.0), (-0.1, 0.1))
"""What an input may hold where the graph does not say so: numbers that it was not made for are cut somewhere inside."""


def check_rounding(
    found: FloatGraph, source: "onnx.ModelProto", *, shapes: Mapping[str, tuple[int, ...]], where: str
) -> None:
    """Check that ``found`` answers as the quantized ``source`` does, but for its rounding; both in onnxruntime.

    Outputs of whole numbers, such as the place of the largest, are not compared: rounding may tip them.

    Args:
        found: What ``float_graph`` made of ``source``.
        source: The file's own model.
        shapes: Of inputs by name, where more than the batch is open.
        where: The source, for messages.

    Raises:
        ModelError: onnxruntime cannot run one of them (EP-155); an output differs by more than rounding (EP-141).
    """
    from edgepack.importer._session import opened, ran
    from edgepack.importer.samples import draw

    fixed = of_batch_one(source, shapes)
    edges = inputs_of(source, fixed, where)
    names = [item.name for item in source.graph.output]
    ours, theirs = (opened(model, where=where) for model in (found.model, source))
    worst = (float("inf"), "")
    for usual in _USUAL:
        pairs = []
        for seed in range(_SAMPLES):
            drawn = draw(edges, fixed, batch=1, seed=seed)
            feeds = {name: _within(array, found.ranges.get(name, usual)) for name, array in drawn.items()}
            pairs.append([ran(session, names, feeds, where=where) for session in (ours, theirs)])
        offs = [_apart([(one[place], other[place]) for one, other in pairs]) for place in range(len(names))]
        worst = min(worst, max(zip(offs, names, strict=True)))
        if worst[0] <= _ALLOWED:
            return
    raise ModelError(
        "EP-141",
        f"{where} is quantized, and without rounding its output {worst[1]!r} differs by {worst[0]:.2g} of its spread "
        f"(rounding to 8 bits: {_ALLOWED:g} at most)",
        hint="build the float model that it was made from; and report it with the model",
    )


def _within(array: Array, limits: tuple[float, float]) -> Array:
    """Return ``array``, standard normal, over what an input can hold: rounding cuts the rest."""
    if array.dtype.kind != "f":
        return array
    low, high = limits
    spread = (low + high) / 2 + array * (high - low) / _DEVIATIONS
    return np.clip(spread, low, high).astype(array.dtype)


def _apart(pairs: Sequence[tuple[Array, Array]]) -> float:
    """Return the root mean square of the difference, of the spread; 0 where rounding may tip whole numbers."""
    if any(one.shape != other.shape for one, other in pairs):
        return float("inf")
    if pairs[0][1].dtype.kind != "f" and pairs[0][1].dtype.itemsize > 1:
        return 0.0
    ours, theirs = (np.concatenate([pair[side].ravel().astype(np.float64) for pair in pairs]) for side in (0, 1))
    if not theirs.size:
        return 0.0
    spread = max(float(np.ptp(theirs)), float(np.abs(theirs).max()))
    return float(np.sqrt(np.mean((ours - theirs) ** 2))) / (spread or 1.0)
