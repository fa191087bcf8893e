# SPDX-License-Identifier: Apache-2.0
"""TensorFlow Lite for Microcontrollers through the ``tflite-micro`` package: reference kernels on this machine."""

from importlib.metadata import version as installed_version
from typing import ClassVar

from edgepack.model.tflite_file import TfliteGraph
from edgepack.runtime._base import Runtime


class Tflm(Runtime):
    """TFLM for microcontrollers; the target links its own kernels, the arithmetic of the integer ones is the same."""

    name: ClassVar[str] = "tflm"
    package: ClassVar[str] = "tflite-micro"
    extra: ClassVar[str] = "mcu"

    def pins(self, version: str) -> tuple[str, ...]:
        """Return the runtime and this environment's numpy."""
        return f"{self.package}=={version}", f"numpy=={installed_version('numpy')}"

    def refuses(self, graph: TfliteGraph) -> tuple[str, ...]:
        """Name what its kernels are known not to do: float16 weights, and integer weights under float arithmetic."""
        weights = graph.weight_dtypes
        if "float16" in weights:
            return ("its DEQUANTIZE takes int8, int16 and uint8, not float16 weights",)
        computed = {graph.tensors[index].dtype for op in graph.ops for index in op.outputs if index >= 0}
        if "int8" in weights and not computed & {"int8", "int16"}:
            return ("it has no hybrid kernels: int8 weights under float activations",)
        return ()
