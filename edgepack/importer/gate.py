# SPDX-License-Identifier: Apache-2.0
"""Hold an imported net against onnxruntime on random inputs, and name the first operator that differs.

Imports Keras and onnxruntime: worker process only.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from edgepack.arrays import Array
from edgepack.errors import ModelError
from edgepack.importer.imported import Imported
from edgepack.importer.read import called

if TYPE_CHECKING:
    import keras
    import onnx

    from edgepack.importer.samples import Feeds

TOLERANCE: Final = 1e-4
"""Largest difference of an output, of its range over the samples."""
HALF_TOLERANCE: Final = 1e-2
"""The same where onnxruntime computes in floats of 16 bits, and the import in those of 32."""
_ROUNDING: Final = 1e-5
"""Of the largest value: what float32 loses where all values of an output are nearly alike."""
_BATCHES: Final = (1, 4)


def check_runs(model: "onnx.ModelProto", *, where: str) -> None:
    """Check that onnxruntime takes ``model``, whose own inference of shapes is strict, before anything is made of it.

    Raises:
        ModelError: It does not (EP-155).
    """
    from edgepack.importer._session import opened

    opened(model, where=where)


def check_parity(imported: Imported, original: "onnx.ModelProto", *, where: str) -> None:
    """Check that ``imported`` answers as ``original`` does in onnxruntime, at batch 1 and, where it is open, 4.

    Args:
        imported: What ``import_onnx`` made.
        original: What was imported, as it was before it was prepared: nothing in it rounds.
        where: Names the file in an error.

    Raises:
        ModelError: onnxruntime refuses the file (EP-155); an output differs by more than 1e-4 of its range, 1e-2 where
            the source computes in 16 bits (EP-141), with the first operator whose result does.
    """
    from edgepack.importer._session import answers
    from edgepack.importer.samples import draw

    names = [edge.name for edge in imported.outputs]
    is_open = any(None in edge.shape for edge in imported.inputs)
    drawn = [draw(imported.inputs, imported.prepared, batch=batch, seed=batch) for batch in _BATCHES[: 1 + is_open]]
    wanted = [answers(original, feeds, names, where=where) for feeds in drawn]
    found = [_predicted(imported, feeds) for feeds in drawn]
    allowed = _tolerance(original)
    for place, edge in enumerate(imported.outputs):
        pairs = [(one[place], other[place]) for one, other in zip(found, wanted, strict=True)]
        if (off := apart(pairs, allowed=allowed)) > 0:
            raise _differs(imported, edge.name, off, where=where, allowed=allowed)


def _predicted(imported: Imported, feeds: "Feeds") -> list[Array]:
    """Return the net's outputs for ``feeds``, in the ONNX graph's order of axes."""
    given = _called(imported.net, _as_net(imported, feeds))
    return [np.transpose(one, np.argsort(edge.axes)) for one, edge in zip(given, imported.outputs, strict=True)]


def _called(net: "keras.Model", tensors: Sequence[Array]) -> list[Array]:
    """Return the outputs of ``net``, which gives one bare."""
    given = net(list(tensors), training=False)
    return [np.asarray(one) for one in (given if isinstance(given, (list, tuple)) else [given])]


def _as_net(imported: Imported, feeds: "Feeds") -> list[Array]:
    return [np.transpose(feeds[edge.name], edge.axes) for edge in imported.inputs]


def _tolerance(model: "onnx.ModelProto") -> float:
    import onnx

    halves = {onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}
    kinds = [item.data_type for item in model.graph.initializer]
    kinds += [item.type.tensor_type.elem_type for item in (*model.graph.input, *model.graph.output)]
    return HALF_TOLERANCE if halves.intersection(kinds) else TOLERANCE


def apart(pairs: Sequence[tuple[Array, Array]], *, allowed: float = TOLERANCE) -> float:
    """Return the largest difference of two accounts of one value, of its range; 0 where they agree."""
    if any(one.shape != other.shape for one, other in pairs):
        return float("inf")
    known = finite(*(np.concatenate([np.ravel(pair[side]) for pair in pairs]) for side in (0, 1)))
    if known is None:
        return float("inf")
    ours, theirs = known
    if not theirs.size:
        return 0.0
    span = float(theirs.max() - theirs.min())
    difference = float(np.abs(ours - theirs).max())
    most = max(allowed * span, _ROUNDING * float(np.abs(theirs).max()))
    return difference / (span or float(np.abs(theirs).max()) or 1.0) if difference > most else 0.0


def finite(ours: Array, theirs: Array) -> tuple[Array, Array] | None:
    """Return two accounts of one value where both are finite, flat, as float64.

    None where they are not so in the same places: NaN agrees with NaN, and an infinity with itself.
    """
    flat = [np.ravel(side).astype(np.float64) for side in (ours, theirs)]
    both = np.isfinite(flat[0]) & np.isfinite(flat[1])
    if not np.array_equal(flat[0][~both], flat[1][~both], equal_nan=True):
        return None
    return flat[0][both], flat[1][both]


def _differs(imported: Imported, output: str, off: float, *, where: str, allowed: float) -> ModelError:
    """Return the error for an output that differs, with the operator where that begins."""
    from edgepack.importer.samples import draw

    feeds = draw(imported.inputs, imported.prepared, batch=_prepared_batch(imported), seed=0)
    nodes = {name: node for node in imported.prepared.graph.node for name in node.output}
    order = [name for name in nodes if name in imported.values]
    differs = _Comparison(imported, feeds, where=where, allowed=allowed)
    first = _first(order, differs)
    if first is None:
        found = "no operator alone does, so simplifying the graph has changed it"
    else:
        first = _upstream(first, nodes, differs)
        node = nodes[first]
        found = (
            f"the first to differ is the {node.op_type} {called(node)!r}, by {differs.amount(first):.2g} of its range"
        )
    return ModelError(
        "EP-141",
        f"{where}: imported, output {output!r} differs from onnxruntime's by {off:.2g} of its range "
        f"(allowed: {allowed:g}); {found}",
        hint="report it with the model; to build today, give the Keras model or a SavedModel that it came from",
    )


def _first(order: Sequence[str], differs: Callable[[str], bool]) -> str | None:
    """Return a value that differs where the one before it, in graph order, does not; None where the last does not."""
    low, high = 0, len(order) - 1
    if not order or not differs(order[high]):
        return next((name for name in order if differs(name)), None)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if differs(order[middle]) else (middle + 1, high)
    return order[low]


def _upstream(name: str, nodes: "Mapping[str, onnx.NodeProto]", differs: "_Comparison") -> str:
    """Return the value that differs farthest up: in a graph with branches, what stands before may not lie above."""
    while True:
        above = [one for one in nodes[name].input if one in nodes and differs.knows(one) and differs(one)]
        if not above:
            return name
        name = above[0]


def _prepared_batch(imported: Imported) -> int:
    """Return the batch that the prepared graph was given: all its shapes are fixed."""
    batches = {item.name: item.type.tensor_type.shape.dim for item in imported.prepared.graph.input}
    for edge in imported.inputs:
        if None in edge.shape:
            return int(batches[edge.name][edge.shape.index(None)].dim_value)
    return 1


class _Comparison:
    """Whether a value inside the graph differs; each is computed once."""

    def __init__(self, imported: Imported, feeds: "Feeds", *, where: str, allowed: float) -> None:
        self._imported, self._feeds, self._where, self._allowed = imported, feeds, where, allowed
        self._known: dict[str, float] = {}

    def __call__(self, name: str) -> bool:
        return self.amount(name) > 0

    def knows(self, name: str) -> bool:
        """Whether the import made this value."""
        return name in self._imported.values

    def amount(self, name: str) -> float:
        """Return by how much it differs, of its range."""
        from edgepack.importer._session import answers

        if name not in self._known:
            (theirs,) = answers(self._imported.prepared, self._feeds, [name], where=self._where)
            self._known[name] = apart([(self._ours(name), theirs)], allowed=self._allowed)
        return self._known[name]

    def _ours(self, name: str) -> Array:
        import keras

        value = self._imported.values[name]
        net = keras.Model(self._imported.net.inputs, [value.tensor])
        (given,) = _called(net, _as_net(self._imported, self._feeds))
        return value.in_onnx_order(given)
