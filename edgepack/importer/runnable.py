# SPDX-License-Identifier: Apache-2.0
"""An ONNX graph for onnxruntime alone: batch 1, every shape known, and a sample is one row at each edge."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from edgepack.arrays import Array
from edgepack.errors import ModelError
from edgepack.importer.batch import batch_axis, batch_names
from edgepack.importer.gate import apart
from edgepack.importer.imported import Edge
from edgepack.importer.read import graphs_in
from edgepack.importer.simplify import of_batch_one, simplified

if TYPE_CHECKING:
    import onnx

_SEEDS: Final = (0, 1)
_MOST_TRACED: Final = 256
"""Samples that a graph may have been traced with: more are no batch, and would not fit into memory."""
_NUMBERS: Final = "fiub"  # NumPy's kinds


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Runnable:
    """What onnxruntime takes as it is.

    Attributes:
        graph: Its edges have their shapes, and one axis each that is the batch.
        inputs, outputs: In the graph's order; ``axes`` has the batch in front.
    """

    graph: "onnx.ModelProto"
    inputs: tuple[Edge, ...]
    outputs: tuple[Edge, ...]


def runnable(model: "onnx.ModelProto", *, shapes: Mapping[str, tuple[int, ...]], where: str) -> Runnable:
    """Return ``model`` with every shape fixed, held against itself with open ones; ``model`` stays as it was.

    An edge without an axis for the batch, a number for all samples say, gets one in front.

    Args:
        model: Valid.
        shapes: Of inputs by name, where more than the batch is open.
        where: The source, for messages.

    Raises:
        ModelError: onnxruntime does not take it so, an edge holds no numbers or has another shape from sample to
            sample, or it answers otherwise than with open shapes (EP-158); its shapes contradict each other (EP-142).
    """
    try:
        fixed = simplified(_settled(model, shapes, where), shapes=shapes, where=where)
        inputs = inputs_of(model, fixed, where)
        answers = _held_against(model, fixed, inputs, where)
    except ModelError as error:
        if error.code != "EP-155":
            raise
        words = error.message.partition(": ")[2]
        if batch := _batch_of_export(model, shapes, where):
            raise _traced(where, batch, words) from error
        raise _unfit(where, f"with its shapes fixed onnxruntime says {words}") from error
    outputs = _outputs(model, fixed, answers)
    return Runnable(
        graph=fixed,
        inputs=tuple(_with_batch(fixed, edge, is_input=True) for edge in inputs),
        outputs=tuple(_with_batch(fixed, edge, is_input=False) for edge in outputs),
    )


def runner(path: Path, *, where: str) -> Callable[[Sequence[Array]], list[Array]]:
    """Return a function that gives onnxruntime's outputs of the file ``path`` for its inputs; one thread.

    Raises:
        ModelError: onnxruntime cannot load it, or, when it is called, cannot run it (EP-155).
    """
    import onnx

    from edgepack.importer._session import opened, ran

    session = opened(onnx.load(path), where=where)
    names = [item.name for item in session.get_inputs()]
    return lambda given: ran(session, None, dict(zip(names, given, strict=True)), where=where)


def _settled(model: "onnx.ModelProto", shapes: Mapping[str, tuple[int, ...]], where: str) -> "onnx.ModelProto":
    """Return ``model`` without the branches that its sizes decide."""
    from edgepack.importer._branches import settled
    from edgepack.importer.samples import draw

    if not any(True for node in model.graph.node for _ in graphs_in(node)):
        return model
    fixed = of_batch_one(model, shapes)
    feeds = draw(inputs_of(model, fixed, where), fixed, batch=1, seed=_SEEDS[0])
    return settled(model, feeds, where=where)


def _batch_of_export(model: "onnx.ModelProto", shapes: Mapping[str, tuple[int, ...]], where: str) -> int:
    """Return the batch that ``model`` was traced with where it runs with that one alone; 0 where none is found.

    Such a graph reshapes to it, though its inputs have an open batch.
    """
    from edgepack.importer._session import answers
    from edgepack.importer.samples import draw

    fixed, names = of_batch_one(model, shapes), [item.name for item in model.graph.output]
    ends = [_open(edge) for edge in inputs_of(model, fixed, where)]
    for batch in _reshaped_to(model):
        feeds = draw(ends, fixed, batch=batch, seed=_SEEDS[0])
        with suppress(ModelError):
            answers(model, feeds, names, where=where)
            return batch
    return 0


def _open(edge: Edge) -> Edge:
    """Return ``edge``, of batch 1, with its batch open."""
    shape = (
        (None if axis == edge.axes[0] else size for axis, size in enumerate(edge.shape)) if edge.axes else edge.shape
    )
    return replace(edge, shape=tuple(shape))


def _reshaped_to(model: "onnx.ModelProto") -> list[int]:
    """Return what is above 1 in front of a shape that something is reshaped to, each once."""
    import onnx

    constants = {item.name: item for item in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            constants.update((node.output[0], item.t) for item in node.attribute if item.name == "value")
    reshapes = (node.input for node in model.graph.node if node.op_type == "Reshape" and len(node.input) > 1)
    wanted = [names[1] for names in reshapes if names[1] in constants]
    fronts = (onnx.numpy_helper.to_array(constants[name]).ravel()[:1].tolist() for name in wanted)
    return list(dict.fromkeys(size for front in fronts for size in front if 1 < size <= _MOST_TRACED))


def inputs_of(model: "onnx.ModelProto", fixed: "onnx.ModelProto", where: str) -> tuple[Edge, ...]:
    """Return the inputs of ``model`` with the sizes that they have in ``fixed``, which is ``model`` at batch 1.

    Raises:
        ModelError: One takes no tensor of numbers (EP-158).
    """
    import onnx

    weights = {item.name for item in fixed.graph.initializer}
    names = batch_names(_real_inputs(model))
    places = {item.name: batch_axis(item, names) for item in _real_inputs(model)}
    found = []
    for item in (item for item in fixed.graph.input if item.name not in weights):
        kind = item.type.tensor_type.elem_type
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind)) if kind else np.dtype(object)
        if dtype.kind not in _NUMBERS:
            raise _unfit(where, f"input {item.name!r} takes no tensor of numbers")
        shape = tuple(dim.dim_value for dim in item.type.tensor_type.shape.dim)
        found.append(_edge(item.name, shape, dtype.name, places[item.name]))
    return tuple(found)


def _outputs(model: "onnx.ModelProto", fixed: "onnx.ModelProto", answers: Sequence[Array]) -> tuple[Edge, ...]:
    """Return the outputs as they came, their shapes written into ``fixed``."""
    names = batch_names(_real_inputs(model))
    places = {item.name: batch_axis(item, names) for item in model.graph.output}
    found = []
    for item, answer in zip(fixed.graph.output, answers, strict=True):
        _set_shape(item, answer.shape)
        found.append(_edge(item.name, answer.shape, answer.dtype.name, places[item.name]))
    return tuple(found)


def _held_against(
    model: "onnx.ModelProto", fixed: "onnx.ModelProto", inputs: Sequence[Edge], where: str
) -> list[Array]:
    """Return the outputs of ``fixed`` for one sample, which are those of ``model``."""
    from edgepack.importer._session import answers
    from edgepack.importer.samples import draw

    names = [item.name for item in fixed.graph.output]
    drawn = [draw(inputs, fixed, batch=1, seed=seed) for seed in _SEEDS]
    found = [answers(fixed, feeds, names, where=where) for feeds in drawn]
    wanted = [answers(model, feeds, names, where=where) for feeds in drawn]
    for place, name in enumerate(names):
        ours, theirs = ([given[place] for given in side] for side in (found, wanted))
        if not all(map(_holds_numbers, ours)):
            raise _unfit(where, f"output {name!r} gives no tensor of numbers")
        if len({one.shape for one in ours}) > 1:
            shapes = " and ".join(str(list(one.shape)) for one in ours)
            raise _unfit(where, f"output {name!r} is {shapes} for two samples of one shape")
        if apart(list(zip(ours, theirs, strict=True))) > 0:
            raise _unfit(where, f"output {name!r} has other numbers than with open shapes, or draws them at random")
    return found[0]


def _holds_numbers(value: object) -> bool:
    """Whether an answer is a tensor: onnxruntime gives lists and dictionaries for sequences and maps."""
    return isinstance(value, np.ndarray) and value.dtype.kind in _NUMBERS


def _real_inputs(model: "onnx.ModelProto") -> "list[onnx.ValueInfoProto]":
    weights = {item.name for item in model.graph.initializer}
    return [item for item in model.graph.input if item.name not in weights]


def _edge(name: str, shape: tuple[int, ...], dtype: str, place: int | None) -> Edge:
    """Return an edge at batch 1; without axes where none can be the batch."""
    if place is None or shape[place : place + 1] != (1,):
        place = next((axis for axis, size in enumerate(shape) if size == 1), None)
    if place is None:
        return Edge(name=name, shape=shape, dtype=dtype, axes=())
    others = (axis for axis in range(len(shape)) if axis != place)
    return Edge(name=name, shape=shape, dtype=dtype, axes=(place, *others))


def _with_batch(model: "onnx.ModelProto", edge: Edge, *, is_input: bool) -> Edge:
    """Return ``edge`` with an axis for the batch, put in front in ``model``, in place, where it has none."""
    import onnx

    from edgepack.importer.simplify import free_name, replace_everywhere

    if edge.axes:
        return edge
    graph = model.graph
    shape = (1, *edge.shape)
    inner = free_name(graph, edge.name)
    target = free_name(graph, f"{inner}_shape")
    inside = shape[1:] if is_input else shape
    graph.initializer.append(onnx.numpy_helper.from_array(np.array(inside, np.int64), target))
    replace_everywhere(graph, edge.name, inner)
    ends = (edge.name, inner) if is_input else (inner, edge.name)
    node = onnx.helper.make_node("Reshape", [ends[0], target], [ends[1]])
    graph.node.insert(0 if is_input else len(graph.node), node)
    _set_shape(next(item for item in (graph.input if is_input else graph.output) if item.name == edge.name), shape)
    return Edge(name=edge.name, shape=shape, dtype=edge.dtype, axes=tuple(range(len(shape))))


def _set_shape(item: "onnx.ValueInfoProto", shape: Sequence[int | None]) -> None:
    import onnx

    kind = item.type.tensor_type.elem_type
    item.CopyFrom(onnx.helper.make_tensor_value_info(item.name, kind, shape))


def _traced(where: str, batch: int, words: str) -> ModelError:
    return ModelError(
        "EP-158",
        f"{where} runs with batches of {batch} alone, and on a device one sample comes at a time; then onnxruntime "
        f"says {words}",
        hint="export it again with an example of one sample, or let the shape that it reshapes to follow the batch "
        "(torch.flatten(x, 1), x.reshape(x.shape[0], -1)) and the batch be open",
    )


def _unfit(where: str, why: str) -> ModelError:
    return ModelError(
        "EP-158",
        f"{where} cannot run on a device as it is: {why}",
        hint="give other sizes with --shape, or export the path that is taken with an example: torch.jit.trace",
    )
