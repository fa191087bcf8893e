# SPDX-License-Identifier: Apache-2.0
"""Open a ``.keras`` archive or a Keras ``.h5`` file: its JSON and its weights, by layer, without Keras."""

import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgepack.errors import ModelError
from edgepack.model.keras_config import MODEL_KINDS, Json, KerasLayer, mapping

if TYPE_CHECKING:
    import h5py
    import numpy as np

_COPY_AGAIN = "copy or save the model again and compare the file sizes"
_LIMIT_BYTES: Final = 8 << 30
# Keras 3 numbers a layer's weights; these are their names, in that order.
_WEIGHT_NAMES: Final[dict[str, tuple[str, ...]]] = {
    "BatchNormalization": ("gamma", "beta", "moving_mean", "moving_variance"),
    "LayerNormalization": ("gamma", "beta"),
    "Embedding": ("embeddings",),
    "SeparableConv2D": ("depthwise_kernel", "pointwise_kernel", "bias"),
    **dict.fromkeys(("LSTM", "GRU", "SimpleRNN"), ("kernel", "recurrent_kernel", "bias")),
}


@dataclass(frozen=True, slots=True)
class KerasWeight:
    """One weight in a file that is open: ``read`` reads it.

    Attributes:
        layer: The layer that owns it, one of a nested model as ``inner/dense``.
        name: ``kernel``, ``bias``...
        dataset: The HDF5 data set.
    """

    layer: str
    name: str
    dataset: "h5py.Dataset"

    @property
    def shape(self) -> tuple[int, ...]:
        """Dimensions."""
        return tuple(int(size) for size in self.dataset.shape)

    @property
    def n_bytes(self) -> int:
        """Bytes of the values."""
        return int(self.dataset.size) * int(self.dataset.dtype.itemsize)

    def read(self) -> "np.ndarray":
        """Read the values."""
        values: np.ndarray = self.dataset[()]
        return values


@dataclass(frozen=True, slots=True)
class KerasFile:
    """An open model file.

    Attributes:
        saved_by: ``Keras 2.21.0``, or an empty string.
        config: ``{"class_name": ..., "config": ...}``.
        loss: What it was compiled with, as Keras serializes it; None where it was not compiled.
    """

    saved_by: str
    config: Json
    loss: Json
    _group: "h5py.Group"
    _is_archive: bool

    def weights(self, layers: Mapping[str, KerasLayer]) -> Iterator[KerasWeight]:
        """Yield all weights, grouped by layer; ``layers`` by label says which class each is of."""
        walk = _archive_weights(self._group, (), layers) if self._is_archive else _h5_weights(self._group, layers)
        yield from walk


@contextmanager
def open_keras(path: Path) -> Iterator[KerasFile]:
    """Open the file at ``path``; weights can be read until the block ends.

    Raises:
        ModelError: It is cut off or damaged (EP-105), or holds weights without a model (EP-109).
    """
    import h5py

    is_archive = zipfile.is_zipfile(path)
    try:
        if is_archive:
            with zipfile.ZipFile(path) as archive, h5py.File(_member(archive, path), "r") as weights:
                yield _read_archive(archive, weights, path)
        else:
            with h5py.File(path, "r") as file:
                yield _read_h5(file, path)
    except zipfile.BadZipFile as error:
        raise ModelError("EP-105", f"{path} is cut off or damaged: {error}", hint=_COPY_AGAIN) from error
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        # h5py reports damage with all four, and with the HDF5 library's own words.
        what = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError("EP-105", f"{path} is cut off or damaged: {what}", hint=_COPY_AGAIN) from error


def _member(archive: zipfile.ZipFile, path: Path) -> io.BytesIO:
    names = [name for name in archive.namelist() if name == "model.weights.h5"]
    if len(names) != 1:
        raise ModelError(
            "EP-105", f"{path} holds {len(names)} model.weights.h5 where one is expected", hint=_COPY_AGAIN
        )
    size_bytes = archive.getinfo(names[0]).file_size
    if size_bytes > _LIMIT_BYTES:
        raise ModelError("EP-105", f"{path} says that its weights take {size_bytes:,} bytes", hint=_COPY_AGAIN)
    return io.BytesIO(archive.read(names[0]))


def _read_archive(archive: zipfile.ZipFile, weights: "h5py.File", path: Path) -> KerasFile:
    config = _json(archive.read("config.json"), f"config.json in {path}")
    metadata = (
        _json(archive.read("metadata.json"), f"metadata.json in {path}")
        if "metadata.json" in archive.namelist()
        else {}
    )
    version = str(mapping(metadata).get("keras_version", ""))
    loss = mapping(mapping(config).get("compile_config")).get("loss")
    return KerasFile(_saved_by(version), config, loss, weights, True)  # noqa: FBT003 - a private field


def _read_h5(file: "h5py.File", path: Path) -> KerasFile:
    raw = file.attrs.get("model_config")
    if raw is None:
        raise ModelError(
            "EP-109",
            f"{path} holds no model: an HDF5 file without model_config, weights alone perhaps",
            hint="save the whole model, not its weights: model.save('model.keras')",
        )
    version = _text(file.attrs.get("keras_version", ""))
    group = file.get("model_weights", file)
    training = file.attrs.get("training_config")
    loss = None if training is None else mapping(_json(training, f"training_config in {path}")).get("loss")
    return KerasFile(_saved_by(version), _json(raw, f"model_config in {path}"), loss, group, False)  # noqa: FBT003


def _saved_by(version: str) -> str:
    return f"Keras {version}" if version else ""


def _text(raw: "str | bytes") -> str:
    return raw.decode(errors="replace") if isinstance(raw, bytes) else str(raw)


def _json(raw: "str | bytes", where: str) -> Json:
    try:
        found: Json = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ModelError("EP-105", f"{where} is no JSON: {error}", hint=_COPY_AGAIN) from error
    return found


def _hard(group: "h5py.Group", key: str) -> "h5py.Group | h5py.Dataset":
    """Return what is stored under ``key`` in this very file: a link could name any file of this machine."""
    import h5py

    link = group.get(key, getlink=True)
    item = group[key] if isinstance(link, h5py.HardLink) else None
    if item is None or (isinstance(item, h5py.Dataset) and item.external):
        raise ModelError(
            "EP-105",
            f"weight {group.name}/{key} is a link to another file, which edgepack does not follow",
            hint="save the model again, with its weights inside",
        )
    return item


def _archive_weights(
    group: "h5py.Group", owner: tuple[str, ...], layers: Mapping[str, KerasLayer]
) -> Iterator[KerasWeight]:
    """Walk ``layers/dense/vars/0``; the group ``vars`` notes the layer's own name (``dense`` is but its class)."""
    import h5py

    for key in group:
        if group.name == "/" and key == "optimizer":
            continue  # the training's state beside the model, two slots a weight
        item = _hard(group, key)
        if isinstance(item, h5py.Dataset):
            label = "/".join(owner)
            kind = layers[label].kind if label in layers else ""
            names = _WEIGHT_NAMES.get(kind, ("kernel", "bias"))
            name = names[int(key)] if key.isdigit() and int(key) < len(names) else key
            yield KerasWeight(label, name, item)
        elif group.name.rsplit("/", 1)[-1] == "layers":
            vars_group = item.get("vars")
            own = None if vars_group is None else vars_group.attrs.get("name")
            yield from _archive_weights(item, (*owner, key if own is None else _text(own)), layers)
        else:
            yield from _archive_weights(item, owner, layers)


def _h5_weights(group: "h5py.Group", layers: Mapping[str, KerasLayer]) -> Iterator[KerasWeight]:
    """Walk ``dense/dense/kernel:0``; a nested model's weights are named after its own layers."""
    for layer in _names(group, "layer_names"):
        holder = _hard(group, layer) if "/" not in layer else group[layer]
        for name in _names(holder, "weight_names"):
            parts = name.split("/")
            label = _owner(layer, parts[:-1], layers)
            dataset = holder
            for part in parts:
                dataset = _hard(dataset, part)
            yield KerasWeight(label, parts[-1].split(":")[0], dataset)


def _owner(layer: str, path: list[str], layers: Mapping[str, KerasLayer]) -> str:
    """Return whose weight ``path`` names: of a nested model it is ``in`` (Keras 2) or ``inner/in`` (Keras 3)."""
    if layer in layers and layers[layer].kind in MODEL_KINDS:
        tails = ("/".join(path[start:]) for start in range(len(path)))
        return next((f"{layer}/{tail}" for tail in tails if f"{layer}/{tail}" in layers), layer)
    return layer


def _names(holder: "h5py.Group", key: str) -> list[str]:
    """Return a list attribute; Keras splits one that is over 64 KB into ``key0``, ``key1``..."""
    if key in holder.attrs:
        return [_text(name) for name in holder.attrs[key]]
    found: list[str] = []
    number = 0
    while f"{key}{number}" in holder.attrs:
        found += [_text(name) for name in holder.attrs[f"{key}{number}"]]
        number += 1
    return found
