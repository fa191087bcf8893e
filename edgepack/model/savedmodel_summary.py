# SPDX-License-Identifier: Apache-2.0
"""Summary of a SavedModel folder."""

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Final

from edgepack.model.model import Format
from edgepack.model.savedmodel_file import read_savedmodel
from edgepack.model.savedmodel_kernels import kept_counts
from edgepack.model.shapes import apply_shapes
from edgepack.model.summary import Layer, Summary, count_ops

# Nodes that hold, pass on or call, and compute nothing.
_PLUMBING: Final = frozenset(
    {"Const", "Identity", "NoOp", "PartitionedCall", "Placeholder", "ReadVariableOp", "StatefulPartitionedCall"}
    | {"VarHandleOp", "VariableV2"}
)


def summarize_savedmodel(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Summary:
    """Return the summary of the SavedModel in the folder ``path``; its layers are its variables.

    Raises:
        ModelError: As ``read_savedmodel``; ``shapes`` does not match (EP-114).
    """
    file = read_savedmodel(path)
    kept = kept_counts(path, file)
    layers = tuple(
        Layer(
            name=variable.name,
            kind="Variable",
            parameter_count=prod(variable.shape),
            macs=None,
            input_shapes=(),
            output_shapes=(),
        )
        for variable in file.variables
    )
    return Summary(
        format=Format.SAVEDMODEL,
        saved_by=f"TensorFlow {file.version}" if file.version else "",
        inputs=apply_shapes(file.inputs, shapes),
        outputs=file.outputs,
        layers=layers,
        parameter_count=sum(layer.parameter_count for layer in layers),
        weight_bytes=sum(variable.n_bytes for variable in file.variables),
        op_counts=count_ops(op for op in file.ops if op not in _PLUMBING),
        kernel_count=kept.kernels,
        convolved_count=kept.convolved,
        notes=("weights are checked for NaN and Inf when the model is loaded; MACs are known after conversion",),
    )
