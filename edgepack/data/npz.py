# SPDX-License-Identifier: Apache-2.0
"""``.npz``: arrays by name; those of ``np.savez`` are mapped, large ones of ``np.savez_compressed`` unpacked once."""

from pathlib import Path

from edgepack.data._arrays import split_arrays
from edgepack.data._zip_arrays import zip_members
from edgepack.data.source import Kind, Opening, Parts, refuse_pointer
from edgepack.digest import digest_file


class Npz(Kind):
    """One file with ``x`` and ``y``, or ``x_train`` and so on."""

    expects = "an .npz with x and y (or x_train, y_train, x_test, y_test; or arrays named as the model's inputs, and y)"

    @classmethod
    def usable(cls, spec: str) -> int:
        """Return 1 for a file of that suffix."""
        return int(Path(spec).suffix.lower() == ".npz" and Path(spec).is_file())

    @classmethod
    def open(cls, spec: str, opening: Opening) -> Parts:
        """Read the headers of all arrays."""
        path = Path(spec).absolute()
        refuse_pointer(path)
        members = zip_members(path, opening.work)
        return split_arrays(members, origin=spec, digest=digest_file(path), label=opening.settings.label)
