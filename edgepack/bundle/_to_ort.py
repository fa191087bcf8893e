# SPDX-License-Identifier: Apache-2.0
"""Write an ONNX model in ONNX Runtime's own format, with what a minimal build of the runtime needs for it.

Runs alone in the runtime's own interpreter, because that version's optimizer and operators are what counts.

    python -I _to_ort.py MODEL.onnx arm|x86

writes ``model.ort`` and ``required_operators_and_types.config`` into the current folder.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # Of flatbuffers and of the classes that onnxruntime brings for its own format; neither has types.
    Builder = Any
    Table = Any

MODEL = "model.ort"
CONFIG = "required_operators_and_types.config"
_ALIGNMENT = 16


def convert(source: str, arch: str) -> None:
    """Save ``source`` as it is after every optimization that does not depend on the machine that runs this."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = MODEL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.add_session_config_entry("session.save_model_format", "ORT")
    # Arm has fast kernels for signed activations; elsewhere they become unsigned ones.
    options.add_session_config_entry("session.qdqisint8allowed", "1" if arch == "arm" else "0")
    # Blocks of channels as wide as this machine's vectors: wrong or slow on any other.
    onnxruntime.InferenceSession(
        source, options, providers=["CPUExecutionProvider"], disabled_optimizers=["NchwcTransformer"]
    )


def write_config() -> None:
    """List the operators, and the types of their inputs, that the written model has."""
    from onnxruntime.tools.ort_format_model import create_config_from_models

    create_config_from_models([Path(MODEL)], Path(CONFIG), enable_type_reduction=True)


def settle(file: Path) -> None:
    """Put the table of operators' types at the file's head into order: equal models, equal bytes.

    ONNX Runtime writes it in the order of a hash table that is salted with a memory address. The graph, which the
    runtime writes first and so lies at the end of the buffer, is kept as it is.
    """
    import flatbuffers
    import onnxruntime.tools.ort_format_model  # noqa: F401 - makes the generated classes importable
    from ort_flatbuffers_py.fbs.InferenceSession import InferenceSession

    written = file.read_bytes()
    session = InferenceSession.GetRootAs(written, 0)
    graph = session.Model()._tab.Pos  # noqa: SLF001 - the generated classes do not tell where they are
    begin = min(graph, graph - int.from_bytes(written[graph : graph + 4], "little", signed=True))
    # Offsets and alignment count from the end of the buffer, where the graph stays.
    builder = flatbuffers.Builder(len(written))
    builder.minalign = _ALIGNMENT
    builder.head -= len(written) - begin
    builder.Bytes[builder.head : builder.head + len(written) - begin] = written[begin:]
    types = _types(builder, session.KernelTypeStrResolver())
    version = builder.CreateString(session.OrtVersion())
    # The root: version, graph, one that is deprecated, types.
    builder.StartObject(4)
    builder.PrependUOffsetTRelativeSlot(0, version, 0)
    builder.PrependUOffsetTRelativeSlot(1, len(written) - graph, 0)
    builder.PrependUOffsetTRelativeSlot(3, types, 0)
    builder.Finish(builder.EndObject(), file_identifier=b"ORTM")
    file.write_bytes(bytes(builder.Output()))


def _types(builder: Builder, known: Table) -> int:
    """Write the table of operators' types, sorted by operator and by type, and return where it is."""

    def argument(one: Table) -> int:
        builder.StartObject(2)
        builder.PrependInt8Slot(0, one.ArgType(), 0)
        builder.PrependUint32Slot(1, one.Index(), 0)
        return int(builder.EndObject())

    def constraint(one: Table) -> int:
        arguments = [argument(one.Args(index)) for index in range(one.ArgsLength())]
        return _named(builder, one.KernelTypeStr(), arguments)

    def operator(one: Table) -> int:
        kinds = [one.KernelTypeStrArgs(index) for index in range(one.KernelTypeStrArgsLength())]
        kinds.sort(key=lambda kind: kind.KernelTypeStr())
        return _named(builder, one.OpId(), [constraint(kind) for kind in kinds])

    operators = [known.OpKernelTypeStrArgs(index) for index in range(known.OpKernelTypeStrArgsLength())]
    operators.sort(key=lambda one: one.OpId())
    places = _vector(builder, [operator(one) for one in operators])
    builder.StartObject(1)
    builder.PrependUOffsetTRelativeSlot(0, places, 0)
    return int(builder.EndObject())


def _named(builder: Builder, name: bytes, parts: list[int]) -> int:
    places, text = _vector(builder, parts), builder.CreateString(name)
    builder.StartObject(2)
    builder.PrependUOffsetTRelativeSlot(0, text, 0)
    builder.PrependUOffsetTRelativeSlot(1, places, 0)
    return int(builder.EndObject())


def _vector(builder: Builder, places: list[int]) -> int:
    builder.StartVector(4, len(places), 4)
    for place in reversed(places):
        builder.PrependUOffsetTRelative(place)
    return int(builder.EndVector())


if __name__ == "__main__":
    convert(sys.argv[1], sys.argv[2])
    settle(Path(MODEL))
    write_config()
