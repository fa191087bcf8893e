# SPDX-License-Identifier: Apache-2.0
"""One thing, one file: the folder is the list. Finds the subclasses that a package's modules define."""

import importlib
import pkgutil
from collections.abc import Mapping
from difflib import get_close_matches
from inspect import isabstract, isclass
from typing import TypeVar

T = TypeVar("T")


def discover(package: str, base: type[T]) -> dict[str, type[T]]:
    """Return the one concrete ``base`` subclass that each public module of ``package`` defines, by module name.

    Modules whose name starts with ``_`` are shared code and are skipped, and so are modules that define none.

    Raises:
        TypeError: A module defines more than one.
        ImportError: A module cannot be imported; a broken plug-in is loud.
    """
    folder = importlib.import_module(package)
    found: dict[str, type[T]] = {}
    for info in sorted(pkgutil.iter_modules(folder.__path__), key=lambda item: item.name):
        if info.name.startswith("_"):
            continue
        module = importlib.import_module(f"{package}.{info.name}")
        here = [
            item
            for item in vars(module).values()
            if isclass(item)
            and issubclass(item, base)
            and item is not base
            and item.__module__ == module.__name__
            and not isabstract(item)
        ]
        if len(here) > 1:
            raise TypeError(f"{module.__name__} defines {len(here)} of {base.__name__}; one thing, one file")
        if here:
            found[info.name.replace("_", "-")] = here[0]
    return found


def nearest(name: str, known: Mapping[str, object] | set[str] | list[str]) -> str:
    """Return "did you mean ..." for the known names closest to ``name``, or the list of all when none is close."""
    close = get_close_matches(name.lower(), list(known), n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(repr(item) for item in close)}?"
    return f"known: {', '.join(sorted(known))}"
