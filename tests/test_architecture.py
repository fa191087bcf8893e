# SPDX-License-Identifier: Apache-2.0
"""The rules of the house, read from the source: who imports whom, who prints, how long things are, which codes."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

PACKAGE = Path(__file__).resolve().parent.parent / "edgepack"
STAGES = (
    *("importer", "model", "data", "device", "graph", "quantize", "train", "compress", "lower", "runtime", "measure"),
    *("search", "bundle"),
)
ABOVE = ("pipeline", "planned", "scouting", "searching", "request", "loading")
"""Modules over the stages."""
HEAVY = {
    "ai_edge_litert",
    "ai_edge_quantizer",
    "dask",
    "distributed",
    "keras",
    "onnx",
    "onnxruntime",
    "onnxslim",
    "plotly",
    "sklearn",
    "tensorflow",
    "tf2onnx",
    "tflite_micro",
}
MODULES = sorted(PACKAGE.rglob("*.py"))
# Scripts that are shipped to devices or run in another interpreter cannot import the package's other modules.
STANDALONE = {
    "bundle/device_benchmark.py",
    "bundle/device_infer.py",
    "bundle/device_onnx.py",
    "bundle/_to_ort.py",
    "runtime/_backends.py",
    "runtime/_serve.py",
}


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Yield each imported module and whether the import is at the top level of its module."""
    tree = ast.parse(path.read_text())
    top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, id(node) in top
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module, id(node) in top


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_stage_imports_only_leftwards(path):
    stage = path.relative_to(PACKAGE).parts[0]
    for module, _ in imports(path):
        if not module.startswith("edgepack."):
            continue
        target = module.split(".")[1]
        if stage in STAGES:
            assert target not in {"cli", *ABOVE}, f"{name_of(path)} imports {module}"
            if target in STAGES:
                assert STAGES.index(target) <= STAGES.index(stage), f"{name_of(path)} imports {module} on its right"
        elif stage not in {"cli", "__main__.py", *(f"{name}.py" for name in ABOVE)}:
            assert target not in {*STAGES, "cli", *ABOVE}, f"{name_of(path)} imports {module}"


def test_no_modules_import_each_other_in_a_circle():
    """Inside functions, too; what is imported for its types alone ties nothing."""
    modules = {".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path for path in MODULES}
    waiting = {}
    for name, path in modules.items():
        tree = ast.parse(path.read_text())
        tree.body = [node for node in tree.body if "TYPE_CHECKING:" not in ast.unparse(node).partition("\n")[0]]
        froms = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        named = {f"{node.module}.{alias.name}" for node in froms for alias in node.names}
        waiting[name] = modules.keys() & {*named, *(node.module for node in froms)}
    while free := [name for name, needs in waiting.items() if not needs & waiting.keys()]:
        for name in free:
            del waiting[name]
    assert not waiting, "these import each other, or what does"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_private_module_is_used_by_its_own_folder_alone(path):
    folder = path.relative_to(PACKAGE).parts[0]
    if folder == "__main__.py":
        return  # the door of the command line, whose folder lists commands alone
    for module, _ in imports(path):
        parts = module.split(".")
        if parts[0] == "edgepack" and len(parts) > 2 and parts[2].startswith("_"):
            assert parts[1] == folder, f"{name_of(path)} imports {module}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_heavy_imports_live_inside_functions(path):
    if name_of(path).startswith("importer/_"):
        return  # what builds Keras layers from ONNX nodes is itself imported inside functions alone
    for module, at_top in imports(path):
        assert not (at_top and module.split(".")[0] in HEAVY), f"{name_of(path)} imports {module} at its top"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_only_the_command_line_prints_or_exits(path):
    if path.relative_to(PACKAGE).parts[0] == "cli" or name_of(path) in STANDALONE:
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            assert ast.unparse(node.func) not in {"print", "sys.exit", "exit"}, f"{name_of(path)}:{node.lineno}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nothing_is_caught_broadly(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ExceptHandler):
            caught = ast.unparse(node.type) if node.type else "everything"
            assert caught not in {"Exception", "BaseException", "everything"}, f"{name_of(path)}:{node.lineno}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_modules_and_functions_stay_short(path):
    text = path.read_text()
    # A script that runs alone on a device is one file by its contract.
    assert text.count("\n") <= (500 if name_of(path) in STANDALONE else 320), f"{name_of(path)} is long"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= 45, f"{name_of(path)}:{node.lineno} {node.name} has {length} lines"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_file_names_its_licence(path):
    assert path.read_text().startswith("# SPDX-License-Identifier: ")


def test_every_error_code_is_explained_and_every_explanation_is_used():
    raised = set()
    for path in MODULES:
        raised |= set(re.findall(r'"(EP-\d{3})"', path.read_text()))
    text = (PACKAGE / "explanations.yaml").read_text()
    explained = yaml.safe_load(text)
    assert len(re.findall(r"^EP-\d+:", text, re.MULTILINE)) == len(explained), "YAML keeps the last of two"
    assert raised == set(explained)
    for code, entry in explained.items():
        assert set(entry) == {"title", "why", "next"}, code
        assert all(entry.values()), code


@pytest.mark.parametrize("arguments", [["--help"], ["build", "--help"], ["check", "--help"], ["--version"]])
def test_help_imports_no_framework(arguments):
    code = (
        "import sys; sys.argv = ['edgepack', *sys.argv[1:]]\n"
        "from edgepack.__main__ import main\n"
        "try: main()\n"
        "except SystemExit as done: assert done.code == 0, done.code\n"
        "print('\\n'.join(sorted({name.split('.')[0] for name in sys.modules})), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())
    assert not loaded & HEAVY
    if arguments[0] in {"--help", "--version"}:
        assert not loaded & {"numpy", "pydantic", "yaml", "rich"}, "the top-level help imports nothing but click"
