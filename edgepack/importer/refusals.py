# SPDX-License-Identifier: Apache-2.0
"""What onnx, onnxruntime and the tools around them raise: classes of their own that share no base but Exception."""

from collections.abc import Iterator
from contextlib import contextmanager

from edgepack.errors import ModelError


def of_onnxruntime() -> tuple[type[Exception], ...]:
    """Return what a session of onnxruntime raises where it cannot be made or run."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    known = (item for item in vars(state).values() if isinstance(item, type) and issubclass(item, Exception))
    return (*known, RuntimeError, ValueError)


def of_tools() -> tuple[type[Exception], ...]:
    """Return what simplifiers, converters and quantizers of graphs raise: they let through whatever stopped them."""
    import onnx
    from google.protobuf.message import Error as EncodingError

    own = (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, EncodingError)
    return (*of_onnxruntime(), *own, KeyError, IndexError, AttributeError, TypeError, AssertionError)


@contextmanager
def without_counterpart(where: str) -> Iterator[None]:
    """Turn what Keras, or what reads the graph for it, trips over into a refusal: it has no counterpart either.

    Raises:
        ModelError: So it is (EP-140).
    """
    try:
        yield
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, NotImplementedError) as error:
        words = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ModelError(
            "EP-140",
            f"{where} cannot become a Keras graph: {words}",
            hint="what needs no training still works: onnxruntime's own quantization; else report it with the model",
        ) from error
