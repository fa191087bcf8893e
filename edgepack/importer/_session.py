# SPDX-License-Identifier: Apache-2.0
"""Answers of onnxruntime, one thread, in this process."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import onnx
import onnxruntime

from edgepack.arrays import Array
from edgepack.errors import ModelError
from edgepack.importer.refusals import of_onnxruntime
from edgepack.importer.samples import Feeds

_WORDS = 300


def answers(model: onnx.ModelProto, feeds: Feeds, names: Sequence[str], *, where: str) -> list[Array]:
    """Return the values called ``names`` of ``model``, whether it gives them out or not.

    Raises:
        ModelError: onnxruntime cannot load or run it (EP-155).
    """
    session = opened(_giving(model, names), where=where)
    wanted = {item.name for item in session.get_inputs()}
    return ran(session, names, {name: feeds[name] for name in feeds if name in wanted}, where=where)


def ran(session: onnxruntime.InferenceSession, names: Sequence[str] | None, feeds: Feeds, *, where: str) -> list[Array]:
    """Return the outputs called ``names``, or all of them, for ``feeds``.

    Raises:
        ModelError: onnxruntime cannot run it (EP-155).
    """
    try:
        found: list[Array] = session.run(None if names is None else list(names), feeds)
    except of_onnxruntime() as error:
        raise _refused(error, where) from error
    return found


def optimized(model: onnx.ModelProto, *, where: str) -> onnx.ModelProto:
    """Return ``model`` with what is constant computed, in graphs inside too, by onnxruntime; of standard operators.

    Raises:
        ModelError: onnxruntime cannot load it (EP-155).
    """
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "optimized.onnx"
        opened(model, where=where, keep=path)
        return onnx.load(path)


def opened(model: onnx.ModelProto, *, where: str, keep: Path | None = None) -> onnxruntime.InferenceSession:
    """Return ``model`` as onnxruntime has it; what it made of it is written to ``keep``.

    Raises:
        ModelError: It cannot load it (EP-155).
    """
    options = _options()
    if keep is not None:
        options.optimized_model_filepath = str(keep)
    try:
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except of_onnxruntime() as error:
        raise _refused(error, where) from error


def _refused(error: Exception, where: str) -> ModelError:
    words = " ".join(str(error).split())
    return ModelError(
        "EP-155",
        f"onnxruntime {onnxruntime.__version__} cannot run {where}: {words[:_WORDS]}",
        hint="export it again with an opset from 13 to 21, and run it once in onnxruntime.InferenceSession",
    )


def _options() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 4  # fatal alone: errors come back as exceptions, warnings help nobody
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
