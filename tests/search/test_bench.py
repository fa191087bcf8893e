# SPDX-License-Identifier: Apache-2.0
"""A bench and the processes of its runtimes."""

from types import SimpleNamespace

import numpy as np
import pytest

from edgepack.device.profile import load_device
from edgepack.errors import HostError
from edgepack.events import silent
from edgepack.model.model import Format, TensorSpec
from edgepack.model.summary import Summary
from edgepack.runtime.litert import LiteRt
from edgepack.runtime.session import cores
from edgepack.search.bench import open_bench
from edgepack.work import Work

SUMMARY = Summary(format=Format.KERAS, saved_by="", inputs=(), outputs=(), layers=(), parameter_count=0, weight_bytes=0)


def opened(work, model, device, *, report=silent, **more):
    return open_bench(
        model,
        crew=None,
        profile=load_device(device),
        data=None,
        limits=(),
        gate="point",
        work=Work(work),
        seed=0,
        summary=SUMMARY,
        report=report,
        **more,
    )


@pytest.mark.tf
@pytest.mark.parametrize(("asked", "found"), [(None, cores()), (3, 3)])
def test_each_runtime_of_a_bench_has_as_many_processes_as_it_may(tmp_path, asked, found):
    model = SimpleNamespace(inputs=(TensorSpec("x", (None, 2), "float32"),), digest="digest")
    with opened(tmp_path, model, "nrf52840", processes=asked) as bench:
        assert (bench.session.backend, bench.reference.backend) == ("tflm", "litert")
        assert (bench.session.most, bench.reference.most) == (found, found)
        assert [np.load(path).shape for path in bench.golden] == [(16, 2)]


def test_a_runtime_that_does_not_start_is_known_before_data_is_prepared(tmp_path, monkeypatch):
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho no module named ai_edge_litert >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(LiteRt, "python", lambda *_: broken)
    told = []
    bench = opened(tmp_path, None, "rpi4", report=told.append)
    with pytest.raises(HostError, match=r"litert does not start in .*no module named ai_edge_litert") as caught, bench:
        pass
    assert caught.value.code == "EP-502"
    assert [event.stage for event in told] == ["starting litert 2.3.0"]
