# SPDX-License-Identifier: Apache-2.0
"""Load a Keras model, of Keras 2 or 3, and export it with fixed shapes. Imports TensorFlow: worker process only."""

import json
import re
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgepack.digest import canonical_json
from edgepack.errors import ModelError
from edgepack.model._export import export, legal_name, legal_names
from edgepack.model._unroll import unrolled
from edgepack.model.flat import as_list, flat
from edgepack.model.keras_config import Json, KerasGraph, mapping, parse_graph, sequence
from edgepack.model.keras_file import open_keras
from edgepack.model.keras_summary import digest_keras
from edgepack.model.model import Model, TensorSpec
from edgepack.model.shapes import fix_shapes
from edgepack.model.summary import Summary
from edgepack.model.trainable import TRAINABLE
from edgepack.work import whole_folder

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

_DEPTHWISE: Final = ("DepthwiseConv1D", "DepthwiseConv2D", "SeparableConv1D", "SeparableConv2D")
_TRANSPOSED: Final = ("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose")
_RECURRENT: Final = ("LSTM", "GRU", "SimpleRNN", "RNN")
# Options that Keras 2 writes and Keras 3 refuses: layer classes, option, the values under which it changes nothing.
_DROPPED: Final[tuple[tuple[tuple[str, ...], str, tuple[Json, ...]], ...]] = (
    (_DEPTHWISE + _TRANSPOSED, "groups", (1,)),
    (_RECURRENT, "time_major", (False,)),
    (_RECURRENT, "implementation", (0, 1, 2)),
    (("BatchNormalization",), "virtual_batch_size", (None,)),
    (("BatchNormalization",), "fused", (None, True, False)),
    (("BatchNormalization",), "adjustment", (None,)),
)
# Names that both take for a layer: Keras 3 has no slash in them, and TensorFlow makes scopes of them.
_SCOPE: Final = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.-]*")
# What only says how training starts: dropped without a word.
_TRAINING_ONLY: Final = ("kernel_initializer", "kernel_regularizer", "kernel_constraint")


def load_keras(
    path: Path, summary: Summary, *, shapes: Mapping[str, tuple[int, ...]], trust_code: bool, folder: Path
) -> Model:
    """Load the file at ``path`` and export it under its digest below ``folder``; ``ModelError`` EP-112 or EP-117."""
    import keras

    fixed, notes = fix_shapes(summary.inputs, shapes)
    (inputs, renamed), (ends, renamed_ends) = legal_names(fixed), legal_names(summary.outputs)
    digest = digest_keras(path, {spec.name: spec.shape for spec in inputs})
    with open_keras(path) as file:
        graph = parse_graph(file.config, where=str(path))
        config, changes = cleaned(file.config)
        loss = "" if file.loss is None else canonical_json(file.loss).decode()
    keras.backend.clear_session()
    read = partial(_read, path, saved_by=summary.saved_by, trust_code=trust_code)
    written_out, unrolling = unrolled(config, summary, fixed)
    try:
        model = read(written_out if changes or unrolling else None)
    except ModelError:
        if not unrolling:
            raise
        unrolling = ()  # a layer whose steps Keras does not know when it builds the model stays a loop
        model = read(config if changes else None)
    target = folder / digest
    batched = all(spec.shape[:1] == (None,) for spec in summary.inputs)
    call = _callable(model, graph, [spec.name for spec in ends])
    with whole_folder(target) as scratch:
        outputs = export(model, call, inputs, batched=batched, folder=scratch)
        why = _write_trainable(model, inputs, partial(_ordered, graph=graph), folder=scratch)
    return Model(
        path=target,
        kind="savedmodel",
        source=path,
        source_format=summary.format,
        inputs=inputs,
        outputs=outputs,
        digest=digest,
        notes=(*notes, *renamed, *renamed_ends, *changes, *unrolling),
        trainable=None if why else target / TRAINABLE,
        why_untrainable=why,
        loss=loss,
    )


def _write_trainable(
    model: "keras.Model", inputs: Sequence[TensorSpec], order: Callable[..., Sequence[object]], *, folder: Path
) -> str:
    """Write the flat functional graph of ``model`` into ``folder``; return why there is none, or an empty string."""
    try:
        net = flat(model, inputs, order)
        net.save(folder / TRAINABLE)
    except (ValueError, TypeError, AttributeError, KeyError, NotImplementedError) as error:
        words = [line.strip() for line in str(error).splitlines() if line.strip()]
        return f"it cannot be written as one flat graph of Keras layers: {words[0] if words else type(error).__name__}"
    return ""


def cleaned(document: Json) -> tuple[Json, tuple[str, ...]]:
    """Return a model's config without what Keras 3 refuses though it changes nothing, and a note for each change."""
    changes: dict[str, None] = {}
    config = _clean(document, changes)
    names = set(_layer_names(config))
    renamed: dict[str, str] = {}
    for name in sorted(name for name in names if not _SCOPE.fullmatch(name)):
        renamed[name] = legal_name(name.replace("/", "_"), names - {name})
        names.add(renamed[name])
        changes[f"layer {name!r} is called {renamed[name]!r} inside: Keras 3 or TensorFlow refuses its name"] = None
    return _renamed(config, renamed) if renamed else config, tuple(changes)


def _layer_names(value: Json) -> Iterator[str]:
    if isinstance(value, Mapping):
        name = mapping(value.get("config")).get("name")
        if isinstance(name, str) and "class_name" in value:
            yield name
        for part in value.values():
            yield from _layer_names(part)
    for part in sequence(value):
        yield from _layer_names(part)


def _renamed(value: Json, names: Mapping[str, str]) -> Json:
    """Replace layer names wherever they stand: in the layers, and in the references to them."""
    if isinstance(value, str):
        return names.get(value, value)
    if isinstance(value, Mapping):
        return {key: _renamed(part, names) for key, part in value.items()}
    return [_renamed(part, names) for part in value] if isinstance(value, Sequence) else value


def _clean(value: Json, changes: dict[str, None]) -> Json:
    if isinstance(value, str) or value is None or isinstance(value, (int, float)):
        return value
    if not isinstance(value, Mapping):
        return [_clean(part, changes) for part in sequence(value)]
    kind, config = str(value.get("class_name")), value.get("config")
    found: dict[str, Json] = {key: _clean(part, changes) for key, part in value.items()}
    if isinstance(config, Mapping):
        kept = dict(mapping(found["config"]))
        for kinds, key, harmless in _DROPPED:
            if kind in kinds and key in kept and kept[key] in harmless:
                del kept[key]
                changes[f"{kind}: dropped {key}={json.dumps(config[key])}, which Keras 3 does not know"] = None
        for key in _TRAINING_ONLY if kind in _DEPTHWISE else ():
            kept.pop(key, None)
        if kind == "ThresholdedReLU":
            found["class_name"], kept = "ReLU", {"name": kept.get("name"), "threshold": kept.get("theta", 1.0)}
            changes["ThresholdedReLU: loaded as ReLU with a threshold, which computes the same"] = None
        found["config"] = kept
    return found


def _read(path: Path, config: Json, *, saved_by: str, trust_code: bool) -> "keras.Model":
    """Load the file, with ``config`` in place of its own where that is given."""
    import keras

    try:
        if config is None:
            return keras.models.load_model(path, compile=False, safe_mode=not trust_code)
        with tempfile.TemporaryDirectory() as scratch:
            copy = _with_config(path, config, Path(scratch))
            return keras.models.load_model(copy, compile=False, safe_mode=not trust_code)
    except (ValueError, TypeError, AttributeError, KeyError, IndexError, NotImplementedError, ImportError) as error:
        words = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ModelError(
            "EP-117",
            f"Keras {keras.__version__} cannot load {path} (saved by {saved_by or 'an unknown version'}): "
            f"{words[0] if words else type(error).__name__}",
            hint="where it was trained, run model.export('folder'), and give edgepack the folder",
        ) from error


def _with_config(path: Path, config: Json, folder: Path) -> Path:
    """Write a copy of the model file at ``path`` with another config."""
    import h5py

    copy = folder / path.name
    text = json.dumps(config)
    if not zipfile.is_zipfile(path):
        copy = copy.with_suffix(".h5")
        shutil.copyfile(path, copy)
        copy.chmod(0o600)
        with h5py.File(copy, "r+") as file:
            file.attrs["model_config"] = text
        return copy
    copy = copy.with_suffix(".keras")
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(copy, "w") as target:
        for item in source.infolist():
            target.writestr(item.filename, text if item.filename == "config.json" else source.read(item))
    return copy


def _callable(model: "keras.Model", graph: KerasGraph, names: Sequence[str]) -> "Callable[..., dict[str, tf.Tensor]]":
    """Return a function of the inputs, in the source's order, that returns the outputs by ``names``."""

    def call(*tensors: "tf.Tensor") -> "dict[str, tf.Tensor]":
        return dict(zip(names, _ordered(model, *tensors, graph=graph), strict=True))

    return call


def _ordered(model: "Callable[..., Any]", *tensors: object, graph: KerasGraph) -> "list[tf.Tensor]":
    """Call ``model`` on ``tensors``, in the source's order of inputs, and return its outputs in the source's order."""
    keys = [name for name, _ in graph.inputs]
    inputs_by_key, outputs_by_key = graph.by_key
    structure = dict(zip(keys, tensors, strict=True)) if inputs_by_key else list(tensors)
    found = model(structure if inputs_by_key or len(tensors) > 1 else tensors[0], training=False)
    if outputs_by_key:
        return [found[name] for name, _ in graph.outputs]
    return as_list(found)
