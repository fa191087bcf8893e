# SPDX-License-Identifier: Apache-2.0
"""Firmware sources for a microcontroller: the model, its edges, its operators, its arena and test vectors in C."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from edgepack.arrays import Array
from edgepack.bundle._c_text import (
    C_TYPES,
    array_rows,
    byte_lines,
    comment,
    float_literal,
    guarded,
    identifiers,
    source,
    string_literal,
)
from edgepack.bundle._firmware_text import CMAKE, README, main_source, ops_header
from edgepack.bundle.contents import BundleContents
from edgepack.bundle.golden import GoldenFile, Tolerance
from edgepack.errors import OutputError
from edgepack.lower.artifact import IoTensor
from edgepack.runtime.tflm_ops import add_methods

FIRMWARE_FOLDER = "firmware"
ARENA_ALIGNMENT_BYTES = 16
_TEST_SAMPLES = 4
_TEST_BYTES = 64 << 10  # test vectors share the flash with the model


@dataclass(frozen=True, slots=True)
class Edge:
    """One input or output as C names it.

    Attributes:
        side: Part of every name that this edge gives.
        index: Its place in the file.
        name: Identifier made of the tensor's name.
        vectors: Golden values in the file's type, ``(n, *sample shape)``.
        tolerance: For outputs.
        layout: How it lies otherwise than in the training code, or empty.
    """

    side: Literal["input", "output"]
    index: int
    name: str
    tensor: IoTensor
    vectors: Array
    tolerance: Tolerance | None = None
    layout: str = ""

    @property
    def prefix(self) -> str:
        """Start of its functions' names."""
        return f"model_{self.side}_{self.name}"

    @property
    def macro(self) -> str:
        """Start of its constants' names."""
        return self.prefix.upper()

    @property
    def c_type(self) -> str:
        """Element type in C."""
        return C_TYPES[self.tensor.dtype]

    @property
    def length(self) -> int:
        """Number of elements."""
        return int(np.prod(self.tensor.shape))


def write_firmware(contents: BundleContents, golden: GoldenFile, folder: Path) -> tuple[str, ...]:
    """Write the sources into ``folder`` and return their names.

    Raises:
        OutputError: An operator that TFLM does not register (EP-411), or no measured arena (EP-412).
    """
    sources = firmware_sources(contents, golden, contents.artifact.path.read_bytes())
    folder.mkdir()
    for name, text in sources.items():
        (folder / name).write_text(text, encoding="utf-8")
    return tuple(sources)


def firmware_sources(contents: BundleContents, golden: GoldenFile, model: bytes) -> dict[str, str]:
    """Return each file's text by name. Raises as ``write_firmware``."""
    edges = _edges(contents, golden)
    inputs = tuple(edge for edge in edges if edge.side == "input")
    outputs = tuple(edge for edge in edges if edge.side == "output")
    methods = add_methods(contents.artifact.ops)
    return {
        "model_data.h": guarded("MODEL_DATA_H", _DATA_HEADER.format(length=len(model)), what="The model file."),
        "model_data.c": source(_DATA_SOURCE.format(body=byte_lines(model)), what=f"SHA-256 {contents.artifact.digest}"),
        "model_settings.h": guarded("MODEL_SETTINGS_H", _settings(contents), what="What the model needs."),
        "model_io.h": guarded(
            "MODEL_IO_H", "\n\n".join(_declared(edge) for edge in edges), what="Inputs and outputs by name."
        ),
        "model_io.c": source(
            '#include "model_io.h"\n\n#include <math.h>\n\n' + "\n\n".join(filter(None, map(_defined, edges))),
            what="Quantization as the model was converted with: round half away from zero, saturate.",
        ),
        "model_ops.h": ops_header(methods),
        "test_vectors.h": guarded(
            "TEST_VECTORS_H", _vectors_header(edges), what="Golden inputs and the answers of the reference kernels."
        ),
        "test_vectors.c": source(
            '#include "test_vectors.h"\n\n' + "\n\n".join(_vectors(edge) for edge in edges),
            what="Values in the model's own types, one row a sample.",
        ),
        "main.cc": main_source(inputs, outputs),
        "CMakeLists.txt": CMAKE,
        "README.md": _readme(contents, edges, len(model)),
    }


def _edges(contents: BundleContents, golden: GoldenFile) -> tuple[Edge, ...]:
    artifact = contents.artifact
    count = _vector_count(golden)
    found = []
    for index, (name, tensor) in enumerate(zip(_names(artifact.inputs), artifact.inputs, strict=True)):
        found.append(Edge("input", index, name, tensor, golden.raw_inputs[index][:count]))
    for index, (name, tensor) in enumerate(zip(_names(artifact.outputs), artifact.outputs, strict=True)):
        vectors = golden.raw_outputs[index][:count]
        found.append(Edge("output", index, name, tensor, vectors, golden.tolerances[index]))
    return tuple(replace(edge, layout=known.words) for edge, known in zip(found, contents.edges, strict=True))


def _names(tensors: tuple[IoTensor, ...]) -> tuple[str, ...]:
    return identifiers(tensor.name for tensor in tensors)


def _vector_count(golden: GoldenFile) -> int:
    """Return how many samples go into flash: a few, at least one."""
    sample_bytes = sum(array[:1].nbytes for array in (*golden.raw_inputs, *golden.raw_outputs))
    return max(1, min(_TEST_SAMPLES, golden.samples, _TEST_BYTES // max(1, sample_bytes)))


def _arena_bytes(contents: BundleContents) -> int:
    """Return the arena's upper bound, aligned."""
    ram = contents.measurement.ram
    if ram is None:
        raise OutputError(
            "EP-412",
            f"the arena of {contents.artifact.path.name} was not measured, so its size in firmware is unknown",
            hint="build again where tflite-micro is installed: pip install 'edgepack[mcu]'",
        )
    return -(-int(ram.upper) // ARENA_ALIGNMENT_BYTES) * ARENA_ALIGNMENT_BYTES


def _settings(contents: BundleContents) -> str:
    upper, ram = _arena_bytes(contents), contents.measurement.ram
    measured = upper if ram is None else int(ram.value)
    return _SETTINGS.format(
        measured=measured,
        upper=upper,
        extra=upper - measured,
        step=ARENA_ALIGNMENT_BYTES,
        scratch=_SCRATCH[contents.runtime.kernels],
    )


def _readme(contents: BundleContents, edges: tuple[Edge, ...], model_bytes: int) -> str:
    runtime = contents.runtime
    return README.format(
        title=contents.profile.title,
        runtime=f"{runtime.name} {runtime.version} on a host, for {runtime.kernels} kernels on the board",
        model=model_bytes,
        vectors=sum(edge.vectors.nbytes for edge in edges),
        arena=_arena_bytes(contents),
    )


def _declared(edge: Edge) -> str:
    tensor = edge.tensor
    lines = [
        f'/* {edge.side.capitalize()} {edge.index}, "{comment(tensor.name)}": {tensor.dtype} {list(tensor.shape)}.',
        *([f" * {edge.layout}."] if edge.layout else []),
        f" * {comment(tensor.formula)} */",
        f"#define {edge.macro}_NAME {string_literal(tensor.name)}",
        f"#define {edge.macro}_INDEX {edge.index}",
        f"#define {edge.macro}_RANK {len(tensor.shape)}",
        f"#define {edge.macro}_SHAPE {{{', '.join(map(str, tensor.shape))}}}",
        f"#define {edge.macro}_LENGTH {edge.length}u",
        f"typedef {edge.c_type} {edge.prefix}_t;",
    ]
    if tensor.scale is not None:
        lines += [
            f"#define {edge.macro}_SCALE {float_literal(tensor.scale)}",
            f"#define {edge.macro}_ZERO_POINT ({tensor.zero_point})",
            f"{edge.c_type} {edge.prefix}_quantize(float real);",
            f"float {edge.prefix}_dequantize({edge.c_type} raw);",
            f"/* All {edge.length} elements. */",
            f"void {edge.prefix}_quantize_all(const float *real, {edge.c_type} *raw);",
            f"void {edge.prefix}_dequantize_all(const {edge.c_type} *raw, float *real);",
        ]
    return "\n".join(lines)


def _defined(edge: Edge) -> str:
    if edge.tensor.scale is None:
        return ""
    limits = np.iinfo(edge.tensor.dtype)
    return _QUANTIZE.format(
        prefix=edge.prefix, macro=edge.macro, c_type=edge.c_type, lowest=int(limits.min), highest=int(limits.max)
    )


def _vectors_header(edges: tuple[Edge, ...]) -> str:
    lines = ['#include "model_io.h"', "", f"#define MODEL_TEST_SAMPLES {len(edges[0].vectors)}u", ""]
    for edge in edges:
        lines.append(f"extern {_vector_name(edge)};")
        if edge.tolerance is not None:
            unit = "units" if edge.tolerance.unit == "lsb" else "in the output's own unit"
            lines.append(f"/* Largest difference that still counts as equal, {unit}. */")
            lines.append(f"#define {edge.macro}_TOLERANCE {float_literal(edge.tolerance.maximum)}")
    return "\n".join(lines)


def _vectors(edge: Edge) -> str:
    return f"{_vector_name(edge)} = {{\n{array_rows(edge.vectors)}\n}};"


def _vector_name(edge: Edge) -> str:
    return f"const {edge.c_type} model_test_{edge.side}_{edge.name}[MODEL_TEST_SAMPLES][{edge.macro}_LENGTH]"


_DATA_HEADER = """
#define MODEL_DATA_LENGTH {length}u

/* Aligned to 16 bytes, constant: it stays in flash. */
extern const unsigned char model_data[MODEL_DATA_LENGTH];
"""

_DATA_SOURCE = """
#include "model_data.h"

#include <stdalign.h>

alignas(16) const unsigned char model_data[MODEL_DATA_LENGTH] = {{
{body}
}};
"""

_SETTINGS = """
/* The tensor arena. Measured: {measured} bytes, as TFLM's reference kernels allocate on a 64-bit host, where pointers
 * are twice as long as on the chip. The constant is the upper bound: {extra} bytes more.
 * {scratch}
 * After AllocateTensors, arena_used_bytes() says what this build really takes.
 */
#define MODEL_ARENA_MEASURED_BYTES {measured}u
#define MODEL_ARENA_BYTES {upper}u
#define MODEL_ARENA_ALIGNMENT {step}u
"""

_SCRATCH = {
    "cmsis-nn": "It holds the largest scratch buffer that a CMSIS-NN kernel may ask for.",
    "esp-nn": "It holds the largest scratch buffer that an ESP-NN kernel may ask for.",
    "reference": "The reference kernels ask for no more.",
    "xnnpack": "",
}

_QUANTIZE = """
{c_type} {prefix}_quantize(float real)
{{
    const float raw = roundf(real / {macro}_SCALE) + (float){macro}_ZERO_POINT;
    if (!(raw > {lowest}.0f)) {{
        return {lowest}; /* NaN comes here too */
    }}
    return raw > {highest}.0f ? {highest} : ({c_type})raw;
}}

float {prefix}_dequantize({c_type} raw)
{{
    return (float)((int32_t)raw - {macro}_ZERO_POINT) * {macro}_SCALE;
}}

void {prefix}_quantize_all(const float *real, {c_type} *raw)
{{
    for (size_t i = 0; i < {macro}_LENGTH; ++i) {{
        raw[i] = {prefix}_quantize(real[i]);
    }}
}}

void {prefix}_dequantize_all(const {c_type} *raw, float *real)
{{
    for (size_t i = 0; i < {macro}_LENGTH; ++i) {{
        real[i] = {prefix}_dequantize(raw[i]);
    }}
}}""".strip()
