# SPDX-License-Identifier: Apache-2.0
"""Open dimensions: the batch becomes 1, every other one is named by the user with ``--shape``."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from edgepack.errors import ModelError
from edgepack.model.model import TensorSpec
from edgepack.registry import nearest

_SHAPE = re.compile(r"(?P<name>[^=]+)=(?P<dims>[0-9]+(?:[x,][0-9]+)*)")
_MAX_DIMENSION = 2**31 - 1


def parse_shapes(texts: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Read the values of ``--shape``, ``tokens=1x128`` each, into shapes by input name.

    Raises:
        ModelError: A value is not of that form, names a dimension of 0, or an input twice (EP-113).
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for text in texts:
        match = _SHAPE.fullmatch(text.strip())
        dims = tuple(int(size) for size in re.split("[x,]", match["dims"])) if match else ()
        if match is None or not all(0 < size <= _MAX_DIMENSION for size in dims):
            raise ModelError(
                "EP-113",
                f"--shape {text!r} is not NAME=1x128: an input's name and its dimensions, batch first, all positive",
                hint="edgepack check MODEL shows the names of the inputs and which dimensions are open",
            )
        if match["name"] in shapes:
            raise ModelError("EP-113", f"--shape gives input {match['name']!r} twice", hint="keep one of the two")
        shapes[match["name"]] = dims
    return shapes


def by_source_names(shapes: Mapping[str, tuple[int, ...]], names: Sequence[str]) -> Mapping[str, tuple[int, ...]]:
    """Return ``shapes`` by the ``names`` of the source's inputs, which may be given as frameworks take them."""
    from edgepack.model._export import legal_names

    legal, _ = legal_names([TensorSpec(name, (), "") for name in names])
    called = {spec.name: name for spec, name in zip(legal, names, strict=True) if spec.name not in names}
    free = {name: called[name] for name in shapes if name in called and called[name] not in shapes}
    return {free.get(name, name): shape for name, shape in shapes.items()}


def apply_shapes(specs: Sequence[TensorSpec], shapes: Mapping[str, tuple[int, ...]]) -> tuple[TensorSpec, ...]:
    """Return the input ``specs`` with open dimensions taken from ``shapes``; what it does not name stays open.

    Raises:
        ModelError: ``shapes`` names an unknown input, another rank, another size where the model has one, or a batch
            that is not 1 (EP-114).
    """
    for name in shapes:
        if name not in {spec.name for spec in specs}:
            known = [spec.name for spec in specs]
            raise ModelError(
                "EP-114",
                f"--shape names {name!r}, and the model has no such input",
                hint=f"{nearest(name, known)} (inputs: {', '.join(known)})",
            )
    return tuple(
        replace(spec, shape=_merge(spec, shapes[spec.name])) if spec.name in shapes else spec for spec in specs
    )


def _merge(spec: TensorSpec, given: tuple[int, ...]) -> tuple[int | None, ...]:
    clash = len(given) != len(spec.shape) or any(
        size not in {None, wanted} for size, wanted in zip(spec.shape, given, strict=True)
    )
    if clash or (spec.shape[:1] == (None,) and given[:1] != (1,)):
        why = "the batch is always 1" if not clash else f"the model has {format_shape(as_in_file(spec, spec.shape))}"
        asked = given if len(given) != len(spec.shape) else as_in_file(spec, given)
        raise ModelError(
            "EP-114",
            f"--shape {spec.name}={'x'.join(map(str, asked))} does not match input {spec.name!r}: {why}",
            hint=f"give --shape {suggestion(spec)}",
        )
    return given


def fix_shapes(
    specs: Sequence[TensorSpec], shapes: Mapping[str, tuple[int, ...]]
) -> tuple[tuple[TensorSpec, ...], tuple[str, ...]]:
    """Return the input ``specs`` with every dimension known, and notes on what was fixed.

    Raises:
        ModelError: As ``apply_shapes``; or a dimension that is not the batch is still open (EP-112).
    """
    merged = apply_shapes(specs, shapes)
    fixed = tuple(replace(spec, shape=with_batch_of_one(spec.shape)) for spec in merged)
    for spec, now in zip(merged, fixed, strict=True):
        if None in now.shape or not spec.shape:
            if not spec.shape:
                continue
            raise ModelError(
                "EP-112",
                f"input {spec.name!r} is {format_shape(as_in_file(spec, spec.shape))}: a dimension other than the "
                "batch is open",
                hint=f"give it with --shape {suggestion(spec)}",
            )
    open_batch = [spec.name for spec in specs if spec.shape[:1] == (None,)]
    notes = (f"batch fixed to 1 for {', '.join(open_batch)}",) if open_batch else ()
    given = tuple(f"{name} fixed to {format_shape(shape)} by --shape" for name, shape in sorted(shapes.items()))
    return fixed, notes + given


def with_batch_of_one(shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
    """Return ``shape`` with an open first dimension set to 1."""
    return (1, *shape[1:]) if shape[:1] == (None,) else shape


def as_in_file(spec: TensorSpec, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
    """Return ``shape``, in the order of ``spec``, in that of the model's file, where ``--shape`` has it."""
    return tuple(shape[spec.axes.index(axis)] for axis in range(len(shape))) if spec.axes else shape


def format_shape(shape: Sequence[int | None]) -> str:
    """Return ``[None, 128]``."""
    return f"[{', '.join(str(size) for size in shape)}]"


def suggestion(spec: TensorSpec) -> str:
    """Return a value for ``--shape`` that would fix ``spec``, with 128 where the size is not known."""
    batch_fixed = as_in_file(spec, with_batch_of_one(spec.shape))
    return f"{spec.name}={'x'.join('128' if size is None else str(size) for size in batch_fixed)}"
