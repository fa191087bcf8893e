# SPDX-License-Identifier: Apache-2.0
"""A bench and the processes of its runtimes."""

from types import SimpleNamespace

import numpy as np
import pytest

from edgepack.device.profile import load_device
from edgepack.events import silent
from edgepack.model.model import Format, TensorSpec
from edgepack.model.summary import Summary
from edgepack.runtime.session import cores
from edgepack.search.bench import open_bench
from edgepack.work import Work

SUMMARY = Summary(format=Format.KERAS, saved_by="", inputs=(), outputs=(), layers=(), parameter_count=0, weight_bytes=0)


@pytest.mark.tf
@pytest.mark.parametrize(("asked", "found"), [(None, cores()), (3, 3)])
def test_each_runtime_of_a_bench_has_as_many_processes_as_it_may(tmp_path, asked, found):
    model = SimpleNamespace(inputs=(TensorSpec("x", (None, 2), "float32"),), digest="digest")
    with open_bench(
        model,
        crew=None,
        profile=load_device("nrf52840"),
        data=None,
        limits=(),
        gate="point",
        work=Work(tmp_path),
        seed=0,
        summary=SUMMARY,
        report=silent,
        processes=asked,
    ) as bench:
        assert (bench.session.backend, bench.reference.backend) == ("tflm", "litert")
        assert (bench.session.most, bench.reference.most) == (found, found)
        assert [np.load(path).shape for path in bench.golden] == [(16, 2)]
