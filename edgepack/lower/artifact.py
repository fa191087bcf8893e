# SPDX-License-Identifier: Apache-2.0
"""What a runtime loads: the lowered file and what it promises at its edges."""

from dataclasses import dataclass
from pathlib import Path

from edgepack.device.wheels import FileFormat
from edgepack.model.precision import Precision


@dataclass(frozen=True, slots=True)
class IoTensor:
    """One input or output of a lowered file, in the source model's order.

    Attributes:
        name: The source model's name, not the converter's.
        shape: All dimensions known, batch 1.
        dtype: NumPy name: ``float32``, ``int8``, ``int16``...
        scale: Quantization scale, ``real = (q - zero_point) * scale``; None for float tensors.
        zero_point: Quantization zero point; None for float tensors.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None = None
    zero_point: int | None = None

    @property
    def formula(self) -> str:
        """The quantization formula as a person writes it, or "float"."""
        if self.scale is None:
            return self.dtype
        return f"q = round(x / {self.scale!r}) + ({self.zero_point}), clipped to {self.dtype}"


@dataclass(frozen=True, slots=True)
class Artifact:
    """A lowered model file.

    Attributes:
        path: Content-addressed file in the work folder.
        digest: SHA-256 of its bytes.
        size_bytes: Length of the file.
        precision: What was promised and checked on the written file.
        ops: Operator names used, sorted, with versions: ``("ADD v2", "CONV_2D v3")``, of ONNX ``("Add v14",)``.
        layers: The source's layers behind each operator in the file's order, joined by `` + ``; ``""`` where not
            known, and nothing at all where the source names none.
        notes: What the file's maker found out about it, in sentences: how much of it the runtime computes in integers.
    """

    path: Path
    format: FileFormat
    digest: str
    size_bytes: int
    precision: Precision
    inputs: tuple[IoTensor, ...]
    outputs: tuple[IoTensor, ...]
    ops: tuple[str, ...]
    layers: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
