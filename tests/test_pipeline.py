# SPDX-License-Identifier: Apache-2.0
"""Several devices, one after another: what is said where one of them stops the build."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from edgepack import pipeline
from edgepack.errors import HostError
from edgepack.events import Note

GONE = HostError("EP-503", "the environment cannot be made", hint="run it by hand")


@pytest.fixture
def built(monkeypatch):
    """Build for devices of which each ends as it is told: a word of its outcome, an error that it raises."""

    def build(**ends):
        plans = [
            SimpleNamespace(request=SimpleNamespace(profile=SimpleNamespace(name=name)), infeasible=False)
            for name in ends
        ]

        def for_device(plan, *_, **__):
            name = plan.request.profile.name
            if isinstance(ends[name], Exception):
                raise ends[name]
            return SimpleNamespace(interrupted=ends[name] == "interrupted", bundle=SimpleNamespace(path=f"out/{name}"))

        monkeypatch.setattr(pipeline, "_announce", lambda report, plan: None)
        monkeypatch.setattr(pipeline, "shared", lambda asked, report: nullcontext())
        monkeypatch.setattr(pipeline, "Scouts", lambda plans, common: nullcontext())
        monkeypatch.setattr(pipeline, "_for_device", for_device)
        told = []
        return pipeline._one_after_another(SimpleNamespace(each=plans), told.append), told

    return build


def test_the_device_that_stops_a_build_is_named_with_what_is_done_and_what_is_not(built):
    with pytest.raises(HostError) as caught:
        built(first="fits", second=GONE, third="fits", fourth="fits")
    assert caught.value.code == "EP-503"
    assert caught.value.message == "second, device 2 of 4: the environment cannot be made"
    assert caught.value.hint == (
        "run it by hand; finished before it, and whole: out/first; "
        "not begun: third, fourth; a build for them alone, without second, goes on"
    )


def test_an_only_device_needs_no_name(built):
    with pytest.raises(HostError) as caught:
        built(only=GONE)
    assert (caught.value.message, caught.value.hint) == (GONE.message, GONE.hint)


def test_devices_that_ctrl_c_leaves_out_are_named(built):
    outcomes, told = built(first="interrupted", second="fits", third="fits")
    assert len(outcomes) == 1
    assert told[-1] == Note("interrupted: without a bundle are second, third")
    _, told = built(first="fits", second="fits")
    assert not [event for event in told if isinstance(event, Note)]
