# SPDX-License-Identifier: Apache-2.0
"""Quantities are read with their unit or not at all."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepack.device import units
from edgepack.errors import ProfileError


@pytest.mark.parametrize(
    ("reader", "text", "value"),
    [
        (units.parse_size, "256KiB", 262144),
        (units.parse_size, "256KB", 256000),
        (units.parse_size, "1MB", 1000000),
        (units.parse_size, "1.5MiB", 1572864),
        (units.parse_size, "2.3KB", 2300),
        (units.parse_size, "1.9MiB", 1992294),
        (units.parse_size, "0.3KiB", 307),
        (units.parse_size, " 64 KiB ", 65536),
        (units.parse_size, "0B", 0),
        (units.parse_duration, "20ms", 20.0),
        (units.parse_duration, "5s", 5000.0),
        (units.parse_duration, "800us", 0.8),
        (units.parse_duration, "2h", 7200000.0),
        (units.parse_energy, "3mJ", 3.0),
        (units.parse_fraction, "1%", 0.01),
        (units.parse_fraction, "0.01", 0.01),
        (units.parse_fraction, "0", 0.0),
        (units.parse_fraction, "1.0", 1.0),
    ],
)
def test_a_quantity_is_read(reader, text, value):
    assert reader(text, "--x") == value


@pytest.mark.parametrize(
    ("reader", "text", "code", "words"),
    [
        (units.parse_size, "256m", "EP-311", "m is milli, did you mean 256MiB?"),
        (units.parse_size, "3mb", "EP-311", "m is milli, did you mean 3MB?"),
        (units.parse_size, "256k", "EP-311", "did you mean 256KiB?"),
        (units.parse_size, "256kb", "EP-311", "did you mean 256KB?"),
        (units.parse_size, "2048", "EP-310", "'2048' has no unit: did you mean 2048KiB or 2048MiB?"),
        (units.parse_size, "-5KiB", "EP-312", "negative"),
        (units.parse_size, "1e3KiB", "EP-313", "'1e3KiB' is not a size"),
        (units.parse_size, "", "EP-313", "is not a size"),
        (units.parse_size, "KiB", "EP-313", "is not a size"),
        (units.parse_size, "9" * 5000 + "B", "EP-313", "9..."),
        (units.parse_duration, "20", "EP-310", "did you mean 20ms or 20s?"),
        (units.parse_duration, "5m", "EP-311", "did you mean 5ms or 5min?"),
        (units.parse_duration, "infms", "EP-313", "not a duration"),
        (units.parse_energy, "3 apples", "EP-311", "not a unit of an energy"),
        (units.parse_fraction, "1", "EP-310", "did you mean 1% or 1.0?"),
        (units.parse_fraction, "-1%", "EP-312", "negative"),
        (units.parse_fraction, "1/100", "EP-313", "not a fraction"),
    ],
)
def test_a_bad_quantity_says_where_what_and_what_instead(reader, text, code, words):
    with pytest.raises(ProfileError) as caught:
        reader(text, "--max-ram")
    assert caught.value.code == code
    assert caught.value.message.startswith("--max-ram: ")
    assert words in caught.value.message
    assert caught.value.hint


@given(st.text(max_size=30))
def test_any_text_is_a_quantity_or_a_located_error(text):
    for reader in (units.parse_size, units.parse_duration, units.parse_fraction):
        with suppress(ProfileError):
            assert reader(text, "--x") >= 0


@given(st.integers(min_value=0, max_value=2**40))
def test_a_size_in_bytes_is_exact(n_bytes):
    assert units.parse_size(f"{n_bytes}B", "--x") == n_bytes


@pytest.mark.parametrize(
    ("writer", "value", "text"),
    [
        (units.format_size, 262144, "256KiB"),
        (units.format_size, 57651, "56.3KiB"),
        (units.format_size, 812, "812B"),
        (units.format_size, -2048, "-2KiB"),
        (units.format_duration, 0.8, "800us"),
        (units.format_duration, 0, "0us"),
        (units.format_duration, 5000, "5s"),
        (units.format_frequency, 1.5e9, "1.5GHz"),
        (units.format_energy, 0.45, "450uJ"),
        (units.format_power, 6400, "6.4W"),
        (units.format_fraction, 0.01, "1%"),
        (units.format_mac_rate, 11.2e9, "11.2GMAC/s"),
        (units.format_bandwidth, 2.37e9, "2.37GB/s"),
    ],
)
def test_a_quantity_is_written(writer, value, text):
    assert writer(value) == text


@pytest.mark.parametrize(
    ("value", "unit", "points", "text"),
    [
        (-0.0, "1", True, "0.00%"),
        (-0.00001, "1", True, "0.00%"),
        (-0.01, "1", True, "-1.00%"),
        (-0.0, "1", False, "0"),
        (-0.0, "dB", False, "0 dB"),
        (-20.0, "dB", False, "-20 dB"),
    ],
)
def test_a_zero_has_no_sign(value, unit, points, text):
    assert units.format_quantity(value, unit, points=points) == text
