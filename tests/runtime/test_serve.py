# SPDX-License-Identifier: Apache-2.0
"""The script that runs alone: its quantization, its protocol, its independence of this package."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgepack.runtime import _backends, _serve
from edgepack.runtime._backends import Tensor


def at_run_time(tree):
    """Yield the nodes of a module, without what stands there for a type checker alone."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for other in node.orelse:
                yield from ast.walk(other)
        else:
            yield node
            yield from at_run_time(node)


@pytest.mark.parametrize("module", [_serve, _backends])
def test_it_imports_nothing_of_the_package(module):
    nodes = list(at_run_time(ast.parse(Path(module.__file__).read_text())))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    roots = {name.split(".")[0] for name in names}
    foreign = {"numpy", "_backends"} if module is _serve else {"numpy", "tflite_micro"}
    assert roots - set(sys.stdlib_module_names) == foreign


def test_its_own_folder_is_no_place_to_import_from():
    folder = Path(_serve.__file__).parent
    code = f"import sys, runpy; runpy.run_path({str(folder / '_serve.py')!r}); print(sys.path)"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert str(folder) not in done.stdout, "a package of a runtime would be shadowed by the module named like it"


@pytest.mark.parametrize(
    ("real", "expected"),
    [
        (0.5, 1),
        (-0.5, -1),
        (1.5, 2),
        (2.5, 3),
        (-2.5, -3),
        (0.49999997, 0),
        (0.0, 0),
        (126.4, 126),
        (1e9, 127),
        (-1e9, -128),
    ],
)
def test_reals_round_half_away_from_zero_and_saturate(real, expected):
    assert Tensor((1, 1), np.int8, 1.0, 0).encode(np.array([[real]], np.float32))[0, 0, 0] == expected


def test_encoding_is_tflites_formula_for_every_scale():
    samples = np.random.default_rng(1).normal(scale=3, size=(200, 50)).astype(np.float32)
    for scale, zero_point in ((0.0235, -3), (1.0, -128), (0.37, 17)):
        units = (samples / np.float32(scale)).astype(np.float64)
        rounded = np.sign(units) * np.floor(np.abs(units) + 0.5)
        expected = np.clip(rounded + zero_point, -128, 127).astype(np.int8)
        assert np.array_equal(Tensor((1, 50), np.int8, scale, zero_point).encode(samples)[:, 0], expected)


def test_pixels_are_reals_and_int8_arrays_are_left_alone():
    tensor = Tensor((1, 2), np.int8, 1.0, -128)
    assert tensor.encode(np.array([[0, 255]], np.uint8)).tolist() == [[[-128, 127]]]
    assert tensor.encode(np.array([[-5, 9]], np.int8)).tolist() == [[[-5, 9]]]
    assert Tensor((1, 2), np.int32, 0.0, 0).encode(np.array([[3.0, 4.0]], np.float32)).dtype == np.int32


def test_decoding_undoes_encoding_within_half_a_step():
    tensor = Tensor((1, 50), np.int8, 0.05, 4)
    reals = np.linspace(-6, 6, 50, dtype=np.float32)[None]
    assert np.abs(tensor.decode(tensor.encode(reals))[0] - reals).max() <= 0.025 + 1e-6


def serve(tmp_path, requests, *, noise=""):
    """Run the script with a backend that prints on descriptor 1 as C++ does; return the answers and the log."""
    script = tmp_path / "noisy.py"
    script.write_text(
        "import sys, os, importlib.util\n"
        f"spec = importlib.util.spec_from_file_location('serve', {str(_serve.__file__)!r})\n"
        "serve = importlib.util.module_from_spec(spec); spec.loader.exec_module(serve)\n"
        "class Noisy(serve.Backend):\n"
        "    @classmethod\n"
        "    def version(cls): return '1', ''\n"
        "    def __init__(self, path, threads, arena_bytes):\n"
        f"        os.write(1, {noise.encode()!r}); print('from Python', flush=True)\n"
        "        self.inputs = []; self.outputs = []\n"
        "        if path == 'bad': raise RuntimeError('cannot be placed')\n"
        "        if path == 'abort': os.abort()\n"
        "    def set_input(self, index, value): pass\n"
        "    def invoke(self): pass\n"
        "    def output(self, index): pass\n"
        "serve.BACKENDS['noisy'] = Noisy\n"
        "serve.main('noisy', int(sys.argv[1]))\n"
    )
    done = subprocess.run(
        [sys.executable, script, str(os.getpid())],
        input="".join(json.dumps(request) + "\n" for request in requests),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def test_what_cpp_prints_cannot_break_the_protocol(tmp_path):
    answers, log = serve(tmp_path, [{"do": "load", "path": "good"}], noise='{"ok": false}\nINFO: hello\n')
    assert answers[0]["ready"]
    assert answers[1] == {"ok": True, "inputs": [], "outputs": []}
    assert len(answers) == 2
    assert "INFO: hello" in log
    assert "from Python" in log


def test_a_refusal_is_an_answer_and_an_abort_is_silence(tmp_path):
    answers, _ = serve(tmp_path, [{"do": "load", "path": "bad"}, {"do": "load", "path": "good"}])
    assert answers[1] == {"ok": False, "error": "cannot be placed"}
    assert answers[2]["ok"]
    answers, _ = serve(tmp_path, [{"do": "load", "path": "abort"}, {"do": "load", "path": "good"}])
    assert len(answers) == 1


def test_nothing_can_be_run_before_a_model_is_loaded(tmp_path):
    answers, _ = serve(tmp_path, [{"do": "arena"}])
    assert answers[1] == {"ok": False, "error": "no model is loaded"}
