# SPDX-License-Identifier: Apache-2.0
"""The arrays that a session's processes read and fill: checked, cut into shares, written whole."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from edgepack.errors import CandidateError
from edgepack.lower.artifact import Artifact, IoTensor
from edgepack.work import whole_file

# Shares per process: enough that a core that others disturb does not hold up the end, few enough to cost nothing.
_SHARES = 6
_LEAST_ROWS = 16


def row_count(artifact: Artifact, inputs: tuple[Path, ...], rows: int | None) -> int:
    """Return the number of samples to run, after holding the arrays against the artifact's inputs.

    Raises:
        CandidateError: They do not suit it (EP-604).
    """
    if len(inputs) != len(artifact.inputs):
        raise CandidateError(
            "EP-604", f"{len(inputs)} input arrays for a model with {len(artifact.inputs)} inputs ({artifact.path})"
        )
    counts = set()
    for path, tensor in zip(inputs, artifact.inputs, strict=True):
        array = np.load(path, mmap_mode="r")
        expected = int(np.prod(tensor.shape))
        if array.ndim == 0 or int(np.prod(array.shape[1:])) != expected:
            raise CandidateError(
                "EP-604",
                f"{path} holds samples of shape {array.shape[1:]}, but input {tensor.name!r} takes {tensor.shape[1:]}",
            )
        counts.add(len(array))
    if len(counts) != 1:
        raise CandidateError("EP-604", f"the input arrays hold different numbers of samples: {sorted(counts)}")
    count = counts.pop()
    if count == 0:
        raise CandidateError("EP-604", f"{inputs[0]} holds no samples")
    return count if rows is None else min(rows, count)


def shares(count: int, processes: int) -> list[tuple[int, int]]:
    """Cut ``count`` rows into ranges: several per process, none tiny."""
    step = max(_LEAST_ROWS, -(-count // (processes * _SHARES)))
    return [(begin, min(begin + step, count)) for begin in range(0, count, step)]


def make_array(path: Path, count: int, tensor: IoTensor, *, raw: bool) -> None:
    """Make the file that the processes fill, each its own rows."""
    dtype = "float32" if tensor.scale is not None and not raw else tensor.dtype
    shape = (count, *(tensor.shape[1:] if tensor.shape[:1] == (1,) else tensor.shape))
    with path.open("wb") as stream:
        header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, header)
        # Reserved, not left as a hole: a full disk must be an error here, not a bus error in a process.
        length = int(np.prod(shape)) * np.dtype(dtype).itemsize
        if length:
            os.posix_fallocate(stream.fileno(), stream.tell(), length)


@contextmanager
def written_whole(targets: tuple[Path, ...]) -> Iterator[tuple[Path, ...]]:
    """Yield scratch paths that become ``targets`` if the block succeeds."""
    if not targets:
        yield ()
        return
    with whole_file(targets[0], lasts=False) as first, written_whole(targets[1:]) as rest:
        yield (first, *rest)
