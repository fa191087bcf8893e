# SPDX-License-Identifier: Apache-2.0
"""Simplify an ONNX graph with onnxslim, which raises whatever stopped it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgepack.importer.refusals import of_tools

if TYPE_CHECKING:
    import onnx


def slimmed(model: "onnx.ModelProto", *, kept_apart: Sequence[str] = ()) -> "onnx.ModelProto":
    """Return ``model`` simplified, the fusions called ``kept_apart`` left out.

    Raises:
        ValueError: onnxslim fails on it, in its first words.
    """
    import onnxslim

    try:
        found: onnx.ModelProto = onnxslim.slim(model, skip_fusion_patterns=list(kept_apart) or None)
    except of_tools() as error:
        words = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ValueError(words) from error
    return found
