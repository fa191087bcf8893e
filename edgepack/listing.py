# SPDX-License-Identifier: Apache-2.0
"""Names and numbers in a message or a table: the first names and how many more, each told apart, how many of a kind."""

from collections import Counter
from collections.abc import Sequence


def first_of(names: Sequence[str], most: int, *, between: str = ", ") -> str:
    """Return the first ``most`` of ``names``, and how many are left out where some are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return between.join(names[:most]) + more


def counted(count: int, one: str, many: str) -> str:
    """Return ``count`` with the word for what is counted."""
    return f"{count} {one if count == 1 else many}"


def told_apart(names: Sequence[str]) -> list[str]:
    """Return ``names`` so that no two are equal: all but the first of one name are numbered, ``w8a8 #2``."""
    seen: Counter[str] = Counter()
    found = []
    for name in names:
        seen[name] += 1
        found.append(name if seen[name] == 1 else f"{name} #{seen[name]}")
    return found
