# SPDX-License-Identifier: Apache-2.0
"""What arithmetic says of a cut is what the lowered file says: a device gains from it, or does not."""

import pytest


@pytest.mark.tf
def test_no_layer_is_judged_otherwise_than_its_lowered_file(checked):
    found = checked("contract/check_gain.py", DEVICE="stm32l4r5", EACH=12)
    assert {told for told, _ in found.values()} >= {True, False}, "both are seen"
    assert {name: told for name, (told, truth) in found.items() if told not in {None, truth}} == {}
