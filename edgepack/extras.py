# SPDX-License-Identifier: Apache-2.0
"""Which of edgepack's extras are installed, asked without importing anything heavy."""

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from edgepack.errors import HostError

REPORT = "plotly"
ONNX = ("onnx", "onnxruntime", "onnxslim")
LOWER_ONNX = (*ONNX, "tf2onnx")
BUILD = ("tensorflow", "keras", "ai-edge-litert", "ai-edge-quantizer")


def require_build_extra() -> None:
    """Refuse to start a build where a package that converts or runs models is missing.

    Raises:
        HostError: One is not installed (EP-504).
    """
    _require(
        BUILD,
        "build needs {}, which the light core does not bring",
        hint="pip install 'edgepack[all]' (from a checkout: pip install '.[all]'); check works without",
    )


def require_onnx_extra() -> None:
    """Refuse to start a build from ONNX where a package that imports or checks it is missing.

    Raises:
        HostError: One is not installed (EP-504).
    """
    _require(
        ONNX,
        "building from ONNX needs {}, which is not installed",
        hint=f"{GET_ONNX}; check needs onnx alone",
    )


def missing_for_onnx() -> tuple[str, ...]:
    """Return which packages that make and run ONNX files are not installed."""
    return tuple(package for package in LOWER_ONNX if not _installed(package))


def has_onnx_extra() -> bool:
    """Whether what imports an ONNX graph, Keras aside, is installed."""
    return all(map(_installed, ONNX))


def has_report_extra() -> bool:
    """Whether report.html can be drawn."""
    return _installed(REPORT)


def require_report_extra() -> None:
    """Refuse to draw report.html where the package that draws it is missing.

    Raises:
        HostError: It is not installed (EP-504).
    """
    if not has_report_extra():
        raise HostError("EP-504", f"report.html is drawn with {REPORT}, which is not installed", hint=GET_REPORT)


GET_ONNX = "pip install 'edgepack[onnx]' (from a checkout: pip install '.[onnx]')"
GET_REPORT = "pip install 'edgepack[report]' (from a checkout: pip install '.[report]')"


def not_importable(purpose: str, package: str, error: ImportError, *, extra: str = "build") -> HostError:
    """Return the error for a package of ``extra`` that is missing or broken where ``purpose`` needs it."""
    return HostError(
        "EP-504",
        f"{purpose} needs {package}, which cannot be imported here: {error}",
        hint=f"pip install 'edgepack[{extra}]'",
    )


def _require(packages: Sequence[str], words: str, *, hint: str) -> None:
    """Refuse where one of ``packages`` is missing, in ``words`` around the names of those that are."""
    missing = [package for package in packages if not _installed(package)]
    if missing:
        raise HostError("EP-504", words.format(", ".join(missing)), hint=hint)


def _installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True
