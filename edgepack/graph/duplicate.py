# SPDX-License-Identifier: Apache-2.0
"""A new graph like another: the same layers with values of their own. Worker process only."""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from edgepack.model.flat import again, copy_weights, rebuild

if TYPE_CHECKING:
    import keras
    from keras import Operation

Pairs = Iterable[tuple["Operation", "Operation"]]


def duplicate(
    net: "keras.Model",
    changes: "Callable[[Operation], Mapping[str, object]] | None" = None,
    *,
    copy: Callable[[Pairs], None] = copy_weights,
) -> "keras.Model":
    """Return a new graph like ``net``, a flat one, with the same values.

    Args:
        net: Not changed.
        changes: To the configuration of each operation; None: to none.
        copy: Carries the values of each pair's first operation over to its second.
    """
    pairs: list[tuple[Operation, Operation]] = []

    def make(operation: "Operation") -> "Operation":
        made = again(operation, **({} if changes is None else changes(operation)))
        pairs.append((operation, made))
        return made

    new = rebuild(net, make)
    copy(pairs)
    return new
