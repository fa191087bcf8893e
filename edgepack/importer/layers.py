# SPDX-License-Identifier: Apache-2.0
"""The layers of edgepack's own that an imported graph may hold."""

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras


@cache
def import_layers() -> "Mapping[str, type[keras.layers.Layer]]":
    """Return them by name; Keras finds them in files from the first call on."""
    from edgepack.importer._layers import LAYERS

    return LAYERS
