# SPDX-License-Identifier: Apache-2.0
"""A folder of ``.npy`` files, one array each, memory-mapped: for data larger than memory."""

from pathlib import Path

from edgepack.data._arrays import npy_file, split_arrays
from edgepack.data.source import Kind, Opening, Parts, refuse_pointer
from edgepack.digest import digest_file, digest_json


class NpyFolder(Kind):
    """``x.npy`` and ``y.npy``, or ``x_train.npy`` and so on."""

    expects = "a folder with x.npy and y.npy (or x_train.npy, y_train.npy, x_test.npy, y_test.npy)"

    @classmethod
    def usable(cls, spec: str) -> int:
        """Return the number of ``.npy`` files right in the folder."""
        return sum(1 for _ in Path(spec).glob("*.npy")) if Path(spec).is_dir() else 0

    @classmethod
    def open(cls, spec: str, opening: Opening) -> Parts:
        """Read the headers of all arrays."""
        return npy_parts(Path(spec).absolute(), origin=spec, label=opening.settings.label)


def npy_parts(folder: Path, *, origin: str, label: str) -> Parts:
    """Read the headers of the ``.npy`` files in ``folder``; messages call them ``origin``.

    Raises:
        DataError: They cannot be read (EP-203), or contradict each other (EP-204).
    """
    files = sorted(folder.glob("*.npy"))
    for path in files:
        refuse_pointer(path)
    arrays = {path.stem: npy_file(path) for path in files}
    digest = digest_json([[path.name, digest_file(path)] for path in files])
    return split_arrays(arrays, origin=origin, digest=digest, label=label)
