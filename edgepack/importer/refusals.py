# SPDX-License-Identifier: Apache-2.0
"""What onnx, onnxruntime and the tools around them raise: classes of their own that share no base but Exception."""


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
