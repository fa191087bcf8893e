# SPDX-License-Identifier: Apache-2.0
"""Bundles of published models: written, verified in the target's runtime, run by their own scripts."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from edgepack.bundle.bundle import write_bundle
from edgepack.bundle.contents import Golden
from edgepack.bundle.verify import verify_bundle
from edgepack.digest import digest_file
from edgepack.lower.artifact import Artifact, IoTensor
from edgepack.measure.memory import arena
from edgepack.model.precision import Precision
from edgepack.model.tflite_file import read_tflite
from edgepack.runtime.base import get_runtime


def artifact_of(path) -> Artifact:
    graph = read_tflite(path)

    def edge(index):
        tensor = graph.tensors[index]
        known = (tensor.scales[0], tensor.zero_points[0]) if tensor.scales else ()
        return IoTensor(tensor.name, tensor.shape, tensor.dtype, *known)

    return Artifact(
        path=path,
        format="tflite",
        digest=digest_file(path),
        size_bytes=graph.n_bytes,
        precision=Precision.W8A8 if graph.is_quantized else Precision.F32,
        inputs=tuple(map(edge, graph.inputs)),
        outputs=tuple(map(edge, graph.outputs)),
        ops=graph.op_names,
    )


@pytest.mark.field
@pytest.mark.parametrize(
    "case",
    [
        ("kws/kws_ref_model.tflite", "nrf52840"),
        ("cifar10/pretrainedResnet_quant.tflite", "stm32h747"),
        ("fsdd/fsdd_dscnn_fp32.tflite", "rpi4"),
    ],
)
def test_a_published_model_is_bundled_verified_and_run(field, contents, tmp_path, work, case):
    artifact, made = artifact_of(field(case[0])), contents(case[1])
    samples = np.random.default_rng(0).normal(0, 20, (4, *artifact.inputs[0].shape[1:])).astype(np.float32)
    np.save(tmp_path / "samples.npy", samples)
    measurement = made.measurement
    with get_runtime(made.runtime.name).session(made.runtime, work, processes=1) as session:
        paths = session.run(artifact, (tmp_path / "samples.npy",), folder=work.folder("answers"), raw=True)
        if made.profile.device_class == "mcu":
            ram, items = arena(artifact, session=session, runtime=made.runtime, profile=made.profile)
            measurement = replace(measurement, ram=ram, ram_items=items)
    golden = Golden({artifact.inputs[0].name: samples}, {artifact.outputs[0].name: np.load(paths[0])})
    made = replace(made, artifact=artifact, golden=golden, measurement=measurement)
    bundle = write_bundle(made, tmp_path / "bundle", force=False)
    assert verify_bundle(bundle.path, work=work).ok
    command = [sys.executable, str(bundle.path / "benchmark.py"), "--runs", "5", "--threads", "1", "--batch", "1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["golden"] == {"samples": 4, "agree": 4}
