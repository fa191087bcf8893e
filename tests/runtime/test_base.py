# SPDX-License-Identifier: Apache-2.0
"""Which interpreter serves which runtime version."""

import sys
from pathlib import Path

import pytest

from edgepack.errors import HostError
from edgepack.runtime import base
from edgepack.runtime.base import get_runtime
from edgepack.runtime.litert import LiteRt


def test_an_unknown_runtime_offers_the_nearest():
    with pytest.raises(HostError, match="did you mean 'litert'") as caught:
        get_runtime("liteRT2")
    assert caught.value.code == "EP-505"


def test_the_installed_version_runs_in_this_interpreter(work, monkeypatch):
    monkeypatch.setattr(LiteRt, "installed", lambda self: "2.3.0")
    assert LiteRt().python(work, "2.3.0") == Path(sys.executable)


def test_another_version_gets_an_environment_of_its_own(work, monkeypatch):
    asked = {}

    def make(name, version, *, pins, work):
        asked.update(name=name, version=version, pins=pins)
        return Path("/there/bin/python")

    monkeypatch.setattr(base, "environment_python", make)
    monkeypatch.setattr(LiteRt, "installed", lambda self: "2.3.0")
    assert LiteRt().python(work, "1.4.0") == Path("/there/bin/python")
    assert asked["version"] == "1.4.0"
    assert asked["pins"][0] == "ai-edge-litert==1.4.0"


@pytest.mark.parametrize(("name", "extra"), [("litert", "build"), ("tflm", "mcu")])
def test_a_missing_extra_is_named_with_its_command(work, monkeypatch, name, extra):
    runtime = get_runtime(name)
    monkeypatch.setattr(type(runtime), "installed", lambda self: None)
    with pytest.raises(HostError) as caught:
        runtime.python(work, "1.0")
    assert caught.value.code == "EP-504"
    assert caught.value.hint == f"pip install 'edgepack[{extra}]'"


def test_whether_a_runtime_is_here_makes_nothing(work, monkeypatch):
    monkeypatch.delenv("EDGEPACK_ENVS", raising=False)
    monkeypatch.setattr(LiteRt, "installed", lambda self: "2.3.0")
    assert LiteRt().is_here(work, "2.3.0")
    assert not LiteRt().is_here(work, "1.4.0")
    monkeypatch.setattr(base, "is_made", lambda *_, **__: True)
    assert LiteRt().is_here(work, "1.4.0")
    monkeypatch.setattr(LiteRt, "installed", lambda self: None)
    assert not LiteRt().is_here(work, "1.4.0"), "the extra is missing"
