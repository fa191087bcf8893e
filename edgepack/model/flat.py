# SPDX-License-Identifier: Apache-2.0
"""The trainable form: one flat Keras 3 functional graph of lists of inputs and outputs. Worker process only."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from edgepack.model._export import legal_name
from edgepack.model.model import TensorSpec

if TYPE_CHECKING:
    import keras
    from keras import KerasTensor, Operation

Make = Callable[["Operation"], Callable[..., object]]


def flat(net: "keras.Model", inputs: Sequence[TensorSpec], order: Callable[..., Sequence[object]]) -> "keras.Model":
    """Return ``net`` with nested models written out, new layers, the same weights, and lists at both ends.

    Layers keep their names; those of a nested model get its name in front. A layer that is called twice stays one
    layer that is called twice.

    Args:
        net: Functional or sequential.
        inputs: Of fixed shape, in the order that the result takes them.
        order: Calls what it is given first, a model, on the inputs that follow, and returns the outputs in order.

    Raises:
        ValueError: A layer cannot be made anew from its configuration.
    """
    import keras

    ends = [keras.Input(batch_shape=(None, *spec.shape[1:]), dtype=spec.dtype, name=spec.name) for spec in inputs]
    made: dict[int, tuple[Operation, Operation]] = {}
    taken = {spec.name for spec in inputs}
    outputs = order(lambda structure, **_: _written_out(net, structure, made, taken, ""), *ends)
    new = keras.Model(ends, list(outputs), name=net.name)
    copy_weights(made.values())
    return new


def rebuild(net: "keras.Model", make: Make) -> "keras.Model":
    """Return a new graph of the same shape as ``net``, a flat one.

    Args:
        net: Not changed; none of its layers is used again.
        make: Gives for each operation, once, what is called in its place on what the operation was called on.
            ``again`` is the plain answer. Weights are not copied.
    """
    import keras

    ends = [keras.Input(batch_shape=end.shape, dtype=end.dtype, name=name) for end, name in _inputs(net)]
    made: dict[int, Callable[..., object]] = {}

    def call(operation: "Operation") -> Callable[..., object]:
        if id(operation) not in made:
            made[id(operation)] = make(operation)
        return made[id(operation)]

    outputs = net._run_through_graph(ends, operation_fn=call)  # noqa: SLF001 - what clone_model itself calls
    return keras.Model(ends, as_list(outputs), name=net.name)


def again(operation: "Operation", **changes: object) -> "Operation":
    """Return a new, unbuilt operation like ``operation``, with ``changes`` to its configuration."""
    made: Operation = type(operation).from_config({**operation.get_config(), **changes})
    return made


def copy_weights(pairs: "Iterable[tuple[Operation, Operation]]") -> None:
    """Copy the weights of each pair's first layer, where it has any, into its second."""
    for source, target in pairs:
        values = source.get_weights() if hasattr(source, "get_weights") else []
        if values:
            target.set_weights(values)


def _inputs(net: "keras.Model") -> "list[tuple[KerasTensor, str]]":
    return [(tensor, tensor._keras_history.operation.name) for tensor in net.inputs]  # noqa: SLF001


def as_list(value: object) -> list[Any]:
    """Return the values of a structure that may come bare where there is one: a net of one output answers so."""
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _written_out(
    net: "keras.Model", structure: object, made: "dict[int, tuple[Operation, Operation]]", taken: set[str], prefix: str
) -> object:
    import keras

    graph = net._functional if isinstance(net, keras.Sequential) else net  # noqa: SLF001 - no public way in
    if not hasattr(graph, "_run_through_graph"):
        raise ValueError(f"{net.name!r} is a {type(net).__name__}: a class of its own, no graph of layers")

    def call(operation: "Operation") -> Callable[..., object]:
        if isinstance(operation, keras.Model):
            name = f"{prefix}{operation.name}_"
            return lambda *args, **_: _written_out(operation, args[0], made, taken, name)
        if id(operation) not in made:
            name = legal_name(f"{prefix}{operation.name}", taken)
            taken.add(name)
            made[id(operation)] = operation, again(operation, name=name)
        new: Callable[..., object] = made[id(operation)][1]
        return new

    return graph._run_through_graph(graph._standardize_inputs(structure), operation_fn=call)  # noqa: SLF001
