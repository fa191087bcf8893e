# SPDX-License-Identifier: Apache-2.0
"""Whether a graph can be imported, as far as that is known without Keras."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from edgepack.importer.prepare import prepare
from edgepack.importer.refusals import without_counterpart

if TYPE_CHECKING:
    import onnx


def check_importable(model: "onnx.ModelProto", *, shapes: Mapping[str, tuple[int, ...]], where: str) -> None:
    """Refuse ``model`` where its operators, their options, the constants and the shapes tell already.

    Raises:
        ModelError: An operator has no counterpart (EP-140); else as ``prepare``.
    """
    from edgepack.importer._obstacles import find_obstacles

    with without_counterpart(where):
        find_obstacles(prepare(model, shapes=shapes, where=where), where=where)
