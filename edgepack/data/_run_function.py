# SPDX-License-Identifier: Apache-2.0
"""The process that runs a user's data function: ``python -m edgepack.data._run_function module:function FOLDER``."""

import importlib
import re
import sys
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TypeGuard

import numpy as np

from edgepack.data._spool import GrowingArray

RETURNED = "returned"
"""The empty file that tells a function that returned from one that left through ``sys.exit``."""
_PAIR = 2
_NAME = re.compile(r"[^/\\\x00.][^/\\\x00]{0,99}")
_EXPECTED = "a dict of arrays, a tuple (x, y) or an iterable of samples (x, y)"


def main(spec: str, folder: Path) -> None:
    """Call the function and write what it returns as ``.npy`` files into ``folder``; a file ``returned`` at the end."""
    module, _, name = spec.partition(":")
    returned = getattr(importlib.import_module(module), name)()
    if isinstance(returned, Mapping):
        _write_arrays({str(key): value for key, value in returned.items()}, folder)
    elif _is_pair(returned):
        _write_arrays(dict(zip(("x", "y"), returned, strict=True)), folder)
    elif isinstance(returned, np.ndarray):
        _write_arrays({"x": returned}, folder)
    elif isinstance(returned, Iterable) and not isinstance(returned, (str, bytes, tuple)):
        _write_samples(returned, folder)
    else:
        raise TypeError(f"{spec} returned {type(returned).__name__}; expected {_EXPECTED}")
    (folder / RETURNED).touch()


def _is_pair(returned: object) -> TypeGuard[tuple[object, object]]:
    """Tell ``(x, y)`` from what looks like it: a list of both, and Keras' pair of pairs, are refused by name."""
    if not isinstance(returned, (tuple, list)) or len(returned) != _PAIR:
        return False
    if all(isinstance(item, (tuple, list)) and len(item) == _PAIR for item in returned):
        raise TypeError(
            "it returned ((x, y), (x, y)); expected {'x_train': ..., 'y_train': ..., 'x_test': ..., 'y_test': ...}"
        )
    if isinstance(returned, list):
        raise TypeError(f"it returned a list of two; expected the tuple (x, y), or {_EXPECTED}")
    return True


def _write_arrays(arrays: Mapping[str, object], folder: Path) -> None:
    for key, value in arrays.items():
        np.save(_file(folder, key), np.asarray(value), allow_pickle=False)


def _file(folder: Path, name: str) -> Path:
    """Return the file of the array ``name``, which must not lead elsewhere."""
    if _NAME.fullmatch(name) is None:
        raise ValueError(f"it named an array {name!r}; expected a plain name without / and no leading dot")
    return folder / f"{name}.npy"


def _write_samples(samples: Iterable[object], folder: Path) -> None:
    with ExitStack() as stack:
        arrays: dict[str, GrowingArray] = {}
        for count, sample in enumerate(samples):
            values = _named(sample)
            if count and values.keys() != arrays.keys():
                raise ValueError(f"sample {count} has {sorted(values)}, the first {sorted(arrays)}")
            for name, value in values.items():
                if name not in arrays:
                    arrays[name] = stack.enter_context(GrowingArray(_file(folder, name)))
                arrays[name].append(value)


def _named(sample: object) -> dict[str, np.ndarray]:
    """Return the arrays of one sample by name."""
    pair = isinstance(sample, tuple) and len(sample) == _PAIR
    inputs, label = sample if isinstance(sample, tuple) and pair else (sample, None)
    named = dict(inputs) if isinstance(inputs, Mapping) else {"x": inputs}
    if pair:
        named["y"] = label
    return {str(name): np.asarray(value) for name, value in named.items()}


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
