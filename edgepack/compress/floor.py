# SPDX-License-Identifier: Apache-2.0
"""The floor: how far a search goes at most. Steps that it proposes stop there, and bounds of what it can reach start.

A recipe that a user names may go further: a student of a given width, blocks that are dropped, pruning twice.
"""

from typing import Final

CHANNELS: Final = 0.25
"""Share of its channels that each layer keeps at least."""
RESOLUTION: Final = 0.5
"""Share of an input's height and width, or length, that is looked at, at least."""
RANK: Final = 1
"""Of a layer that is cut in two, at least."""
BITS: Final = 4
"""Of a weight at least, where the runtime computes 8-bit integers."""


def floor_words() -> str:
    """Return the floor as messages name it."""
    share = f"{CHANNELS:.0%} of the channels (rank {RANK} of a layer cut in two)"
    return f"{share}, {RESOLUTION:.0%} of the input's resolution and {BITS} bits a weight"
