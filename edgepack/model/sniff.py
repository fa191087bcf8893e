# SPDX-License-Identifier: Apache-2.0
"""What a path holds, told by its first bytes: names lie, and a wrong guess would hand a stranger's bytes to C++."""

import os
import shlex
import zipfile
from pathlib import Path

from edgepack.errors import ModelError
from edgepack.model.model import Format

HEAD_BYTES = 512
_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_LFS_MAGIC = b"version https://git-lfs.github.com/spec/"
_TFLITE_IDENTIFIER = b"TFL3"
_SMALLEST_MODEL_BYTES = 16
_EXPORT = """export it where it was trained, in three lines of Python (sample is one batch of its inputs):
    model.eval()
    names = {"input_names": ["input"], "output_names": ["output"], "dynamic_axes": {"input": {0: "batch"}}}
    torch.onnx.export(model, sample, "model.onnx", **names)
then run: edgepack check model.onnx"""
_KNOWN = "edgepack reads .keras, .h5, .tflite, .onnx and SavedModel folders"


def read_head(path: Path) -> bytes:
    """Return the first bytes of the file at ``path`` once it is clear that it can be a model at all.

    Raises:
        ModelError: It does not exist or cannot be read (EP-100), is empty or too short (EP-101), or is a Git LFS
            pointer (EP-102).
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(HEAD_BYTES)
            size_bytes = os.fstat(stream.fileno()).st_size
    except OSError as error:
        raise ModelError(
            "EP-100", f"cannot read the model {path}: {error.strerror}", hint=f"check the path: ls -l {path.parent}"
        ) from error
    if head.startswith(_LFS_MAGIC):
        raise ModelError(
            "EP-102",
            f"{path} is a Git LFS pointer of {size_bytes} bytes, not the model itself",
            hint=f"in that repository run: git lfs pull --include {path.name}",
        )
    if size_bytes < _SMALLEST_MODEL_BYTES:
        what = "is empty" if size_bytes == 0 else f"has {size_bytes} bytes, too few for any model"
        raise ModelError("EP-101", f"{path} {what}", hint="copy or export the model again and compare the file sizes")
    return head


def sniff(path: Path) -> Format:
    """Return the format of the model at ``path``, by content.

    Raises:
        ModelError: As ``read_head``; a pickle or PyTorch file (EP-103), a folder or file that holds no model that is
            known (EP-104), an archive that is cut off (EP-105).
    """
    if path.is_dir():
        return _sniff_folder(path)
    head = read_head(path)
    if head.startswith(_HDF5_MAGIC):
        return Format.H5
    if head[4:8] == _TFLITE_IDENTIFIER:
        return Format.TFLITE
    if head.startswith(b"PK\x03\x04"):
        return _sniff_zip(path)
    _refuse_pickle(path, head)
    by_name = {".tflite": Format.TFLITE, ".lite": Format.TFLITE, ".onnx": Format.ONNX}.get(path.suffix.lower())
    if by_name is not None:
        return by_name  # its reader says what is wrong with the content
    if path.suffix.lower() in {".keras", ".h5", ".hdf5"}:
        kind = "a zip archive" if path.suffix.lower() == ".keras" else "an HDF5 file"
        raise ModelError(
            "EP-105",
            f"{path} is not {kind}: it starts with {head[:8]!r}; the file is cut off or something else",
            hint="copy or save the model again and compare the file sizes",
        )
    if path.name == "saved_model.pb":
        raise ModelError(
            "EP-104",
            f"{path} is one file of a SavedModel; the model is the folder around it",
            hint=f"edgepack check {shlex.quote(str(path.parent))}",
        )
    raise ModelError("EP-104", f"{path} is no model that edgepack knows: it starts with {head[:8]!r}", hint=_KNOWN)


def _sniff_folder(path: Path) -> Format:
    if (path / "saved_model.pb").is_file():
        return Format.SAVEDMODEL
    inside = sorted(item for item in path.iterdir() if item.suffix in {".keras", ".h5", ".tflite", ".onnx"})
    deeper = sorted(item.parent for item in path.glob("*/saved_model.pb"))
    found = [*inside, *deeper]
    hint = f"give the model itself: edgepack check {shlex.quote(str(found[0]))}" if found else _KNOWN
    raise ModelError("EP-104", f"{path} is a folder without saved_model.pb, so no SavedModel", hint=hint)


def _sniff_zip(path: Path) -> Format:
    """Tell a Keras 3 archive from the other things that are zips."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile as error:
        raise ModelError(
            "EP-105",
            f"{path} is a zip archive that is cut off or damaged ({path.stat().st_size} bytes): {error}",
            hint="copy or save the model again and compare the file sizes",
        ) from error
    if any(name.endswith("/data.pkl") for name in names):
        _raise_pickle(path, "a PyTorch archive, which holds pickled code")
    configs = [name for name in names if Path(name).name == "config.json"]
    if configs == ["config.json"]:
        return Format.KERAS
    inside = [name for name in names if name.endswith((".keras", ".h5", ".tflite", ".onnx", "saved_model.pb"))]
    models = sorted({*configs, *inside} - {"model.weights.h5"})
    if len(models) > 1:
        raise ModelError(
            "EP-106",
            f"{path} holds {len(models)} models: {', '.join(models[:4])}; which one is meant cannot be told",
            hint="unpack it and give one of them",
        )
    if models:
        raise ModelError(
            "EP-104", f"{path} is a zip around {models[0]}", hint=f"unpack it and give {Path(models[0]).name}"
        )
    raise ModelError("EP-104", f"{path} is a zip archive without config.json, so no Keras model", hint=_KNOWN)


def _refuse_pickle(path: Path, head: bytes) -> None:
    if head[:1] == b"\x80" and 2 <= head[1] <= 5:  # noqa: PLR2004 - the opcode PROTO and the protocols in use
        _raise_pickle(path, "a pickle: loading it would run whatever code it holds")
    if path.suffix.lower() in {".pt", ".pth", ".pkl", ".pickle", ".joblib"}:
        _raise_pickle(path, "by its name a pickle, and loading one runs whatever code it holds")


def _raise_pickle(path: Path, what: str) -> None:
    raise ModelError(
        "EP-103",
        f"{path} is {what}; edgepack never opens one",
        hint=_EXPORT,
    )
