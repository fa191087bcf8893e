# SPDX-License-Identifier: Apache-2.0
"""The environment that worker processes begin with: what would change the last bits of a sum is set before they do."""

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

_POOLS = (
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
)
_FRAMEWORKS: Final[Mapping[str, str | None]] = {
    "KERAS_BACKEND": "tensorflow",
    "TF_ENABLE_ONEDNN_OPTS": None,
    "TF_USE_LEGACY_KERAS": None,
    "TF_XLA_FLAGS": None,
}
"""What a user may have set for other programs, and would change what is built here; None leaves it to TensorFlow."""
_starting = threading.Lock()


def environment() -> dict[str, str]:
    """Return the environment of this process, as it is while no other thread starts a worker."""
    with _starting:
        return dict(os.environ)


@contextmanager
def environment_with(threads: int | None, home: str) -> Iterator[None]:
    """Have a process that is started in the block find what decides the last bits of a sum in its environment.

    Later is too late: NumPy, TensorFlow and Keras read it when they are loaded, and the caller's main module, which a
    spawned process loads first, may do that. How many threads add up is part of it, and so is the ``home`` of Keras:
    defaults of the user's own (where channels lie, the type of floats) must not change what is built.
    """
    wanted = {**_FRAMEWORKS, "KERAS_HOME": home}
    if threads is not None:
        wanted |= dict.fromkeys(_POOLS, str(threads))
    with _starting:
        before = {name: os.environ.get(name) for name in wanted}
        try:
            _set(wanted)
            yield
        finally:
            _set(before)


def _set(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
