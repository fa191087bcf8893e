# SPDX-License-Identifier: Apache-2.0
"""A lowered file before it is written."""

from dataclasses import dataclass

from edgepack.device.wheels import FileFormat
from edgepack.lower.artifact import IoTensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Lowered:
    """A file's bytes, and what an artifact says of it: see there."""

    format: FileFormat
    content: bytes
    inputs: tuple[IoTensor, ...]
    outputs: tuple[IoTensor, ...]
    ops: tuple[str, ...]
    layers: tuple[str, ...]
    notes: tuple[str, ...] = ()
