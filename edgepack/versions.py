# SPDX-License-Identifier: Apache-2.0
"""The versions of what shapes an artifact: part of every origin, and equal on every machine that makes one."""

import platform
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from edgepack import __version__

SHAPING: Final = (
    "tensorflow",
    "keras",
    "ai-edge-litert",
    "ai-edge-quantizer",
    "tflite-micro",
    "numpy",
    "onnx",
    "onnxruntime",
    "onnxslim",
    "tf2onnx",
)
"""Packages whose version shapes the file or the figures."""


def versions_here() -> dict[str, str]:
    """Return edgepack's version, Python's, and that of each of ``SHAPING`` that is installed."""
    found = {"edgepack": __version__, "python": platform.python_version()}
    for package in SHAPING:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def versions_there() -> Callable[[], dict[str, str]]:
    """Return a function that does as ``versions_here`` where edgepack itself may be missing.

    It is local on purpose: such a function travels by value, one of a module by its name.
    """
    packages = SHAPING

    def found() -> dict[str, str]:
        import platform
        from importlib.metadata import PackageNotFoundError, version

        versions = {"python": platform.python_version()}
        try:
            from edgepack import __version__ as own
        except ImportError:
            pass
        else:
            versions["edgepack"] = own
        for package in packages:
            try:
                versions[package] = version(package)
            except PackageNotFoundError:
                continue
        return versions

    return found


def differences(here: Mapping[str, str], there: Mapping[str, str]) -> tuple[str, ...]:
    """Return in words, package by package, what is another version ``there`` than ``here``; empty where nothing is."""
    return tuple(
        f"{package} {there.get(package, 'not installed')} instead of {here.get(package, 'none')}"
        for package in dict.fromkeys([*here, *there])
        if here.get(package) != there.get(package)
    )
