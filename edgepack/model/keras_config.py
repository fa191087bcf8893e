# SPDX-License-Identifier: Apache-2.0
"""The architecture that a Keras file carries as JSON, Keras 2 and 3 alike, as typed values.

Keras 2 writes ``inbound_nodes`` as ``[[["conv", 0, 0, {}]]]`` and ``batch_input_shape``; Keras 3 writes tensors with
their shapes and ``batch_shape``.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from edgepack.errors import ModelError
from edgepack.model.summary import CodeLayer, Shape

Json: TypeAlias = "str | int | float | bool | Sequence[Json] | Mapping[str, Json] | None"
History = tuple[str, int, int]
"""A tensor: the layer that makes it, which call of it, which of its outputs."""

MODEL_KINDS = frozenset({"Functional", "Sequential", "Model"})


@dataclass(frozen=True, slots=True)
class KerasLayer:
    """One layer: its class, its options, and the tensors of each of its calls."""

    name: str
    kind: str
    config: Mapping[str, Json]
    calls: tuple[tuple[History, ...], ...]


@dataclass(frozen=True, slots=True)
class KerasGraph:
    """A functional or sequential model.

    Attributes:
        name: The model's own name.
        layers: In file order; of a sequential model each calls the one before.
        inputs: Name by which it is called, and the tensor, in the source's order.
        outputs: Name (the layer that makes it, or the key of a dict), and the tensor.
        by_key: Which of the two sides, ``inputs`` and ``outputs``, are dicts.
        recorded: Shapes that the file notes beside tensors (Keras 3 only).
    """

    name: str
    layers: tuple[KerasLayer, ...]
    inputs: tuple[tuple[str, History], ...]
    outputs: tuple[tuple[str, History], ...]
    by_key: tuple[bool, bool]
    recorded: Mapping[History, Shape]


def mapping(value: Json) -> Mapping[str, Json]:
    """Return ``value`` if it is an object, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def sequence(value: Json) -> Sequence[Json]:
    """Return ``value`` if it is a list, else an empty one."""
    return value if isinstance(value, Sequence) and not isinstance(value, str) else ()


def integers(value: Json) -> tuple[int, ...]:
    """Return the integers of a list, or of a single number."""
    if isinstance(value, int) and not isinstance(value, bool):
        return (value,)
    return tuple(item for item in sequence(value) if isinstance(item, int))


def shape_of(value: Json) -> Shape | None:
    """Return a list of integers and nulls as a shape, or None for anything else."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        return None
    found = tuple(item for item in value if item is None or (isinstance(item, int) and not isinstance(item, bool)))
    return found if len(found) == len(value) else None


def parse_graph(document: Json, *, where: str) -> KerasGraph:
    """Read a model's config: ``{"class_name": "Functional", "config": {...}}``.

    Raises:
        ModelError: It is no functional or sequential model (EP-116); ``where`` is named.
    """
    kind = str(mapping(document).get("class_name"))
    body = mapping(document).get("config")
    if isinstance(body, Sequence) and kind == "Sequential":  # Keras 2.1 and older
        body = {"layers": body}
    config = mapping(body)
    layers = [mapping(item) for item in sequence(config.get("layers"))]
    if kind == "Sequential":
        return _sequential(config, layers)
    if not layers or "output_layers" not in config:
        raise ModelError(
            "EP-116",
            f"{where} holds a subclassed model ({kind}): its graph is Python code that the file does not carry",
            hint="where that class is defined, run model.export('folder'), and give edgepack the folder",
        )
    inputs, inputs_by_key = _edges(config.get("input_layers"))
    outputs, outputs_by_key = _edges(config.get("output_layers"))
    return KerasGraph(
        name=str(config.get("name", "")),
        layers=tuple(_functional_layer(item) for item in layers),
        inputs=inputs,
        outputs=outputs,
        by_key=(inputs_by_key, outputs_by_key),
        recorded=dict(_recorded(layers)),
    )


def _layer(item: Mapping[str, Json], calls: tuple[tuple[History, ...], ...]) -> KerasLayer:
    config = item.get("config")
    if isinstance(config, Sequence) and not isinstance(config, str):
        config = {"layers": config}
    name = item.get("name") or mapping(config).get("name") or item.get("class_name")
    return KerasLayer(name=str(name), kind=str(item.get("class_name")), config=mapping(config), calls=calls)


def _functional_layer(item: Mapping[str, Json]) -> KerasLayer:
    calls = tuple(tuple(_histories(node)) for node in sequence(item.get("inbound_nodes")))
    return _layer(item, calls)


def _sequential(config: Mapping[str, Json], items: list[Mapping[str, Json]]) -> KerasGraph:
    layers: list[KerasLayer] = []
    if items and items[0].get("class_name") != "InputLayer":
        first = mapping(items[0].get("config"))
        shape = config.get("build_input_shape", first.get("batch_input_shape"))
        name = f"{_layer(items[0], ()).name}_input"
        body: dict[str, Json] = {"batch_shape": shape, "name": name, "dtype": first.get("dtype", "float32")}
        layers.append(KerasLayer(name, "InputLayer", body, ()))
    for item in items:
        calls = (((layers[-1].name, 0, 0),),) if layers else ()
        layers.append(_layer(item, calls))
    ends = [(layer.name, (layer.name, 0, 0)) for layer in layers]
    return KerasGraph(
        name=str(config.get("name", "")),
        layers=tuple(layers),
        inputs=tuple(ends[:1]),
        outputs=tuple(ends[-1:]),
        by_key=(False, False),
        recorded={},
    )


def _histories(node: Json) -> Iterator[History]:
    """Yield the tensors that a node takes, in the order of its arguments."""
    if isinstance(node, Mapping):
        if node.get("class_name") == "__keras_tensor__":
            yield _history(mapping(node.get("config")).get("keras_history"))
            return
        for value in node.values():
            yield from _histories(value)
        return
    parts = sequence(node)
    if _is_history(parts):
        yield _history(parts)
        return
    for part in parts:
        yield from _histories(part)


def _is_history(parts: Sequence[Json]) -> bool:
    return len(parts) in {3, 4} and isinstance(parts[0], str) and all(isinstance(item, int) for item in parts[1:3])


def _history(value: Json) -> History:
    parts = sequence(value)
    if not _is_history(parts):
        return "", 0, 0
    numbers = integers(parts[1:3])
    return str(parts[0]), numbers[0], numbers[1]


def _recorded(value: Json) -> Iterator[tuple[History, Shape]]:
    if isinstance(value, Mapping):
        config = mapping(value.get("config"))
        if value.get("class_name") == "__keras_tensor__":
            shape = shape_of(config.get("shape"))
            if shape is not None:
                yield _history(config.get("keras_history")), shape
            return
        # A nested model's tensors have names of their own.
        parts = [part for key, part in value.items() if not (key == "config" and "layers" in config)]
    else:
        parts = list(sequence(value))
    for part in parts:
        yield from _recorded(part)


def _edges(value: Json) -> tuple[tuple[tuple[str, History], ...], bool]:
    """Return a model's inputs or outputs with unique names, and whether they go by key."""
    if isinstance(value, Mapping):
        pairs = [(key, history) for key, part in value.items() for history in _histories(part)]
    else:
        pairs = [(history[0], history) for history in _histories(value)]
    counts: dict[str, int] = {}
    found = []
    for name, history in pairs:
        seen = counts.get(name, 0)
        counts[name] = seen + 1
        found.append((name if seen == 0 else f"{name}_{seen}", history))
    return tuple(found), isinstance(value, Mapping)


def find_code(document: Json) -> tuple[CodeLayer, ...]:
    """Return the layers that carry code (Lambda, a lambda as activation) or name a class that is not Keras's."""
    return tuple(_code(document, ""))


def _code(value: Json, layer: str) -> Iterator[CodeLayer]:
    if not isinstance(value, Mapping):
        for part in sequence(value):
            yield from _code(part, layer)
        return
    kind, config = value.get("class_name"), value.get("config")
    name = str(mapping(config).get("name") or value.get("name") or layer)
    if kind in {"Lambda", "__lambda__"} or "function_type" in mapping(config):
        yield CodeLayer(name=name, kind="Lambda" if kind == "Lambda" else "a lambda", embedded=True)
        return
    if isinstance(kind, str) and isinstance(config, Mapping) and _is_foreign(value):
        yield CodeLayer(name=name, kind=kind, embedded=False)
        return
    for key, part in value.items():
        if key not in {"compile_config", "build_config", "training_config"}:
            yield from _code(part, name if isinstance(config, Mapping) else layer)


def _is_foreign(value: Mapping[str, Json]) -> bool:
    """Whether a serialized object names a class outside Keras; Keras 2 files do not say where a class is from."""
    if "module" not in value or value.get("class_name") == "__keras_tensor__":
        return False
    module = value.get("module")
    if module is None:
        return value.get("registered_name") is not None
    return str(module).split(".")[0] not in {"keras", "tf_keras", "builtins", "tensorflow"}
