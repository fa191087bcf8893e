# SPDX-License-Identifier: Apache-2.0
"""Make an ONNX graph ready to be imported: every shape known, what depends on shapes alone computed."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from edgepack.errors import ModelError
from edgepack.importer.batch import batch_axis, batch_names, is_open
from edgepack.importer.read import graphs_in
from edgepack.importer.slimming import slimmed

if TYPE_CHECKING:
    import onnx

_PRIMES: Final = (13, 17, 19, 23, 29, 31, 37, 41, 43, 47)
_LEAST_IR: Final = 8  # before 4, an initializer that is no input has no shape
# Their results hold the batch where no handler looks for it, or lose the layer that a step would work on.
_KEPT_APART: Final = ["FusionConvBN", "FusionGemm"]


def prepare(model: "onnx.ModelProto", *, shapes: Mapping[str, tuple[int, ...]], where: str) -> "onnx.ModelProto":
    """Return ``model`` with all shapes known and what is constant computed; ``model`` stays as it was.

    Of a quantized graph it is the float graph inside.

    An open batch becomes a prime that is no other size of the graph: so reshapes that move it can be told from others.

    Args:
        model: Valid.
        shapes: Of inputs by name, batch first as 1, where more than the batch is open.
        where: The source, for messages.

    Raises:
        ModelError: A dimension other than the batch is open and ``shapes`` does not say it (EP-112); the shapes that
            follow contradict the graph (EP-142).
    """
    import onnx

    from edgepack.importer._graph import BATCH_KEY
    from edgepack.importer.quantized import float_graph

    fixed = onnx.ModelProto()
    fixed.CopyFrom(float_graph(model).model)
    batch = _fix(fixed, shapes, where)
    _forget_shapes(fixed)
    slim = _slim(fixed)
    _forget_shapes(slim)  # the simplifier divides unevenly otherwise than ONNX
    slim.ir_version = max(slim.ir_version, _LEAST_IR)
    found = _inferred(slim, where)
    kept = {item.key: item.value for item in found.metadata_props}
    onnx.helper.set_model_props(found, {**kept, BATCH_KEY: str(batch)})
    return found


def _forget_shapes(model: "onnx.ModelProto") -> None:
    for output in model.graph.output:
        if output.type.HasField("tensor_type"):
            output.type.tensor_type.ClearField("shape")
    del model.graph.value_info[:]


def _slim(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """Return ``model`` simplified; as it is where the simplifier does not know its way, as in very old opsets."""
    try:
        return slimmed(model, kept_apart=_KEPT_APART)
    except ValueError:
        return model


def _inferred(model: "onnx.ModelProto", where: str) -> "onnx.ModelProto":
    import onnx

    try:
        return onnx.shape_inference.infer_shapes(model, strict_mode=False, data_prop=True)
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError) as error:
        words = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ModelError(
            "EP-142",
            f"{where}: the shapes of its values do not follow from those of its inputs: {words}",
            hint="look at it with onnx.checker.check_model(path, full_check=True), and export it again",
        ) from error


def _fix(model: "onnx.ModelProto", shapes: Mapping[str, tuple[int, ...]], where: str) -> int:
    """Write every dimension of the inputs into ``model``; return what stands for the batch, 0 where it is not open."""
    initializers = {item.name for item in model.graph.initializer}
    inputs = [item for item in model.graph.input if item.name not in initializers]
    names = batch_names(inputs)
    taken = set(_sizes(model))
    batch = next((prime for prime in _PRIMES if prime not in taken), _PRIMES[-1])
    used = 0
    for item in inputs:
        dims, given = item.type.tensor_type.shape.dim, shapes.get(item.name, ())
        opens, place = [axis for axis in range(len(dims)) if is_open(item, axis)], batch_axis(item, names)
        for axis in opens:
            if axis != place and axis >= len(given):
                _refuse_open(item, axis, place, model=model, where=where)
        for axis in opens:
            dims[axis].dim_value = batch if axis == place else given[axis]
        used = used if place is None else batch
    return used


def _sizes(model: "onnx.ModelProto") -> Iterator[int]:
    for item in model.graph.initializer:
        yield from item.dims
    for info in model.graph.input:
        for dim in info.type.tensor_type.shape.dim:
            yield dim.dim_value


def _refuse_open(
    item: "onnx.ValueInfoProto", axis: int, place: int | None, *, model: "onnx.ModelProto", where: str
) -> None:
    dims = item.type.tensor_type.shape.dim
    words = [dim.dim_param or (str(dim.dim_value) if dim.dim_value else "?") for dim in dims]
    example = "x".join("1" if n == place else str(dim.dim_value or 128) for n, dim in enumerate(dims))
    inner = [node for node in model.graph.node if any(True for _ in graphs_in(node))]
    kinds = ", ".join(sorted({node.op_type for node in inner}))
    more = f"; even so the control flow in it ({kinds}) comes in only where it depends on sizes alone" if inner else ""
    raise ModelError(
        "EP-112",
        f"{where}: input {item.name!r} is [{', '.join(words)}], and dimension {axis} ({words[axis]}) is open",
        hint=f"a device's graph has fixed sizes: give --shape {item.name}={example}, with your own{more}",
    )
