# SPDX-License-Identifier: Apache-2.0
"""Answers of onnxruntime, one thread, in this process."""

from collections.abc import Sequence

import onnx
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as state

from edgepack.arrays import Array
from edgepack.errors import ModelError
from edgepack.importer._samples import Feeds

_REFUSALS = (
    state.Fail, state.InvalidArgument, state.InvalidGraph, state.InvalidProtobuf, state.NotImplemented,
    state.RuntimeException, state.EPFail,
)  # fmt: skip
_WORDS = 300


def answers(model: onnx.ModelProto, feeds: Feeds, names: Sequence[str], *, where: str) -> list[Array]:
    """Return the values called ``names`` of ``model``, whether it gives them out or not.

    Raises:
        ModelError: onnxruntime cannot load or run it (EP-155).
    """
    try:
        session = onnxruntime.InferenceSession(
            _giving(model, names).SerializeToString(), _options(), providers=["CPUExecutionProvider"]
        )
        wanted = {item.name for item in session.get_inputs()}
        found: list[Array] = session.run(list(names), {name: feeds[name] for name in feeds if name in wanted})
    except _REFUSALS as error:
        words = " ".join(str(error).split())
        raise ModelError(
            "EP-155",
            f"onnxruntime {onnxruntime.__version__} cannot run {where}: {words[:_WORDS]}",
            hint="export it again with an opset from 13 to 21, and run it once in onnxruntime.InferenceSession",
        ) from error
    return found


def _options() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 3  # errors; warnings about unused initializers help nobody
    return options


def _giving(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """Return ``model`` with ``names`` among its outputs."""
    given = {item.name for item in model.graph.output}
    if given.issuperset(names):
        return model
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    changed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in given)
    return changed
