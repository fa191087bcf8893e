# SPDX-License-Identifier: Apache-2.0
"""From a ``.tflite`` file to an ONNX graph with tf2onnx: float and int8 alike, one operator for one.

The way through TFLite folds batch normalization, fuses activations, keeps the scales that a fake-quantized graph was
trained with, and is the one on which grouped convolutions survive: from a SavedModel they are a call of XLA's.
"""

import logging
import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from edgepack.errors import CandidateError
from edgepack.extras import not_importable
from edgepack.importer.refusals import of_tools
from edgepack.lower._compact import with_names
from edgepack.model.model import Model

if TYPE_CHECKING:
    import onnx

OPSET: Final = 17
"""What is written where nothing needs a newer one: every onnxruntime since 1.12 takes it."""
_CUBIC: Final = 0.044715  # of the tanh form of GELU (Hendrycks and Gimpel, 2016, https://arxiv.org/abs/1606.08415)


def converted(content: bytes, model: Model) -> "onnx.ModelProto":
    """Return the graph of ``content``, a ``.tflite`` file with the edges of ``model``, in its order.

    Raises:
        CandidateError: An operator has no ONNX form (EP-691), with its name.
        HostError: tf2onnx is not installed (EP-504).
    """
    try:
        from tf2onnx import convert
    except ImportError as error:
        raise not_importable("lowering to ONNX", "tf2onnx", error, extra="onnx") from error
    _keep_biases()
    with tempfile.TemporaryDirectory() as scratch, _words() as said:
        path = Path(scratch) / "lowered.tflite"
        path.write_bytes(with_names(content))
        try:
            made: onnx.ModelProto = convert.from_tflite(
                str(path), opset=OPSET, custom_op_handlers={"TFL_GELU": (_gelu, [])}
            )[0]
        except of_tools() as error:
            raise _refused(model, str(error)) from error
    unsupported = [line for line in said if "Unsupported ops" in line or "not supported" in line]
    if unsupported:
        raise _refused(model, unsupported[-1])
    return made


def _refused(model: Model, why: str) -> CandidateError:
    return CandidateError(
        "EP-691",
        f"{model.source} cannot be written as ONNX: {why[:400]}",
        hint="--format tflite lowers it without; or replace the layer in the model",
    )


@contextmanager
def _words() -> Iterator[list[str]]:
    """Yield what tf2onnx complains of: it logs an operator that it does not know, and writes the file all the same."""
    found: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: found.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("tf2onnx")
    logger.addHandler(handler)
    try:
        yield found
    finally:
        logger.removeHandler(handler)


def _keep_biases() -> None:
    """Have tf2onnx flatten what a biased product takes: where its own handler does that, the bias is lost (1.17)."""
    from tf2onnx import utils
    from tf2onnx.handler import tfl_op
    from tf2onnx.tflite_handlers.tfl_math import TflFullyConnectedOp

    class Flattening:
        @classmethod
        def to_tf(cls, ctx: Any, node: Any, **last: object) -> None:  # noqa: ANN401 - tf2onnx has no types
            source, kernel, *bias = node.input
            shape = ctx.get_shape(source)
            if bias and not node.attr["keep_num_dims"].i and len(shape) != 2:  # noqa: PLR2004
                depth = ctx.get_shape(kernel)[1]
                target = ctx.make_const(utils.make_name("flat_shape"), np.array([-1, depth], np.int64)).output[0]
                rows, dtype = math.prod(shape) // depth, ctx.get_dtype(source)
                flat = ctx.make_node("Reshape", [source, target], shapes=[[rows, depth]], dtypes=[dtype])
                flat.skip_conversion = True
                ctx.replace_inputs(node, [flat.output[0], kernel, *bias])
            TflFullyConnectedOp.to_tf(ctx, node, **last)

    tfl_op(["TFL_FULLY_CONNECTED"])(Flattening)


def _gelu(ctx: Any, node: Any, name: str, _arguments: object) -> None:  # noqa: ANN401 - tf2onnx has no types
    """Write GELU, exact or in its tanh form, with operators of every operator set; ONNX Runtime fuses them again."""
    source, target = node.input[0], node.output[0]
    shape, dtype = ctx.get_shape(target), ctx.get_dtype(target)
    tanh = bool(node.get_attr_value("approximate", default=False))
    ctx.remove_node(node.name)

    def number(suffix: str, value: float) -> str:
        return str(ctx.make_const(f"{name}_{suffix}", np.array(value, np.float32)).output[0])

    def made(kind: str, inputs: list[str], **last: object) -> str:
        return str(ctx.make_node(kind, inputs, **last).output[0])

    half = number("half", 0.5)
    if tanh:
        cube = made("Mul", [made("Mul", [source, source]), source])
        inner = made("Add", [source, made("Mul", [cube, number("cubic", _CUBIC)])])
        bent = made("Tanh", [made("Mul", [inner, number("slope", float(np.sqrt(2 / np.pi)))])])
    else:
        bent = made("Erf", [made("Div", [source, number("slope", float(np.sqrt(2)))])])
    risen = made("Add", [bent, number("one", 1.0)])
    made("Mul", [made("Mul", [source, risen]), half], outputs=[target], shapes=[shape], dtypes=[dtype])
