# SPDX-License-Identifier: Apache-2.0
"""Which of a device's runtimes a build is for: of a model that only ONNX can hold, the one that takes ONNX."""

import pytest

from edgepack.device.profile import load_device
from edgepack.errors import ModelError
from edgepack.loading import refuse_unsuited, suited
from edgepack.model.inspect import inspect
from edgepack.request import Request
from edgepack.work import Work
from tests.write_onnx import write_branches, write_quadrants


@pytest.fixture
def asked(tmp_path):
    """Ask for a build of the file ``m.onnx`` for each device, of some formats alone."""

    def ask(*devices, formats=()):
        profiles = [load_device(device).taking(formats) for device in devices]
        common = {"model": tmp_path / "m.onnx", "target": tmp_path / "out", "work": Work(tmp_path / "work")}
        return [Request(profile=profile, **common) for profile in profiles]

    return ask


def test_without_a_format_the_onnx_runtime_is_taken_where_nothing_else_can(asked, tmp_path):
    summary = inspect(write_branches(tmp_path / "m.onnx"))
    given = asked("rpi4", "x86-64")
    assert [request.profile.runtime.name for request in given] == ["litert", "litert"]
    assert [suited(item, summary).profile.runtime.name for item in given] == ["onnxruntime", "onnxruntime"]


def test_other_models_keep_every_runtime(asked, tmp_path):
    summary = inspect(write_quadrants(tmp_path / "m.onnx"))
    given = asked("rpi4", "nrf52840")
    assert [suited(item, summary) for item in given] == given
    refuse_unsuited(given, summary)


@pytest.mark.parametrize(
    ("devices", "formats"), [(["nrf52840"], ()), (["rpi4", "stm32mp157"], ()), (["rpi4"], ["tflite"])]
)
def test_a_device_that_cannot_run_onnx_is_refused_with_a_command_that_works(asked, tmp_path, *, devices, formats):
    path = write_branches(tmp_path / "m.onnx")
    with pytest.raises(ModelError, match=r"If \(1: choice\)") as caught:
        refuse_unsuited(asked(*devices, formats=formats), inspect(path))
    assert (caught.value.code, caught.value.exit_code) == ("EP-154", 2)
    assert f"edgepack build {path} --device rpi4 --format onnx" in caught.value.hint
