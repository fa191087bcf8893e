# SPDX-License-Identifier: Apache-2.0
"""How much of an integer graph ONNX Runtime really computes in integers: a count in the graph that it optimizes.

A pair of QuantizeLinear and DequantizeLinear that is not fused is computed as it is written, in float, slower than
without. Which pairs fuse does not depend on this machine: int8 activations are let through as Arm lets them.
"""

import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgepack.errors import CandidateError
from edgepack.importer.refusals import of_onnxruntime
from edgepack.lower.form import Form

if TYPE_CHECKING:
    import onnx

_FLOAT: Final = frozenset({"Conv", "FusedConv", "ConvTranspose", "Gemm", "FusedGemm", "MatMul", "FusedMatMul"})
_INTEGER: Final = frozenset(
    {"QLinearConv", "QGemm", "QLinearMatMul", "MatMulIntegerToFloat", "ConvInteger", "MatMulInteger"}
)


@dataclass(frozen=True, slots=True)
class Fusion:
    """Operators that multiply, in the graph that runs.

    Attributes:
        integer: Those that do so in integers.
        convolutions: The convolutions among them.
        floats: Those that do not.
    """

    integer: int
    convolutions: int
    floats: int

    @property
    def words(self) -> str:
        """One sentence for the report."""
        return (
            f"onnxruntime computes {self.integer} of {self.integer + self.floats} operators that multiply in integers"
            f" ({self.convolutions} convolutions)"
        )


def check_fusion(graph: "onnx.ModelProto", form: Form) -> Fusion:
    """Return how much of ``graph`` is computed in integers.

    Raises:
        CandidateError: Nothing is (EP-694), or onnxruntime refuses the graph (EP-695).
    """
    kinds = _optimized(graph, form)
    found = Fusion(
        integer=sum(kinds[kind] for kind in _INTEGER),
        convolutions=kinds["QLinearConv"],
        floats=sum(kinds[kind] for kind in _FLOAT),
    )
    if not found.integer and found.floats:
        raise CandidateError(
            "EP-694",
            f"none of the {found.floats} operators that multiply runs in integers: onnxruntime fuses none of them",
            hint="take w8 or f32 for this model",
        )
    return found


def _optimized(graph: "onnx.ModelProto", form: Form) -> Counter[str]:
    """Return the operators of the graph that runs, before it is laid out for this machine."""
    import onnx
    import onnxruntime

    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "optimized.onnx"
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.optimized_model_filepath = str(path)
        options.log_severity_level = 3
        options.intra_op_num_threads = 1
        if not form.unsigned:
            options.add_session_config_entry("session.qdqisint8allowed", "1")
        try:
            onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except of_onnxruntime() as error:
            raise CandidateError(
                "EP-695",
                f"onnxruntime cannot optimize the graph that was made: {str(error)[:400]}",
                hint="try another precision",
            ) from error
        return Counter(node.op_type for node in onnx.load(path).graph.node)
