# SPDX-License-Identifier: Apache-2.0
"""C as text: literals, identifiers and array bodies that any compiler reads back to the same values."""

import re
import string
from collections.abc import Iterable

import numpy as np

from edgepack.arrays import Array

NOTICE = "SPDX-License-Identifier: 0BSD. Written by edgepack; yours to use, change and share without conditions."
C_TYPES = {
    "float32": "float",
    "float64": "double",
    "int8": "int8_t",
    "uint8": "uint8_t",
    "int16": "int16_t",
    "int32": "int32_t",
    "int64": "int64_t",
    "bool": "uint8_t",
}
_PER_LINE = 12


def identifiers(names: Iterable[str]) -> tuple[str, ...]:
    """Return a C identifier part for each name, all different: ``main/image:0`` gives ``main_image_0``."""
    found: list[str] = []
    for name in names:
        plain = re.sub(r"[^0-9A-Za-z]+", "_", name).strip("_").lower() or "tensor"
        found.append(plain if plain not in found else f"{plain}_{len(found)}")
    return tuple(found)


def float_literal(value: float) -> str:
    """Return the shortest literal that reads back to the same float32."""
    text = str(np.float32(value))
    return f"{text}f" if any(mark in text for mark in ".e") else f"{text}.0f"


def byte_lines(data: bytes) -> str:
    """Return the body of an ``unsigned char`` array."""
    step = _PER_LINE
    rows = (data[begin : begin + step].hex(",") for begin in range(0, len(data), step))
    return "\n".join("    0x" + row.replace(",", ", 0x") + "," for row in rows)


def array_rows(array: Array) -> str:
    """Return the body of a two-dimensional array: one braced row for each sample."""
    rows = []
    for sample in array.reshape(len(array), -1):
        values = [_literal(item) for item in sample]
        lines = [", ".join(values[begin : begin + _PER_LINE]) for begin in range(0, len(values), _PER_LINE)]
        rows.append("    {\n        " + ",\n        ".join(lines) + ",\n    },")
    return "\n".join(rows)


def _literal(value: np.generic) -> str:
    if value.dtype.kind == "f":
        return float_literal(float(value))
    return str(int(value))


def comment(text: str) -> str:
    """Return ``text`` as it may stand inside a block comment: a name may neither end one nor seem to begin one."""
    return " ".join(text.split()).replace("*/", "* /").replace("/*", "/ *").replace("??", "? ?")


def string_literal(text: str) -> str:
    """Return ``text`` as a C string in UTF-8; octal escapes end after three digits, and leave no trigraph."""
    plain = frozenset(string.ascii_letters + string.digits + string.punctuation + " ") - frozenset('"\\?')
    body = "".join(chr(byte) if chr(byte) in plain else f"\\{byte:03o}" for byte in text.encode())
    return f'"{body}"'


def guarded(name: str, body: str, *, what: str) -> str:
    """Return a header: notice, purpose, include guard, C linkage."""
    return (
        f"/* {NOTICE}\n *\n * {what}\n */\n"
        f"#ifndef {name}\n#define {name}\n\n#include <stddef.h>\n#include <stdint.h>\n\n"
        '#ifdef __cplusplus\nextern "C" {\n#endif\n\n'
        f"{body.strip()}\n\n"
        f"#ifdef __cplusplus\n}}\n#endif\n\n#endif /* {name} */\n"
    )


def source(body: str, *, what: str) -> str:
    """Return a source file: notice, purpose, code."""
    return f"/* {NOTICE}\n *\n * {what}\n */\n{body.strip()}\n"
