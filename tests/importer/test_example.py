# SPDX-License-Identifier: Apache-2.0
"""The example from PyTorch is what its README says, and tells nothing of where it was made."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "pytorch_cnn"


def test_the_exported_model_answers_as_well_as_its_readme_says():
    data = np.load(EXAMPLE / "digits.npz")
    session = onnxruntime.InferenceSession(EXAMPLE / "digits.onnx", providers=["CPUExecutionProvider"])
    (answers,) = session.run(["digit"], {"image": data["x_test"].astype(np.float32)})
    assert (answers.argmax(1) == data["y_test"]).mean() > 0.985


def test_the_exported_model_holds_no_trace_of_a_machine():
    graph = onnx.load(EXAMPLE / "digits.onnx").graph
    assert not any(part.metadata_props for part in (*graph.node, *graph.value_info, graph))
    assert sum(path.stat().st_size for path in EXAMPLE.glob("digits.*")) < 200_000
