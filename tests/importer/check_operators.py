# SPDX-License-Identifier: Apache-2.0
"""Import graphs of one operator each and hold them against onnxruntime, at batch 1 and 4.

Runs in a worker, which gives TESTS and REPORT.
"""

import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, TESTS)  # noqa: F821 - given by the caller

from onnx_case import CASES
from onnx_cases_graphs import FUSED


def held(model, name):
    """Return how the import of ``model`` differs from onnxruntime, as a share of the output's range."""
    import onnxruntime as ort

    from edgepack.importer.importer import import_onnx
    from edgepack.importer.prepare import prepare

    imported = import_onnx(prepare(model, shapes={}, where=name), where=name)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    rng, worst, most = np.random.default_rng(3), 0.0, 0.0
    for batch in (1, 4):
        feeds = {}
        for end in session.get_inputs():
            shape = [batch if isinstance(size, str) else size for size in end.shape]
            if "int" in end.type:
                feeds[end.name] = rng.integers(0, 5, shape).astype(end.type[7:-1])
            else:
                feeds[end.name] = rng.normal(size=shape).astype(np.float32)
        tensors = [feeds[edge.name].transpose(edge.axes) for edge in imported.inputs]
        found = imported.net(tensors, training=False)
        found = found if isinstance(found, list) else [found]
        for tensor, edge, wanted in zip(found, imported.outputs, session.run(None, feeds), strict=True):
            ours = np.transpose(tensor, np.argsort(edge.axes)).astype(np.float64)
            theirs = np.asarray(wanted, np.float64)
            assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
            assert np.isfinite(theirs).all()
            span = max(float(np.ptp(theirs)), 1e-3)
            worst = max(worst, float(np.abs(ours - theirs).max()) / span)
            most = max(most, float(np.ptp(theirs)))
    if name in FUSED:
        assert {type(layer).__name__ for layer in imported.net.layers} == {"InputLayer", *FUSED[name]}
    assert most > 0 or "constant" in name, "the output does not depend on the input"
    return worst


if "REPORT" in globals():
    import traceback

    report = {}
    for name, model in CASES.items():
        try:
            report[name] = held(model, name)
        except Exception as error:  # noqa: BLE001 - one case must not hide the others
            report[name] = f"{type(error).__name__}: {error}\n{traceback.format_exc()[-1500:]}"
    Path(REPORT).write_text(json.dumps(report))  # noqa: F821 - given by who runs this
