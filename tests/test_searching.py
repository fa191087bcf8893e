# SPDX-License-Identifier: Apache-2.0
"""What a search stands on where one of the device's runtimes cannot be had on this machine."""

from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgepack import searching
from edgepack.device.profile import load_device
from edgepack.errors import HostError, RuntimeMissingError
from edgepack.model.inspect import inspect
from edgepack.planned import planned
from edgepack.request import Request
from edgepack.work import Work

DIGITS = Path(__file__).resolve().parents[1] / "examples" / "digits" / "digits.keras"


@pytest.fixture
def benches(tmp_path, monkeypatch):
    """Open benches for rpi4, where the runtimes that are named cannot be had."""

    @contextmanager
    def of(*missing, formats=(), code="EP-503", processes=None):
        def opened(model, *, profile, **more):
            assert more["processes"] == processes
            if profile.formats[0] in missing:
                raise HostError(code, "the environment for it cannot be made", hint="run it by hand")
            return nullcontext(profile.runtime.name)

        monkeypatch.setattr(searching, "open_bench", opened)
        summary = inspect(DIGITS)
        request = Request(
            model=DIGITS, profile=load_device("rpi4"), target=tmp_path / "o", work=Work(tmp_path), formats=formats
        )
        plan, told = planned(request, summary, None), []
        common = SimpleNamespace(model=None, crew=None, report=told.append, processes=processes)
        with searching.open_benches(plan.request, summary, None, plan, common=common) as found:
            yield found, [event.text for event in told]

    return of


def test_a_format_that_nobody_asked_for_is_left_out_where_its_runtime_cannot_be_had(benches):
    with benches() as (found, told):
        assert (found, told) == ({"tflite": "litert", "onnx": "onnxruntime"}, [])
    with benches("onnx") as (found, told):
        assert found == {None: "litert"}, "one format: nothing is marked"
        assert told == ["onnx files are left out: the environment for it cannot be made; run it by hand"]


def test_each_runtime_of_a_scout_has_the_processes_that_fall_to_it(benches):
    with benches(processes=3) as (found, _):
        assert set(found) == {"tflite", "onnx"}


def test_what_was_asked_for_comes_first_or_is_another_matter_ends_the_build(benches):
    with pytest.raises(RuntimeMissingError) as caught, benches("onnx", formats=("tflite", "onnx")):
        pass
    assert (caught.value.code, caught.value.hint, caught.value.exit_code) == ("EP-503", "run it by hand", 5)
    with pytest.raises(RuntimeMissingError), benches("tflite"):
        pass
    with pytest.raises(HostError) as caught, benches("onnx", code="EP-501"):
        pass
    assert type(caught.value) is HostError, "not that device's own matter"


@pytest.mark.parametrize("code", ["EP-502", "EP-504"])
def test_a_broken_environment_and_a_missing_package_are_no_other_than_none(benches, code):
    with benches("onnx", code=code) as (found, _):
        assert found == {None: "litert"}
    with pytest.raises(RuntimeMissingError) as caught, benches("tflite", code=code):
        pass
    assert caught.value.code == code


def test_a_package_that_is_missing_later_is_not_the_runtimes(benches):
    with pytest.raises(HostError) as caught, benches():
        raise HostError("EP-504", "onnxslim is not installed", hint="pip install 'edgepack[onnx]'")
    assert type(caught.value) is HostError
