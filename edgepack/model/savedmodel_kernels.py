# SPDX-License-Identifier: Apache-2.0
"""How many weights of a SavedModel are in every file that it is lowered to, told without TensorFlow."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgepack.model._protobuf import DamagedError, Message
from edgepack.model._saved_constants import Constants
from edgepack.model._saved_graph import SavedGraph
from edgepack.model._saved_kernels import Kernels
from edgepack.model._saved_steps import Steps
from edgepack.model._stored_kernels import looks_of, stored_count
from edgepack.model.savedmodel_file import INIT_KEY, SavedModelFile, needed, pairs, served

_CHANGING: Final = ("Assign", "Resource", "Scatter")
"""How operations begin that change a variable as the model runs."""
_READING: Final = frozenset({"ResourceGather", "ResourceGatherNd", "ScatterNd"})

# Field numbers of MetaGraphDef, SignatureDef, TensorInfo, CollectionDef, its NodeList and NodeDef.
_GRAPH, _COLLECTIONS, _SIGNATURES, _OUTPUTS, _TENSOR_NAME, _NODE_LIST, _NAMES, _NODE_OP = 2, 4, 5, 2, 1, 1, 1, 2
_RUN_ONCE: Final = frozenset({"saved_model_main_op", "legacy_init_op"})


@dataclass(frozen=True, slots=True)
class Kept:
    """Elements of kernels that every conversion keeps, each once; 0 where they cannot be told.

    Attributes:
        kernels: Of all.
        convolved: Of those that slide over more than one point.
    """

    kernels: int = 0
    convolved: int = 0


def kept_counts(folder: Path, file: SavedModelFile) -> Kept:
    """Return what is kept of the kernels of a SavedModel.

    Args:
        folder: Of the SavedModel.
        file: What ``saved_model.pb`` says.
    """
    if any(map(_changes, file.ops)) or any(0 in spec.shape for spec in (*file.inputs, *file.outputs)):
        return Kept()
    try:
        meta = served(Message((folder / "saved_model.pb").read_bytes()))
        if any(_changes(node.text(_NODE_OP)) for node in needed(meta.message(_GRAPH), _run_once(meta))):
            return Kept()  # what is restored is not what runs
        graph = SavedGraph(meta.message(_GRAPH))
        fed = frozenset(tensor.split(":")[0] for tensor in file.input_tensors.values())
        kernels = Kernels(Steps(graph, Constants(graph, folder), fed)).needed(tuple(file.output_tensors.values()))
        looks = looks_of(kernels)
        return Kept(stored_count(looks), stored_count([look for look in looks if look.slides]))
    except (DamagedError, OSError):
        return Kept()  # what is damaged is told when the model is loaded


def _changes(op: str) -> bool:
    return op.startswith(_CHANGING) and op not in _READING


def _run_once(meta: Message) -> list[str]:
    """Return what runs after the variables are restored."""
    signature = dict(pairs(meta, _SIGNATURES)).get(INIT_KEY, Message())
    listed = [entry for name, entry in pairs(meta, _COLLECTIONS) if name in _RUN_ONCE]
    names = [item.text(_TENSOR_NAME) for _, item in pairs(signature, _OUTPUTS)]
    return names + [name for entry in listed for name in entry.message(_NODE_LIST).texts(_NAMES)]
