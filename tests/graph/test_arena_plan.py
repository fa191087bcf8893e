# SPDX-License-Identifier: Apache-2.0
"""The planner's copy against what TFLM itself allocated."""

import pytest

from edgepack.graph._arena_plan import planned_bytes

# A residual net on 32 x 32 maps: input, stem, inner, outer, sum; two convolutions, a shortcut and a sum on 16 x 16.
LIVES = ((0, 0), (0, 3), (1, 2), (2, 3), (3, 6), (4, 5), (5, 7), (6, 7), (7, 10), (8, 9), (9, 11), (10, 11), (11, 12))


def sizes(stem, inner):
    """Bytes of each tensor with ``stem`` and ``inner`` channels."""
    maps = [3, stem, inner, stem, stem]
    return [1024 * channels for channels in maps] + [8192] * 4 + [4096] * 4


# Heads as tflite-micro's recording allocator printed them for the int8 files of these widths.
@pytest.mark.parametrize(
    ("stem", "inner", "head"),
    [(16, 16, 49152), (12, 12, 36864), (12, 8, 36864), (11, 12, 34816), (8, 12, 40960), (8, 16, 40960), (4, 12, 25600)],
)
def test_the_plan_is_that_of_tflm(stem, inner, head):
    narrow = sizes(stem, inner)
    if stem == 4:  # this one's second stage had 28 channels
        narrow[5:9] = [7168] * 4
    assert planned_bytes(narrow, LIVES) == head


def test_a_gap_is_used_only_by_what_fits_and_is_not_alive_with_its_neighbours():
    assert planned_bytes([100, 50, 50], [(0, 1), (1, 2), (2, 3)]) == 150
    assert planned_bytes([100, 50, 120], [(0, 1), (1, 2), (2, 3)]) == 170
    assert planned_bytes([], []) == 0
