# SPDX-License-Identifier: Apache-2.0
"""Fixtures that every part of the suite uses."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from edgepack.compress.recipe import Io, Recipe
from edgepack.crew.process import Worker
from edgepack.errors import HostError
from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.lower.artifact import Artifact
from edgepack.lower.form import TFLITE, Form
from edgepack.lower.lower import lower
from edgepack.model.model import Format, Model, TensorSpec
from edgepack.model.precision import Precision
from edgepack.runtime._environment import environment_python
from edgepack.runtime.base import get_runtime
from edgepack.runtime.session import RuntimeSession
from edgepack.work import Work

ROOT = Path(__file__).resolve().parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a reviewed change of a golden file be written instead of refused."""
    parser.addoption("--update-golden", action="store_true", help="write the files of tests/golden anew")


@pytest.fixture
def golden_file(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Hold a text against ``tests/golden/NAME``; ``--update-golden`` writes it there, to be reviewed as a diff."""

    def check(name: str, text: str) -> None:
        path = ROOT / "tests" / "golden" / name
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8"), f"{name} changed; look at it, then pytest --update-golden"

    return check


@pytest.fixture(scope="session")
def field() -> Callable[[str], Path]:
    """Return a path inside the folder of real models and data, or skip by name where it is absent."""
    root = Path(os.environ.get("EDGEPACK_FIELD", ROOT.parent / "shared" / "field"))

    def find(name: str) -> Path:
        path = root / name
        if not path.exists():
            pytest.skip(f"field data absent: {name} (set EDGEPACK_FIELD)")
        return path

    return find


@pytest.fixture(scope="session")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """One warm TensorFlow process for the whole run."""
    with Worker(tmp_path_factory.mktemp("worker-logs")) as process:
        yield process


def run_script(worker: Worker, name: str, folder: Path, **given: object) -> dict[str, Any]:
    """Run ``tests/NAME`` inside ``worker`` and return what it reports.

    The worker imports functions by module name, and tests are no modules to it: it gets the script's text, with
    ``NETS`` (the folder of models that scripts import), ``REPORT`` (the JSON to write) and what is ``given``.
    """
    report = folder / "report.json"
    nets = str(ROOT / "tests" / "nets")
    globals_ = {"TESTS": nets, "REPORT": str(report), "__name__": "check", **given}
    worker.call(Path(name).stem, exec, (ROOT / "tests" / name).read_text(), globals_)
    found: dict[str, Any] = json.loads(report.read_text())
    return found


@pytest.fixture(scope="session")
def script() -> Callable[..., dict[str, Any]]:
    """Run a script of ``tests`` inside a worker of the test's own: see ``run_script``."""
    return run_script


@pytest.fixture(scope="session")
def checked(worker: Worker, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, Any]]:
    """Run a script of ``tests`` inside the warm worker, once for the whole run, and return what it reports."""

    @cache
    def known(name: str) -> dict[str, Any]:
        return run_script(worker, name, tmp_path_factory.mktemp(Path(name).stem))

    def run(name: str, **given: object) -> dict[str, Any]:
        return run_script(worker, name, tmp_path_factory.mktemp(Path(name).stem), **given) if given else known(name)

    return run


@pytest.fixture(scope="session")
def mixed_report(checked):
    """What came of ``quantize/check_mixed.py``."""
    return checked("quantize/check_mixed.py")


@pytest.fixture(scope="session")
def sharing_report(checked):
    """What came of ``compress/check_sharing.py``."""
    return checked("compress/check_sharing.py")


@pytest.fixture(scope="session")
def trained(checked):
    """What came of ``train/check_train.py``."""
    return checked("train/check_train.py")


@pytest.fixture(scope="session")
def augmented(checked):
    """What came of ``train/check_augment.py``."""
    return checked("train/check_augment.py")


@dataclass(frozen=True)
class Run:
    """A finished command."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)

    @property
    def build(self):
        (only,) = self.json["builds"]
        return only


@pytest.fixture(scope="session")
def edgepack() -> Callable[..., Run]:
    """Run ``edgepack`` as a user does, in a folder and with more environment, and return what came of it.

    ``under`` is a command that starts the one that follows it.
    """

    def run(*arguments, cwd=None, env=(), under=(), timeout_s=600) -> Run:
        done = subprocess.run(
            [*under, sys.executable, "-m", "edgepack", *map(str, arguments)],
            cwd=cwd,
            env={**os.environ, **dict(env)},
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
        )
        return Run(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def work(tmp_path: Path) -> Work:
    """An empty work folder."""
    return Work(tmp_path / "work")


SMALL_MODELS = {
    "conv": ({"image": (1, 8, 8, 2)}, {"probs": (1, 3)}),
    "two": ({"zeta": (1, 8), "alpha": (1, 6)}, {"yonder": (1, 3), "before": (1, 2)}),
    "foreign": ({"matrix": (1, 3, 3)}, {"volume": (1,)}),
}


@pytest.fixture(scope="session")
def small_models(worker: Worker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the SavedModels ``conv``, ``two`` and ``foreign``, and 64 samples of each input, ``image.npy`` say."""
    folder = tmp_path_factory.mktemp("small-models")
    # The worker imports functions by module name, and tests are no modules to it: it gets the script's text.
    script = ROOT / "tests" / "make_models.py"
    worker.call("make-models", exec, script.read_text(), {"folder": str(folder), "__name__": "make_models"})
    return folder


@pytest.fixture(scope="session")
def small_model(small_models: Path) -> Callable[[str], Model]:
    """One of the small SavedModels by name, as the loader would describe it."""

    def describe(name: str) -> Model:
        inputs, outputs = (
            tuple(TensorSpec(label, shape, "float32") for label, shape in side.items()) for side in SMALL_MODELS[name]
        )
        path = small_models / name
        return Model(path, "savedmodel", path, Format.SAVEDMODEL, inputs, outputs, digest=name)

    return describe


@pytest.fixture(scope="session")
def small_samples(small_models: Path) -> Callable[[str], tuple[Path, ...]]:
    """The samples of a small model, one array per input in its order."""
    return lambda name: tuple(small_models / f"{label}.npy" for label in SMALL_MODELS[name][0])


@pytest.fixture(scope="session")
def lowered(
    worker: Worker,
    small_model: Callable[[str], Model],
    small_samples: Callable[[str], tuple[Path, ...]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., Artifact]:
    """A small model lowered to a precision, made once: ``lowered("conv", Precision.W8A8, "int8")``, or to a form."""
    folder = tmp_path_factory.mktemp("lowered")

    @cache
    def make(name: str, precision: Precision, io: Io, form: Form = TFLITE) -> Artifact:
        recipe = Recipe(precision=PrecisionPlan(default=precision, io=io))
        return worker.call(
            f"lower-{name}-{form.format}-{recipe.digest[:8]}",
            lower,
            small_model(name),
            recipe,
            calibration=small_samples(name),
            folder=folder,
            form=form,
        )

    return make


@pytest.fixture(scope="session")
def runtime_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], RuntimeSession]]:
    """A warm session of a runtime by name; skips by name where it cannot be had.

    Environments of runtimes are made once and kept: in EDGEPACK_ENVS, by default in the user's cache folder.
    """
    work = Work(tmp_path_factory.mktemp("runtimes"))
    kept = os.environ.get("EDGEPACK_ENVS", str(Path.home() / ".cache" / "edgepack" / "envs"))
    started: list[RuntimeSession] = []

    @cache
    def open_session(name: str) -> RuntimeSession:
        runtime = get_runtime(name)
        try:
            if runtime.extra:
                session = runtime.reference_session(work)
            else:
                with pytest.MonkeyPatch.context() as patch:
                    patch.setenv("EDGEPACK_ENVS", kept)
                    python = environment_python(name, "2.14.0", pins=runtime.pins("2.14.0"), work=work)
                session = RuntimeSession(python=python, backend=name, log_folder=work.folder("logs"))
        except HostError as error:
            pytest.skip(f"{name}: {error}")
        started.append(session)
        return session

    yield open_session
    for session in started:
        session.stop()
