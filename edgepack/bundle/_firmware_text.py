# SPDX-License-Identifier: Apache-2.0
"""The parts of the firmware that need TFLM's C++ headers, and the words that go with them."""

from collections.abc import Sequence
from typing import Protocol

from edgepack.bundle._c_text import NOTICE

README = f"""<!-- {NOTICE} -->
# Firmware sources for {{title}}

Plain C11 with the model, its inputs and outputs and test vectors; C++17 where TensorFlow Lite for Microcontrollers
(TFLM) is touched. Bring TFLM with your SDK; measured with {{runtime}}.

| file | what |
|---|---|
| `model_data.h`, `.c` | the model as an aligned constant array: it stays in flash |
| `model_settings.h` | size of the tensor arena, measured and as an upper bound |
| `model_io.h`, `.c` | names, shapes, scales and zero points; quantize and dequantize helpers |
| `model_ops.h` | an op resolver with exactly the operators that the model uses |
| `test_vectors.h`, `.c` | golden inputs and the answers that the board must give |
| `main.cc` | an example: runs the test vectors and says whether they agree |
| `CMakeLists.txt` | a library target for your build |

What it takes: {{model:,}} bytes of flash for the model, {{vectors:,}} for the test vectors (a release needs none),
and RAM for the arena: {{arena:,}} bytes. Kernels, stack and your own buffers come on top.

1. Add this folder to your build: `add_subdirectory(firmware)`, then link `edgepack_model` and TFLM.
2. Flash `main.cc` first. It prints the arena that the board really takes and how many test vectors agree.
3. Only then time it: a wrong model is not worth timing.

The C++ files were checked against declarations of TFLM, not compiled with TFLM itself and not run on a board. The C
files compile without warnings under `-std=c11 -Wall -Wextra`; `model_io.c` needs the math library (`roundf`).
"""

CMAKE = f"""# {NOTICE}
# add_subdirectory(firmware), then target_link_libraries(your_firmware edgepack_model and the target of TFLM).
cmake_minimum_required(VERSION 3.13)
add_library(edgepack_model STATIC model_data.c model_io.c test_vectors.c)
target_include_directories(edgepack_model PUBLIC ${{CMAKE_CURRENT_LIST_DIR}})
target_compile_features(edgepack_model PUBLIC c_std_11)
target_link_libraries(edgepack_model PUBLIC m)
"""

_OPS = """/* {notice}
 *
 * Exactly the operators that the model uses: kernels that are not named here are not linked.
 */
#ifndef MODEL_OPS_H
#define MODEL_OPS_H

#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"

constexpr unsigned int kModelOpCount = {count};
using ModelOpResolver = tflite::MicroMutableOpResolver<kModelOpCount>;

inline TfLiteStatus RegisterModelOps(ModelOpResolver &resolver) {{
{calls}
  return kTfLiteOk;
}}

#endif  // MODEL_OPS_H
"""

_MAIN = """// {notice}
//
// Run the test vectors on the board and say whether they agree.

#include <cmath>
#include <cstdint>
#include <cstring>

#include "model_data.h"
#include "model_ops.h"
#include "model_settings.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/micro_log.h"
#include "tensorflow/lite/micro/system_setup.h"
#include "tensorflow/lite/schema/schema_generated.h"
#include "test_vectors.h"

namespace {{

alignas(MODEL_ARENA_ALIGNMENT) uint8_t arena[MODEL_ARENA_BYTES];

template <typename T>
bool Agrees(const T *found, const T *expected, unsigned int length, float tolerance) {{
  for (unsigned int i = 0; i < length; ++i) {{
    const float apart = std::fabs(static_cast<float>(found[i]) - static_cast<float>(expected[i]));
    if (!(apart <= tolerance)) {{
      return false;
    }}
  }}
  return true;
}}

}}  // namespace

int main() {{
  tflite::InitializeTarget();
  ModelOpResolver resolver;
  if (RegisterModelOps(resolver) != kTfLiteOk) {{
    return 1;
  }}
  tflite::MicroInterpreter interpreter(tflite::GetModel(model_data), resolver, arena, MODEL_ARENA_BYTES);
  if (interpreter.AllocateTensors() != kTfLiteOk) {{
    MicroPrintf("AllocateTensors failed with an arena of %u bytes", static_cast<unsigned int>(MODEL_ARENA_BYTES));
    return 1;
  }}
  MicroPrintf("arena: %u bytes used", static_cast<unsigned int>(interpreter.arena_used_bytes()));
  unsigned int agree = 0;
  for (unsigned int sample = 0; sample < MODEL_TEST_SAMPLES; ++sample) {{
{set_inputs}
    if (interpreter.Invoke() != kTfLiteOk) {{
      return 1;
    }}
    bool same = true;
{check_outputs}
    agree += same ? 1u : 0u;
  }}
  MicroPrintf("golden: %u of %u agree", agree, static_cast<unsigned int>(MODEL_TEST_SAMPLES));
  return agree == MODEL_TEST_SAMPLES ? 0 : 1;
}}
"""


class EdgeNames(Protocol):
    """What an edge contributes to C++ text."""

    @property
    def side(self) -> str:
        """``input`` or ``output``."""

    @property
    def name(self) -> str:
        """Identifier part."""

    @property
    def macro(self) -> str:
        """Start of its constants' names."""

    @property
    def c_type(self) -> str:
        """Element type."""


def ops_header(methods: Sequence[str]) -> str:
    """Return ``model_ops.h`` for the resolver's ``methods``."""
    calls = "\n".join(
        f"  if (resolver.{method}() != kTfLiteOk) {{\n    return kTfLiteError;\n  }}" for method in methods
    )
    return _OPS.format(notice=NOTICE, count=len(methods), calls=calls)


def main_source(inputs: Sequence[EdgeNames], outputs: Sequence[EdgeNames]) -> str:
    """Return ``main.cc`` for a model with these edges."""
    set_inputs = "\n".join(
        f"    std::memcpy(interpreter.typed_input_tensor<{edge.c_type}>({edge.macro}_INDEX),\n"
        f"                model_test_input_{edge.name}[sample], sizeof(model_test_input_{edge.name}[sample]));"
        for edge in inputs
    )
    check_outputs = "\n".join(
        f"    same = same && Agrees(interpreter.typed_output_tensor<{edge.c_type}>({edge.macro}_INDEX),\n"
        f"                          model_test_output_{edge.name}[sample], {edge.macro}_LENGTH,\n"
        f"                          {edge.macro}_TOLERANCE);"
        for edge in outputs
    )
    return _MAIN.format(notice=NOTICE, set_inputs=set_inputs, check_outputs=check_outputs)
