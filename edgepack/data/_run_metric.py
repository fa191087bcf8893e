# SPDX-License-Identifier: Apache-2.0
"""The process that runs a user's metric: ``python -m edgepack.data._run_metric module:function``, warm over calls.

Each call on standard input: the number of arrays, then each as its length and its ``.npy`` bytes; outputs first, the
labels last. Each answer: one line of JSON with ``value`` or ``error``. What the user's code prints in its first call
goes to standard error, because standard output carries the answers; the thousands of calls of a bootstrap say the same
and are silent.
"""

import importlib
import io
import json
import os
import signal
import struct
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import IO

import numpy as np

from edgepack.arrays import Array

_LENGTH = struct.Struct("<Q")


def send(stream: IO[bytes], arrays: list[Array]) -> None:
    """Write one call."""
    stream.write(_LENGTH.pack(len(arrays)))
    for array in arrays:
        held = io.BytesIO()
        np.save(held, array, allow_pickle=False)
        stream.write(_LENGTH.pack(held.tell()))
        stream.write(held.getbuffer())
    stream.flush()


def receive(stream: IO[bytes]) -> list[Array] | None:
    """Read one call; None at the end of the stream."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (count,) = _LENGTH.unpack(head)
    arrays = []
    for _ in range(count):
        (length,) = _LENGTH.unpack(stream.read(_LENGTH.size))
        arrays.append(np.load(io.BytesIO(stream.read(length)), allow_pickle=False))
    return arrays


def main(spec: str) -> None:
    """Answer calls until the stream ends."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the parent's, at whose end the stream ends
        signal.signal(number, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    module, _, name = spec.partition(":")

    def call(arrays: list[Array]) -> float:
        function: Callable[[list[Array], Array], object] = getattr(importlib.import_module(module), name)
        return _number(function(arrays[:-1], arrays[-1]))

    with ThreadPoolExecutor(1) as pool:
        while (arrays := receive(sys.stdin.buffer)) is not None:
            done = pool.submit(call, arrays)  # a future keeps whatever is raised, SystemExit too
            error = done.exception()
            if error is not None:
                traceback.print_exception(error)
            said = {"value": done.result()} if error is None else {"error": f"{type(error).__name__}: {error}"}
            answers.write(json.dumps(said) + "\n")
            answers.flush()
            _silence()


def _silence() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    os.close(nowhere)


def _number(value: object) -> float:
    """Return the score as Python's number: also of an array or a tensor of one value."""
    return float(np.asarray(value).reshape(()).item())


if __name__ == "__main__":
    main(sys.argv[1])
