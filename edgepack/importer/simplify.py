# SPDX-License-Identifier: Apache-2.0
"""An ONNX graph as a runtime of ONNX takes it: batch 1, every shape known, simplified."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from edgepack.errors import ModelError

if TYPE_CHECKING:
    import onnx

_IR: Final = 10
"""Old enough for the runtimes of boards; the graph decides the opset."""


def simplified(model: "onnx.ModelProto", *, shapes: Mapping[str, tuple[int, ...]], where: str) -> "onnx.ModelProto":
    """Return ``model`` of batch 1, with what is constant computed and what fuses fused; ``model`` stays as it was.

    Args:
        model: Valid.
        shapes: Of inputs by name, where more than the batch is open.
        where: The source, for messages.

    Raises:
        ModelError: Its shapes contradict each other at batch 1 (EP-142).
    """
    import onnx
    import onnxslim

    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    for item in fixed.graph.input:
        for axis, dim in enumerate(item.type.tensor_type.shape.dim):
            if not dim.dim_value:
                given = shapes.get(item.name, ())
                dim.ClearField("dim_param")
                dim.dim_value = given[axis] if axis < len(given) else 1
    for output in fixed.graph.output:
        output.type.tensor_type.ClearField("shape")
    del fixed.graph.value_info[:]
    try:
        found: onnx.ModelProto = onnx.shape_inference.infer_shapes(onnxslim.slim(fixed), data_prop=True)
    except (RuntimeError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        words = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ModelError(
            "EP-142",
            f"{where} cannot be simplified at batch 1: {words}",
            hint="look at it with onnx.checker.check_model(path, full_check=True), and export it again",
        ) from error
    found.ir_version = min(found.ir_version, _IR)
    return found
