# SPDX-License-Identifier: Apache-2.0
import platform

import pytest

from edgepack import __version__
from edgepack.crew.station import refuse_differences
from edgepack.errors import HostError
from edgepack.versions import differences, versions_here, versions_there


def test_versions_here_name_edgepack_python_and_what_is_installed():
    found = versions_here()
    assert (found["edgepack"], found["python"]) == (__version__, platform.python_version())
    assert found["numpy"]


def test_the_function_that_travels_finds_the_same():
    assert versions_there()() == versions_here()


def test_equal_versions_have_no_differences():
    assert differences({"numpy": "2.0"}, {"numpy": "2.0"}) == ()
    refuse_differences({"numpy": "2.0"}, {"tcp://a:1": {"numpy": "2.0"}})


def test_each_difference_is_told():
    here = {"edgepack": "0.1.0", "numpy": "2.0", "keras": "3.15.1"}
    assert differences(here, {"numpy": "1.26", "keras": "3.15.1", "tflite-micro": "1"}) == (
        "edgepack not installed instead of 0.1.0",
        "numpy 1.26 instead of 2.0",
        "tflite-micro 1 instead of none",
    )


def test_workers_that_differ_are_refused_with_the_list():
    here = {"numpy": "2.0", "keras": "3.15.1"}
    there = {
        "tcp://b:2": {"numpy": "1.26", "keras": "3.15.1"},
        "tcp://a:1": here,
        "tcp://c:3": {"numpy": "2.0", "keras": "3.14.0"},
    }
    with pytest.raises(HostError) as caught:
        refuse_differences(here, there)
    assert (caught.value.code, caught.value.exit_code) == ("EP-507", 5)
    assert (
        "tcp://b:2 has numpy 1.26 instead of 2.0; tcp://c:3 has keras 3.14.0 instead of 3.15.1" in caught.value.message
    )
    assert "tcp://a:1" not in caught.value.message
