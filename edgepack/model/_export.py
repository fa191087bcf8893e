# SPDX-License-Identifier: Apache-2.0
"""What all SavedModel writers share: signatures, names, specs. Imports TensorFlow: worker process only."""

import contextlib
import keyword
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgepack.errors import ModelError
from edgepack.model.model import TensorSpec
from edgepack.work import disk_full

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

SERVING: Final = "serving_default"
"""Signature of batch 1: what is converted."""
BATCHED: Final = "batched"
"""Signature of an open batch: what predicts."""
_NOT_PYTHON: Final = re.compile(r"[^A-Za-z0-9_]")
_ILLEGAL: Final = re.compile(r"[^A-Za-z0-9_.\\>-]")  # nor a slash: Keras takes none for an input


def export(
    model: "keras.Model",
    call: "Callable[..., dict[str, tf.Tensor]]",
    inputs: Sequence[TensorSpec],
    *,
    batched: bool,
    folder: Path,
) -> tuple[TensorSpec, ...]:
    """Write the SavedModel of ``call`` on ``model`` into ``folder``; return its outputs, in the order of ``call``'s.

    Raises:
        ModelError: An output's shape depends on the input's values (EP-118).
        HostError: The disk is full (EP-501).
    """
    import keras
    import tensorflow as tf

    from edgepack.model._centred import centred_norms

    archive = keras.export.ExportArchive()
    archive.track(model)
    try:
        with centred_norms():
            serve = archive.add_endpoint(SERVING, call, input_signature=tensor_specs(inputs, batch=1))
            if batched:
                # A model that works at batch 1 alone simply has no batched form.
                with contextlib.suppress(ValueError, TypeError):
                    archive.add_endpoint(BATCHED, call, input_signature=tensor_specs(inputs, batch=None))
            archive.write_out(str(folder), verbose=False)
    except tf.errors.ResourceExhaustedError as error:  # TensorFlow's word for a full disk, and no OSError
        raise disk_full(folder) from error
    found = serve.get_concrete_function().structured_outputs
    return output_specs(found, list(found))


def legal_names(specs: Sequence[TensorSpec]) -> tuple[tuple[TensorSpec, ...], tuple[str, ...]]:
    """Return ``specs`` with names that TensorFlow takes for an argument, and a note for each that changed."""
    found: list[TensorSpec] = []
    notes: list[str] = []
    for spec in specs:
        name = legal_name(spec.name, {item.name for item in found})
        found.append(spec if name == spec.name else replace(spec, name=name, alias=spec.name))
        if name != spec.name:
            notes.append(f"{spec.name!r} is called {name!r}: TensorFlow does not take the source's name; both name it")
    return tuple(found), tuple(notes)


def legal_name(name: str, taken: set[str]) -> str:
    """Return ``name`` as TensorFlow takes it for a scope and an argument, unlike all that are ``taken``.

    TensorFlow tells arguments apart by letters and digits alone, whatever their case: to it, ``a-b`` and ``a.b`` are
    one, and so are ``In_0`` and ``in_0``.
    """
    found = _ILLEGAL.sub("_", name)
    found = found if re.match(r"[A-Za-z0-9.]", found) else f"t{found}"
    argument_names = {"self", *(_NOT_PYTHON.sub("_", item).lower() for item in taken)}
    while (argument := _NOT_PYTHON.sub("_", found)).lower() in argument_names or keyword.iskeyword(argument):
        found += "_"
    return found


def argument_of(name: str, arguments: Mapping[str, str]) -> str:
    """Return what TensorFlow made of ``name`` as an argument of a signature.

    Args:
        name: Of a tensor, a legal one.
        arguments: Of the signature, each with the name that its tensor has, which TensorFlow writes in lower case.
    """
    plain = _NOT_PYTHON.sub("_", name)
    return plain if plain in arguments else next(key for key, found in arguments.items() if found == name.lower())


def tensor_specs(specs: Sequence[TensorSpec], *, batch: int | None) -> "list[tf.TensorSpec]":
    """Return ``specs`` as TensorFlow's, with ``batch`` in place of their first dimension."""
    import tensorflow as tf

    return [
        tf.TensorSpec((batch, *spec.shape[1:]) if spec.shape else (), tf.as_dtype(spec.dtype), name=spec.name)
        for spec in specs
    ]


def output_specs(tensors: "Mapping[str, tf.Tensor]", names: Sequence[str]) -> tuple[TensorSpec, ...]:
    """Return the specs of the tensors called ``names``, in that order.

    Raises:
        ModelError: An output's shape depends on the input's values (EP-118).
    """
    found = tuple(TensorSpec(name, _known_shape(tensors[name]), tensors[name].dtype.name) for name in names)
    for spec in found:
        if None in spec.shape:
            raise ModelError(
                "EP-118",
                f"output {spec.name!r} has shape {list(spec.shape)} even though every input is fixed",
                hint="its size depends on the values that come in; give the model an output of fixed size",
            )
    return found


def with_axes(specs: Sequence[TensorSpec], known: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    """Return ``specs`` with the axes of those of ``known`` in their places: a graph's tensors do not tell them."""
    return tuple(replace(spec, axes=other.axes) for spec, other in zip(specs, known, strict=True))


def _known_shape(tensor: "tf.Tensor") -> tuple[int | None, ...]:
    return (None,) if tensor.shape.rank is None else tuple(tensor.shape.as_list())
