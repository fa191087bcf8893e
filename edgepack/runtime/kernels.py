# SPDX-License-Identifier: Apache-2.0
"""Precisions that a runtime has no kernels for, told from a model's summary: before anything is lowered."""

from typing import Final

from edgepack.model.macs import WEIGHT_INPUTS
from edgepack.model.model import Format
from edgepack.model.precision import Precision
from edgepack.model.summary import Summary
from edgepack.runtime.base import Runtime

_NOT_SURE: Final = frozenset({"Embedding", "TimeDistributed"})
"""Keras layers with kernels that are looked up, or whose inner layer may be one of those."""


def without_kernels(runtime: Runtime, summary: Summary) -> dict[Precision, str]:
    """Return the precisions in which ``runtime`` refuses the model for certain, each with what it has no kernel for.

    A model that multiplies by no stored weights is the same file in them, and an integer one is taken as it is: of both
    nothing is said here, nor of one that does not tell.
    """
    kind = "" if summary.quantized else _multiplying(summary)
    return {precision: f"{kind} for {what}" for precision, what in runtime.no_kernels.items()} if kind else {}


def _multiplying(summary: Summary) -> str:
    """Return the first kind of layer or operator that multiplies by stored weights; empty where none does for sure."""
    if summary.format is Format.SAVEDMODEL:
        return "convolution" if summary.convolved_count else ""
    if summary.format is Format.TFLITE:
        kinds = [layer.kind for layer in summary.layers if summary.kernel_count and layer.kind in WEIGHT_INPUTS]
    else:
        kinds = [
            layer.kind for layer in summary.layers if layer.kernels and layer.stored and layer.kind not in _NOT_SURE
        ]
    return next(iter(kinds), "")
