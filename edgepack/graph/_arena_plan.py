# SPDX-License-Identifier: Apache-2.0
"""How large an arena TFLM plans for tensors of given sizes and lifetimes.

The same algorithm, ties included, as ``GreedyMemoryPlanner`` of
https://github.com/tensorflow/tflite-micro/blob/main/tensorflow/lite/micro/memory_planner/greedy_memory_planner.cc: the
largest tensor first, each into the first gap between those that are alive with it. It may leave gaps that nothing fits
into, so that a narrower graph now and then takes a larger arena.
"""

from bisect import insort
from collections.abc import Sequence


def planned_bytes(sizes: Sequence[int], lives: Sequence[tuple[int, int]]) -> int:
    """Return the end of the last tensor in the arena.

    Args:
        sizes: Bytes of each tensor, in the order of the file.
        lives: The first and the last operator that touches each, both included.
    """
    # The planner lists tensors backwards before it sorts them by size, and its sort is stable.
    order = sorted(range(len(sizes)), key=lambda number: (-sizes[number], -number))
    placed: list[tuple[int, int]] = []  # offset and number, by offset
    end = 0
    for number in order:
        first, last = lives[number]
        offset = 0
        for other_offset, other in placed:
            if lives[other][0] > last or lives[other][1] < first:
                continue
            if other_offset - offset >= sizes[number]:
                break
            offset = max(offset, other_offset + sizes[other])
        insort(placed, (offset, number))
        end = max(end, offset + sizes[number])
    return end
