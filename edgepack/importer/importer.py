# SPDX-License-Identifier: Apache-2.0
"""Build the Keras graph that computes what an ONNX graph does. Imports Keras: worker process only."""

from typing import TYPE_CHECKING

from edgepack.importer.imported import Imported

if TYPE_CHECKING:
    import onnx


def import_onnx(model: "onnx.ModelProto", *, where: str) -> Imported:
    """Return ``model`` as a trainable Keras 3 functional graph, its channels last.

    Args:
        model: What ``prepare`` gave.
        where: The source, for messages.

    Raises:
        ModelError: Operators have no counterpart, all of them named (EP-140); the graph is at odds with itself
            (EP-142).
    """
    from edgepack.importer._walk import walk

    return walk(model, where=where)
