# SPDX-License-Identifier: Apache-2.0
"""Read an ``.onnx`` file with the data beside it, and refuse what can come to no good; needs the package ``onnx``."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgepack.errors import HostError, ModelError

if TYPE_CHECKING:
    import onnx

MAX_OPSET: Final = 26
MAX_IR: Final = 13
"""What onnxruntime 1.31 takes; the package ``onnx`` 1.23 writes opset 28 and IR 14 where nobody says otherwise."""
_STANDARD_ALONE: Final = (
    "export the model with standard operators alone: replace these layers, or leave them out and do their work before "
    "or after the model"
)
_KERAS_DOMAINS: Final = frozenset({"", "ai.onnx", "com.microsoft"})
_KNOWN_DOMAINS: Final = _KERAS_DOMAINS | {"ai.onnx.ml"}
"""Those that onnxruntime has code for."""
_CONTROL_FLOW: Final = frozenset({"If", "Loop", "Scan", "SequenceMap"})
_LFS_MAGIC: Final = b"version https://git-lfs"
_SHOWN: Final = 5
_WORDS: Final = 300


def read_onnx(path: Path) -> "onnx.ModelProto":
    """Return the model at ``path``: checked, its external data loaded, its local functions written out.

    Raises:
        HostError: The package ``onnx`` is not installed (EP-120).
        ModelError: The file is cut off or no ONNX model (EP-105); a file of external data is missing or too short
            (EP-150); its opset or IR version is newer than onnxruntime takes (EP-151); the graph is invalid or takes
            nothing (EP-152); operators of a domain that onnxruntime has no code for (EP-153).
    """
    model = _decoded(path)
    _refuse_newer(model, path)
    _load_external(model, path)
    model = _written_out(model)
    _refuse_custom(model, path)
    _check(model, path)
    _refuse_constant(model, path)
    return model


def refusal(model: "onnx.ModelProto", *, where: str) -> ModelError | None:
    """Return why ``model`` cannot become a Keras graph, as far as its list of operators tells; None where it may.

    It is an error to be raised, or to be kept where the graph is taken as it is: operators that are onnxruntime's alone
    (EP-153), or that hold graphs (EP-154).
    """
    foreign = [node for node in nodes_of(model.graph) if node.domain not in _KERAS_DOMAINS]
    if foreign:
        return ModelError(
            "EP-153",
            f"{where} has operators of a domain that neither Keras nor TFLite knows: {listed(foreign)}",
            hint=_STANDARD_ALONE,
        )
    inner = [node for node in model.graph.node if node.op_type in _CONTROL_FLOW]
    if inner:
        return ModelError(
            "EP-154",
            f"{where} decides while it runs what to compute: {listed(inner)}",
            hint="export it with example inputs that take one path: torch.onnx.export traces torch.jit.trace(model, "
            "sample); write loops out, or keep them in your own code and export what is inside",
        )
    return None


def nodes_of(graph: "onnx.GraphProto") -> "Iterator[onnx.NodeProto]":
    """Yield every node of ``graph``, those of graphs inside it too."""
    for node in graph.node:
        yield node
        for inner in graphs_in(node):
            yield from nodes_of(inner)


def graphs_of(graph: "onnx.GraphProto") -> "Iterator[onnx.GraphProto]":
    """Yield ``graph`` and every graph inside it."""
    yield graph
    for node in nodes_of(graph):
        yield from graphs_in(node)


def graphs_in(node: "onnx.NodeProto") -> "Iterator[onnx.GraphProto]":
    """Yield the graphs that ``node`` holds: branches, or the body of a loop."""
    for attribute in node.attribute:
        yield from attribute.graphs
        if attribute.HasField("g"):
            yield attribute.g


def damaged(path: Path, why: str) -> ModelError:
    """Return the error for a file that is cut off, or no ONNX model at all."""
    return ModelError(
        "EP-105",
        f"{path} is no ONNX model, or is cut off or damaged: {why}",
        hint="copy or export the model again and compare the file sizes",
    )


def called(node: "onnx.NodeProto") -> str:
    """Return how a person finds ``node``: its name, else the name of what it gives."""
    return node.name or next(iter(node.output), node.op_type)


def listed(nodes: "Iterable[onnx.NodeProto]") -> str:
    """Return the nodes by operator, each with its number and some names: ``If (2: cond, branch)``."""
    kinds: dict[str, list[str]] = {}
    for node in nodes:
        kinds.setdefault(f"{node.domain}.{node.op_type}".lstrip("."), []).append(called(node))
    return "; ".join(
        f"{kind} ({len(names)}: {', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''})"
        for kind, names in kinds.items()
    )


def _decoded(path: Path) -> "onnx.ModelProto":
    try:
        import onnx
    except ImportError as error:
        raise HostError(
            "EP-120",
            f"reading {path} needs the package onnx, which is not installed",
            hint="pip install 'edgepack[onnx]'",
        ) from error
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, ValueError, OSError) as error:
        raise damaged(path, str(error)) from error
    if not model.graph.node:
        raise damaged(path, "it holds no operator")
    return model


def _refuse_newer(model: "onnx.ModelProto", path: Path) -> None:
    opset = max((item.version for item in model.opset_import if item.domain in {"", "ai.onnx"}), default=0)
    if opset <= MAX_OPSET and model.ir_version <= MAX_IR:
        return
    what = f"opset {opset}" if opset > MAX_OPSET else f"IR version {model.ir_version}"
    most = f"opset {MAX_OPSET}" if opset > MAX_OPSET else f"IR version {MAX_IR}"
    raise ModelError(
        "EP-151",
        f"{path} has {what}, and onnxruntime takes {most} at most",
        hint="export it again with an older one: torch.onnx.export(model, sample, 'model.onnx', opset_version=18); "
        "where onnx.helper writes it: make_model(graph, opset_imports=[make_opsetid('', 21)], ir_version=10)",
    )


def _load_external(model: "onnx.ModelProto", path: Path) -> None:
    """Load what lies beside the file, having looked at each place that it names: a wrong one is a crash in C++."""
    import onnx
    from onnx import external_data_helper

    needed = dict(_external(model))
    for name, location in needed.items():
        beside = path.parent / location
        if Path(location).is_absolute() or not beside.resolve().is_relative_to(path.parent.resolve()):
            raise _no_data(path, name, f"in {location}, which is outside the model's folder and is not opened")
        if not beside.is_file():
            raise _no_data(path, name, f"in {location}, and there is no such file beside it")
        with beside.open("rb") as stream:
            if stream.read(len(_LFS_MAGIC)) == _LFS_MAGIC:
                raise _no_data(path, name, f"in {location}, which is a Git LFS pointer (run git lfs pull)")
    try:
        external_data_helper.load_external_data_for_model(model, str(path.parent))
    except (ValueError, OSError, onnx.checker.ValidationError) as error:
        raise _no_data(
            path, next(iter(needed), ""), f"beside it, which cannot be read: {_short(str(error))}"
        ) from error


def _external(model: "onnx.ModelProto") -> Iterator[tuple[str, str]]:
    """Yield each tensor whose data lies in another file, by name, with that file's."""
    from onnx import external_data_helper

    for tensor in _tensors(model.graph):
        if external_data_helper.uses_external_data(tensor):
            entries = {entry.key: entry.value for entry in tensor.external_data}
            yield tensor.name, entries.get("location", "")


def _tensors(graph: "onnx.GraphProto") -> "Iterator[onnx.TensorProto]":
    for part in graphs_of(graph):
        yield from part.initializer
    for attribute in (attribute for node in nodes_of(graph) for attribute in node.attribute):
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors


def _no_data(path: Path, name: str, where: str) -> ModelError:
    return ModelError(
        "EP-150",
        f"{path} keeps the weight {name!r} {where}",
        hint="copy the data file into the model's folder under that name, or export into one file: "
        "torch.onnx.export(..., external_data=False)",
    )


def _written_out(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """Return ``model`` without local functions: torch's newer exporter writes some."""
    import onnx.inliner

    return onnx.inliner.inline_local_functions(model) if model.functions else model


def _check(model: "onnx.ModelProto", path: Path) -> None:
    import onnx

    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError) as error:
        raise ModelError(
            "EP-152",
            f"{path} holds an invalid graph: {_short(str(error))}",
            hint="export it again; onnx.checker.check_model(onnx.load('model.onnx')) must pass",
        ) from error


def _refuse_constant(model: "onnx.ModelProto", path: Path) -> None:
    weights = {item.name for item in model.graph.initializer}
    if all(item.name in weights for item in model.graph.input):
        raise ModelError(
            "EP-152",
            f"{path} has no input: what it gives is the same whatever comes",
            hint="export it with a sample of what it is to judge: torch.onnx.export(model, sample, 'model.onnx')",
        )


def _refuse_custom(model: "onnx.ModelProto", path: Path) -> None:
    foreign = [node for node in nodes_of(model.graph) if node.domain not in _KNOWN_DOMAINS]
    if foreign:
        raise ModelError(
            "EP-153",
            f"{path} has operators of a custom domain, whose code is not in the file: {listed(foreign)}",
            hint=_STANDARD_ALONE,
        )


def _short(words: str) -> str:
    """Return the first lines of a checker's words in one: what follows is its own context."""
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    text = " ".join(lines[:2])
    return text if len(text) <= _WORDS else f"{text[:_WORDS]}..."
