# SPDX-License-Identifier: Apache-2.0
"""Arrays on disk as samples: memory-mapped where the file allows it, whether a ``.npy`` or a stored zip member."""

import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from edgepack.arrays import Array
from edgepack.data.source import BROKEN, Parts, Read, Source, class_numbers, unreadable
from edgepack.digest import digest_json
from edgepack.errors import DataError
from edgepack.registry import nearest

_SUFFIXES = {"_train": "train", "_val": "select", "_test": "test"}
_CLASS_ARRAYS = ("classes", "class_names")


@dataclass(frozen=True, slots=True)
class ArrayFile:
    """One array on disk.

    Attributes:
        path: The ``.npy`` or ``.npz`` file.
        member: Name inside the ``.npz``; empty for a ``.npy``.
        offset: Byte at which the values start; None where they are compressed and cannot be mapped.
    """

    path: Path
    member: str
    offset: int | None
    shape: tuple[int, ...]
    dtype: str
    fortran: bool

    def open(self) -> Array:
        """Return the array: a read-only map, or its values where it is compressed, empty or a scalar."""
        if self.offset is not None and self.shape and 0 not in self.shape:
            dtype: np.dtype[np.generic] = np.dtype(self.dtype)
            if self.fortran:
                return np.memmap(self.path, dtype, "r", self.offset, self.shape, "F")
            return np.memmap(self.path, dtype, "r", self.offset, self.shape)
        try:
            if not self.member:
                return np.asarray(np.load(self.path, allow_pickle=False))
            with zipfile.ZipFile(self.path) as archive, archive.open(self.member) as stream:
                return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))
        except (*BROKEN, OSError) as error:
            raise unreadable(f"{self.member or self.path.name} of {self.path}", str(error)) from error


def npy_file(path: Path) -> ArrayFile:
    """Read the header of a ``.npy``.

    Raises:
        DataError: It is no whole ``.npy``, or holds Python objects (EP-203).
    """
    try:
        with path.open("rb") as stream:
            found = read_header(stream, path, "")
    except BROKEN as error:
        raise unreadable(str(path), str(error)) from error
    return whole(found, path.stat().st_size)


def read_header(stream: IO[bytes], path: Path, member: str) -> ArrayFile:
    """Read the header of a ``.npy`` at the place where ``stream`` stands.

    Raises:
        DataError: It holds Python objects (EP-203).
        ValueError: It is none.
    """
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    elif version == (2, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(stream)
    else:
        raise ValueError(f"{member or path.name} has npy version {version}; 1.0 and 2.0 are read")
    if dtype.hasobject:
        raise DataError(
            "EP-203",
            f"{member or path.name} of {path} holds pickled Python objects, which could run code",
            hint="store plain numbers: np.stack the samples, then save again",
        )
    return ArrayFile(path, member, stream.tell(), shape, dtype.str, fortran)


def whole(found: ArrayFile, end: int) -> ArrayFile:
    """Return ``found`` if the values that its header claims end before byte ``end``.

    Raises:
        DataError: They do not, or it claims a size that no array has (EP-203).
    """
    where = f"{found.member or found.path.name} of {found.path}"
    if any(size < 0 for size in found.shape):
        raise unreadable(where, f"it claims the shape {found.shape}")
    needed = math.prod(found.shape) * np.dtype(found.dtype).itemsize
    if (found.offset or 0) + needed > end:
        raise unreadable(where, f"it ends after {end - (found.offset or 0)} of {needed} bytes")
    return found


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ArraySource(Source):
    """Samples along the first axis of one or more arrays.

    Attributes:
        arrays: All arrays with one row a sample, by name without ``_train`` or ``_test``.
        suffix: What the names end with on disk.
    """

    arrays: dict[str, ArrayFile]
    suffix: str = ""

    @contextmanager
    def reader(self, names: tuple[str, ...]) -> Iterator[Read]:
        """Map the arrays; only the rows that are asked for are read."""
        opened = [self.arrays[name].open() for name in names]
        yield lambda index: tuple(array[index] for array in opened)

    def sample_name(self, index: int) -> str:
        """Return ``x[17]``."""
        return f"{self.inputs[0]}{self.suffix}[{index}]"

    def groups(self, key: str) -> NDArray[np.str_]:
        """Return the values of the array ``key``."""
        if key not in self.arrays:
            known = [name for name, array in self.arrays.items() if len(array.shape) == 1]
            raise DataError(
                "EP-212",
                f"--group-by {key}: {self.origin} has no array {key}{self.suffix} with one value a sample",
                hint=nearest(key, known) if known else "store the group of each sample as an array beside x and y",
            )
        return self.arrays[key].open().reshape(self.count).astype(np.str_)


def split_arrays(arrays: dict[str, ArrayFile], *, origin: str, digest: str, label: str) -> Parts:
    """Sort arrays named ``x``, ``y`` or ``x_train``, ``y_train``, ``x_test``, ``y_test`` into sources.

    Raises:
        DataError: No input array, or lengths that contradict each other (EP-204).
    """
    parted: dict[str, dict[str, ArrayFile]] = {}
    common = {name: array for name, array in arrays.items() if not name.endswith(tuple(_SUFFIXES))}
    for name, array in arrays.items():
        suffix = next((item for item in _SUFFIXES if name.endswith(item)), None)
        if suffix is not None:
            parted.setdefault(suffix, {})[name.removesuffix(suffix)] = array
    names = next((_names(common[name]) for name in _CLASS_ARRAYS if name in common), ())
    if not parted or any(name in common for name in ("x", label)):
        return {"all": _source(arrays, origin=origin, digest=digest, label=label, suffix="", names=names)}
    return {
        _SUFFIXES[suffix]: _source(part, origin=origin, digest=digest, label=label, suffix=suffix, names=names)
        for suffix, part in parted.items()
    }


def _source(
    arrays: dict[str, ArrayFile], *, origin: str, digest: str, label: str, suffix: str, names: tuple[str, ...]
) -> ArraySource:
    rows = {name: array for name, array in arrays.items() if array.shape}
    main = rows.get(label) or rows.get("x") or next((item for item in rows.values() if _numeric(item)), None)
    count = 0 if main is None else main.shape[0]
    if "x" in rows and rows["x"].shape[0] != count:
        raise DataError(
            "EP-204",
            f"{origin}: x{suffix} has {rows['x'].shape[0]} samples and {label}{suffix} has {count} labels",
            hint="store one label for each sample, in the same order",
        )
    fitting = {name: array for name, array in rows.items() if array.shape[0] == count}
    inputs = tuple(name for name, array in fitting.items() if name != label and _numeric(array))
    if not inputs or not count:
        held = ", ".join(f"{name} {array.shape}" for name, array in sorted(arrays.items())) or "no arrays"
        raise DataError(
            "EP-204",
            f"{origin} has no input samples: it holds {held}",
            hint=f"name the samples x (or as the model's inputs) and the labels {label}, one row a sample",
        )
    labels, own = (None, ()) if label not in fitting else _labels(fitting[label].open(), f"{label}{suffix} of {origin}")
    return ArraySource(
        origin=f"{origin} ({suffix.removeprefix('_')})" if suffix else origin,
        digest=digest_json([digest, suffix, label]),
        count=count,
        inputs=("x", *(name for name in inputs if name != "x")) if "x" in inputs else inputs,
        labels=labels,
        class_names=own or names,
        notes=_quirks(arrays, origin),
        arrays=fitting,
        suffix=suffix,
    )


def _numeric(array: ArrayFile) -> bool:
    return bool(array.shape) and np.dtype(array.dtype).kind in "biuf"


def _names(array: ArrayFile) -> tuple[str, ...]:
    return tuple(str(name) for name in array.open().reshape(-1)) if np.dtype(array.dtype).kind == "U" else ()


def _labels(raw: Array, where: str) -> tuple[Array, tuple[str, ...]]:
    """Return labels as int64, float32, or numbers of sorted names with those names."""
    if raw.dtype.kind in "US":
        return class_numbers([str(name) for name in raw.reshape(-1).astype(np.str_)])
    if raw.dtype.kind not in "biuf":
        raise DataError("EP-204", f"{where} has type {raw.dtype}; labels are numbers or names")
    if raw.dtype.kind == "f" and not np.isfinite(raw).all():
        row = int(np.argwhere(~np.isfinite(raw))[0][0])
        raise DataError("EP-206", f"{where} is not finite in row {row}", hint="remove the sample or give it a label")
    kind = np.float32 if raw.dtype.kind == "f" else np.int64
    return np.ascontiguousarray(raw, kind), ()


def _quirks(arrays: dict[str, ArrayFile], origin: str) -> tuple[str, ...]:
    """Say that integers beside a scale and a zero point look quantized, and what would make them real values."""
    sample = arrays.get("x")
    if sample is None or np.dtype(sample.dtype).kind != "i" or not {"scale", "zero_point"} <= set(arrays):
        return ()
    scale, zero = float(arrays["scale"].open().item()), float(arrays["zero_point"].open().item())
    note = (
        f"{origin} carries scale and zero_point beside integers, and x is read as it is; if the model takes real "
        f"values, put into data.yaml: preprocess: {{scale: {scale!r}, mean: {zero * scale!r}}}"
    )
    return (note,)
