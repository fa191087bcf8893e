# SPDX-License-Identifier: Apache-2.0
"""Firmware: the C compiles, computes what numpy computes, and holds the model byte for byte."""

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgepack.bundle import syntax_check
from edgepack.bundle._c_text import array_rows, float_literal, identifiers, string_literal
from edgepack.bundle.bundle import write_bundle
from edgepack.bundle.contents import Golden
from edgepack.bundle.firmware import firmware_sources
from edgepack.bundle.golden import dequantize, quantize, read_npz, write_golden
from edgepack.bundle.syntax_check import check_syntax, write_declarations
from edgepack.errors import OutputError
from edgepack.lower.artifact import IoTensor
from edgepack.runtime.tflm_ops import ADD_METHODS, add_methods

CC = shutil.which("cc")
needs_cc = pytest.mark.skipif(CC is None, reason="no C compiler on this machine")

# Reads floats from standard input; prints the quantized value and what it dequantizes to.
HELPERS = r"""
#include "model_io.h"
#include <stdio.h>
int main(void)
{
    float real;
    while (scanf("%f", &real) == 1) {
        const int8_t raw = model_input_image_quantize(real);
        printf("%d %.9g\n", raw, (double)model_input_image_dequantize(raw));
    }
    return 0;
}
"""
DUMP = r"""
#include "model_data.h"
#include "model_settings.h"
#include "test_vectors.h"
#include <stdint.h>
#include <stdio.h>
int main(void)
{
    if ((uintptr_t)model_data % 16 != 0 || MODEL_ARENA_BYTES % 16 != 0) {
        return 1;
    }
    fwrite(model_data, 1, MODEL_DATA_LENGTH, stdout);
    fwrite(model_test_input_image, sizeof model_test_input_image, 1, stdout);
    fwrite(model_test_output_probs, sizeof model_test_output_probs, 1, stdout);
    return 0;
}
"""


@pytest.fixture
def firmware(contents, tmp_path):
    """The firmware folder of a microcontroller's bundle."""
    return write_bundle(contents("stm32h747"), tmp_path / "bundle", force=False).path / "firmware"


def compile_and_run(folder, main, text="", *, sources):
    (folder.parent / "main.c").write_text(main)
    program = folder.parent / "program"
    files = [str(folder / name) for name in sources]
    command = [CC, "-std=c99" if "model_data.c" not in sources else "-std=c11", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([*command, "-I", folder, folder.parent / "main.c", *files, "-lm", "-o", program], check=True)
    return subprocess.run([program], input=text.encode(), capture_output=True, check=True).stdout


@needs_cc
def test_quantize_helpers_are_c99_and_compute_what_numpy_computes(firmware, tiny):
    tensor = tiny[True][0].inputs[0]
    rng = np.random.default_rng(3)
    halves = (np.arange(-300, 300) + 0.5) * tensor.scale
    values = np.concatenate([rng.uniform(-1, 3, 500), halves, [0.0, -0.0, 1e30, -1e30]]).astype(np.float32)
    text = "\n".join(f"{value:.9g}" for value in values)
    rows = compile_and_run(firmware, HELPERS, text, sources=["model_io.c"]).decode().split()
    raw = np.asarray(rows[::2], np.int64)
    np.testing.assert_array_equal(raw, quantize(values, tensor))
    np.testing.assert_array_equal(np.asarray(rows[1::2], np.float32), dequantize(raw.astype(np.int8), tensor))


@needs_cc
def test_nan_quantizes_to_the_lowest_value(firmware):
    assert compile_and_run(firmware, HELPERS, "nan", sources=["model_io.c"]).split()[0] == b"-128"


@needs_cc
def test_the_array_is_the_file_and_the_vectors_are_the_golden_ones(firmware):
    found = compile_and_run(firmware, DUMP, sources=["model_data.c", "test_vectors.c"])
    model = (firmware.parent / "model.tflite").read_bytes()
    arrays = read_npz(firmware.parent / "golden.npz")
    vectors = b"".join(arrays[name][:4].tobytes() for name in ("raw_input_0", "raw_output_0"))
    assert found == model + vectors


@needs_cc
def test_every_source_is_checked_when_it_is_written(firmware):
    assert re.search(r"\d+\.\d+", check_syntax(firmware) or "")
    assert (firmware.parent / "measurements.json").read_text().count('"firmware_syntax_checked": "') == 1
    (firmware / "model_io.c").write_text("int broken(")
    with pytest.raises(OutputError, match="does not compile") as caught:
        check_syntax(firmware)
    assert caught.value.code == "EP-413"
    (firmware / "model_io.c").write_text("int fine;")
    (firmware / "main.cc").write_text(
        '#include "model_ops.h"\nint main() { ModelOpResolver r; return r.AddNothing(); }'
    )
    with pytest.raises(OutputError, match="AddNothing"):
        check_syntax(firmware)


def test_without_a_compiler_nothing_is_claimed(contents, tmp_path, monkeypatch):
    monkeypatch.setattr(syntax_check.shutil, "which", lambda _name: None)
    path = write_bundle(contents("stm32h747"), tmp_path / "bundle", force=False).path
    assert '"firmware_syntax_checked": null' in (path / "measurements.json").read_text()


def test_exactly_the_models_operators_are_registered(firmware):
    text = (firmware / "model_ops.h").read_text()
    assert re.findall(r"resolver\.(\w+)\(", text) == ["AddFullyConnected", "AddSoftmax"]
    assert "kModelOpCount = 2;" in text


def test_an_operator_that_tflm_lacks_is_named_and_nothing_is_left(contents, tmp_path):
    made = contents("stm32h747")
    odd = replace(made, artifact=replace(made.artifact, ops=("ADD v1", "CUSTOM:FlexErf v1", "RFFT2D v1")))
    with pytest.raises(OutputError, match=r"registers no CUSTOM:FlexErf and no RFFT2D") as caught:
        write_bundle(odd, tmp_path / "bundle", force=False)
    assert caught.value.code == "EP-411"
    assert list(tmp_path.iterdir()) == []


def test_an_operator_in_two_versions_is_registered_once():
    assert add_methods(("CONV_2D v1", "CONV_2D v3", "PADV2 v1")) == ("AddConv2D", "AddPadV2")
    assert len(set(ADD_METHODS.values())) == len(ADD_METHODS)


def test_every_operator_of_the_table_has_a_kernel_in_tflm():
    """The Python package links every kernel: a name that it lacks would not link on the board either."""
    package = pytest.importorskip("tflite_micro")
    library = next(Path(package.__file__).parent.rglob("_runtime*.so")).read_bytes()
    linked = {found.decode() for found in re.findall(rb"Register_([A-Z0-9_]+)E", library)}
    builtin = {name for name in ADD_METHODS if not name.startswith("CUSTOM:")}
    assert builtin - linked == set()


def test_the_arena_is_the_upper_bound_and_says_where_it_comes_from(firmware):
    text = (firmware / "model_settings.h").read_text()
    assert "#define MODEL_ARENA_MEASURED_BYTES 1000u" in text
    assert "#define MODEL_ARENA_BYTES 1200u" in text
    assert "64-bit host" in text
    assert "CMSIS-NN" in text


def test_the_arena_says_whose_scratch_it_holds(contents, tmp_path):
    path = write_bundle(contents("esp32-s3"), tmp_path / "bundle", force=False).path
    assert "that an ESP-NN kernel may ask for" in (path / "firmware" / "model_settings.h").read_text()
    assert "come on top" in (path / "README.md").read_text()


def test_an_arena_that_was_not_measured_is_not_invented(contents, tmp_path):
    made = contents("stm32h747")
    unknown = replace(made, measurement=replace(made.measurement, ram=None), verdict=type(made.verdict)(()))
    with pytest.raises(OutputError, match="was not measured") as caught:
        write_bundle(unknown, tmp_path / "bundle", force=False)
    assert caught.value.code == "EP-412"


@needs_cc
def test_several_edges_of_all_types_with_hostile_names_compile(contents, tmp_path):
    made = contents("stm32h747")
    kinds = ["int8", "int16", "uint8", "float32", "int32", "bool"]
    names = ["a/b:0", "a b 0", "*/ int x; /*", "7th", 'é "??/', "class"]
    tensors = tuple(
        IoTensor(name, (1, 2, 3), kind, *((0.1, 3) if kind in {"int8", "int16", "uint8"} else ()))
        for name, kind in zip(names, kinds, strict=True)
    )
    arrays = {
        tensor.name: np.arange(6).reshape(1, 2, 3).repeat(2, axis=0).astype(tensor.dtype) / np.asarray(1, tensor.dtype)
        if tensor.dtype == "float32"
        else np.arange(6).reshape(1, 2, 3).repeat(2, axis=0).astype(tensor.dtype)
        for tensor in tensors
    }
    artifact = replace(made.artifact, inputs=tensors, outputs=tensors)
    made = replace(made, artifact=artifact, golden=Golden(inputs=arrays, raw_outputs=arrays))
    written = write_golden(made.golden, artifact, tmp_path / "golden.npz")
    for name, text in firmware_sources(made, written, b"model").items():
        (tmp_path / name).write_text(text)
    assert check_syntax(tmp_path) is not None


def test_large_samples_leave_the_flash_to_the_model(contents, tmp_path):
    made = contents("stm32h747")
    big = IoTensor("image", (1, 200, 200), "int8", 0.1, 0)
    artifact = replace(made.artifact, inputs=(big,))
    golden = replace(made.golden, inputs={"image": np.zeros((6, 200, 200), np.float32)})
    made = replace(made, artifact=artifact, golden=golden)
    sources = firmware_sources(made, write_golden(golden, artifact, tmp_path / "golden.npz"), b"model")
    assert "#define MODEL_TEST_SAMPLES 1u" in sources["test_vectors.h"]


def test_names_become_different_identifiers():
    assert identifiers(["main/image:0", "main image 0", "::", "é"]) == (
        "main_image_0",
        "main_image_0_1",
        "tensor",
        "tensor_3",
    )


@needs_cc
def test_names_and_shapes_are_constants_of_the_header(firmware):
    main = (
        '#include "model_io.h"\n#include <stdio.h>\nint main(void)\n{\n'
        "    const int shape[MODEL_OUTPUT_PROBS_RANK] = MODEL_OUTPUT_PROBS_SHAPE;\n"
        '    printf("%s %s %d %d", MODEL_INPUT_IMAGE_NAME, MODEL_OUTPUT_PROBS_NAME, shape[0], shape[1]);\n'
        "    return 0;\n}\n"
    )
    assert compile_and_run(firmware, main, sources=["model_io.c"]) == b"image probs 1 3"


@needs_cc
def test_any_name_survives_as_a_c_string(tmp_path):
    name = 'é "??/ \\ 7\n1'
    main = f"#include <stdio.h>\nint main(void) {{ return puts({string_literal(name)}) < 0; }}\n"
    (tmp_path / "main.c").write_text(main)
    subprocess.run([CC, "-std=c11", "-Wall", "-Werror", tmp_path / "main.c", "-o", tmp_path / "p"], check=True)
    assert subprocess.run([tmp_path / "p"], capture_output=True, check=True).stdout.decode() == name + "\n"


def test_float_literals_read_back_to_the_same_float32():
    values = np.asarray([0.1, 1.0, 1e-30, 3.4e38, 16777217.0, -2.5], np.float32)
    for value in values:
        text = float_literal(float(value))
        assert text.endswith("f")
        assert np.float32(text[:-1]) == value
    assert array_rows(np.asarray([[1, 2], [3, 4]], np.int16)).count("{") == 2


@needs_cc
def test_the_declarations_stand_alone(tmp_path):
    write_declarations(tmp_path)
    header = tmp_path / "tensorflow" / "lite" / "micro" / "micro_interpreter.h"
    (tmp_path / "use.cc").write_text(f'#include "{header}"\nint main() {{ return 0; }}\n')
    assert check_syntax(tmp_path) is not None
