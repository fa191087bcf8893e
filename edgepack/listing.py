# SPDX-License-Identifier: Apache-2.0
"""Names in a message: the first of them, and how many more there are."""

from collections.abc import Sequence


def first_of(names: Sequence[str], most: int, *, between: str = ", ") -> str:
    """Return the first ``most`` of ``names``, and how many are left out where some are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return between.join(names[:most]) + more
