# SPDX-License-Identifier: Apache-2.0
"""The process that runs a user's data function: ``python -m edgepack.data._run_function module:function FOLDER``."""

import importlib
import sys
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from edgepack.data._spool import GrowingArray

_PAIR = 2


def main(spec: str, folder: Path) -> None:
    """Call the function and write what it returns as ``.npy`` files into ``folder``."""
    module, _, name = spec.partition(":")
    returned = getattr(importlib.import_module(module), name)()
    if isinstance(returned, Mapping):
        for key, value in returned.items():
            np.save(folder / f"{key}.npy", np.asarray(value), allow_pickle=False)
    elif isinstance(returned, tuple) and len(returned) == _PAIR:
        for key, value in zip(("x", "y"), returned, strict=True):
            np.save(folder / f"{key}.npy", np.asarray(value), allow_pickle=False)
    elif isinstance(returned, np.ndarray):
        np.save(folder / "x.npy", returned, allow_pickle=False)
    elif isinstance(returned, Iterable):
        _write_samples(returned, folder)
    else:
        raise TypeError(f"{spec} returned {type(returned).__name__}; expected a dict, (x, y) or an iterable of samples")


def _write_samples(samples: Iterable[object], folder: Path) -> None:
    with ExitStack() as stack:
        arrays: dict[str, GrowingArray] = {}
        for count, sample in enumerate(samples):
            values = _named(sample)
            if count and values.keys() != arrays.keys():
                raise ValueError(f"sample {count} has {sorted(values)}, the first {sorted(arrays)}")
            for name, value in values.items():
                if name not in arrays:
                    arrays[name] = stack.enter_context(GrowingArray(folder / f"{name}.npy"))
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
