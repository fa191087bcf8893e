# SPDX-License-Identifier: Apache-2.0
"""Have the host's compiler read the firmware sources: what does not compile here is never shipped."""

import shutil
import subprocess
import tempfile
from pathlib import Path

from edgepack.errors import OutputError
from edgepack.runtime.tflm_ops import ADD_METHODS

_TIMEOUT_S = 120
_STRICT = ("-fsyntax-only", "-Wall", "-Wextra", "-Werror")


def check_syntax(folder: Path) -> str | None:
    """Compile every source of ``folder`` without output; the C++ ones against declarations of TFLM.

    Returns:
        The compiler's own words about its version, or None where this machine has no compiler.

    Raises:
        OutputError: A source does not compile (EP-413); that is a fault of edgepack.
    """
    c_compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if c_compiler is None:
        return None
    _compile(c_compiler, "-std=c11", sorted(folder.glob("*.c")))
    cpp_compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if cpp_compiler is not None:
        with tempfile.TemporaryDirectory() as name:
            write_declarations(Path(name))
            _compile(cpp_compiler, "-std=c++17", sorted(folder.glob("*.cc")), "-I", name)
    version = subprocess.run([c_compiler, "--version"], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    return version.stdout.partition("\n")[0]


def _compile(compiler: str, standard: str, sources: list[Path], *options: str) -> None:
    if not sources:
        return
    command = [compiler, standard, *_STRICT, *options, *map(str, sources)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    if done.returncode:
        telling = [line for line in done.stderr.splitlines() if "error" in line] or [done.stderr]
        raise OutputError(
            "EP-413",
            f"generated firmware does not compile: {telling[0]}",
            hint="report it with the model's inputs, outputs and operators: this is a fault of edgepack",
        )


def write_declarations(folder: Path) -> None:
    """Write the few declarations of TFLM that the C++ sources use, under TFLM's own header names."""
    for name, text in _HEADERS.items():
        path = folder / "tensorflow" / "lite" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


_METHODS = "\n".join(f"  TfLiteStatus {method}() {{ return kTfLiteOk; }}" for method in ADD_METHODS.values())
_HEADERS = {
    "micro/micro_mutable_op_resolver.h": f"""#pragma once
enum TfLiteStatus {{ kTfLiteOk = 0, kTfLiteError = 1 }};
namespace tflite {{
class MicroOpResolver {{}};
template <unsigned int count>
class MicroMutableOpResolver : public MicroOpResolver {{
 public:
{_METHODS}
}};
}}
""",
    "micro/micro_interpreter.h": """#pragma once
#include <cstddef>
#include <cstdint>
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
namespace tflite {
struct Model;
class MicroInterpreter {
 public:
  MicroInterpreter(const Model *, const MicroOpResolver &, uint8_t *, size_t);
  TfLiteStatus AllocateTensors();
  TfLiteStatus Invoke();
  size_t arena_used_bytes() const;
  template <class T> T *typed_input_tensor(int);
  template <class T> T *typed_output_tensor(int);
};
}
""",
    "micro/micro_log.h": "#pragma once\nvoid MicroPrintf(const char *, ...);\n",
    "micro/system_setup.h": "#pragma once\nnamespace tflite {\nvoid InitializeTarget();\n}\n",
    "schema/schema_generated.h": """#pragma once
namespace tflite {
struct Model;
const Model *GetModel(const void *);
}
""",
}
