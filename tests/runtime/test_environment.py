# SPDX-License-Identifier: Apache-2.0
"""An environment is made once, whole or not at all."""

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from edgepack.errors import HostError
from edgepack.runtime import _environment
from edgepack.runtime._environment import environment_python, is_made
from edgepack.work import Work

PINS = ("some-runtime==1.0", "numpy==1.26.4")


@pytest.fixture
def made(monkeypatch):
    """Stand in for venv and pip; the list grows by one command a call."""
    commands = []

    def run(command, **options):
        commands.append(command)
        if "venv" in command:
            folder = _environment.Path(command[-1])
            (folder / "bin").mkdir(parents=True)
            (folder / "bin" / "python").touch()
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(_environment.subprocess, "run", run)
    return commands


def test_it_is_made_once_with_exact_pins(work, made, monkeypatch):
    monkeypatch.delenv("EDGEPACK_ENVS", raising=False)
    first = environment_python("some-runtime", "1.0", pins=PINS, work=work)
    assert first == environment_python("some-runtime", "1.0", pins=PINS, work=work)
    assert first.parent.parent.parent == work.root / "envs"
    assert len(made) == 2
    assert made[1][-2:] == list(PINS)


def test_other_pins_make_it_anew(work, made):
    environment_python("some-runtime", "1.0", pins=PINS, work=work)
    environment_python("some-runtime", "1.0", pins=(PINS[0], "numpy==1.25.0"), work=work)
    assert len(made) == 4


def test_a_shared_folder_serves_every_work_folder(tmp_path, made, monkeypatch):
    monkeypatch.setenv("EDGEPACK_ENVS", str(tmp_path / "shared"))
    found = {
        environment_python("some-runtime", "1.0", pins=PINS, work=Work(tmp_path / name)) for name in ("one", "two")
    }
    assert len(found) == 1
    assert found.pop().is_relative_to(tmp_path / "shared")
    assert len(made) == 2


def test_two_at_once_make_one(work, made):
    with ThreadPoolExecutor(2) as pool:
        found = set(pool.map(lambda _: environment_python("some-runtime", "1.0", pins=PINS, work=work), range(2)))
    assert len(found) == 1
    assert len(made) == 2


def test_what_an_interrupted_build_left_is_made_anew(work, made, monkeypatch):
    monkeypatch.delenv("EDGEPACK_ENVS", raising=False)
    python = environment_python("some-runtime", "1.0", pins=PINS, work=work)
    (python.parent.parent / "edgepack-environment.json").unlink()
    environment_python("some-runtime", "1.0", pins=PINS, work=work)
    assert len(made) == 4


def test_pips_last_words_and_the_command_reach_the_user(work, monkeypatch):
    monkeypatch.delenv("EDGEPACK_ENVS", raising=False)

    def run(command, *, stdout, **options):
        if "venv" in command:
            _environment.Path(command[-1]).mkdir(parents=True)
            return
        stdout.write(b"ERROR: No matching distribution found for some-runtime==1.0\n")
        raise subprocess.CalledProcessError(1, command)

    monkeypatch.setattr(_environment.subprocess, "run", run)
    with pytest.raises(HostError, match=r"No matching distribution found for some-runtime==1\.0") as caught:
        environment_python("some-runtime", "1.0", pins=PINS, work=work)
    assert caught.value.code == "EP-503"
    assert "-m pip install" in caught.value.hint
    assert "numpy==1.26.4" in caught.value.hint
    assert caught.value.hint.count("-by-hand") == 2
    assert not re.search(r"some-runtime-1\.0-py[0-9.]+(/| |$)", caught.value.hint), "not where it belongs"
    assert not [path for path in (work.root / "envs").iterdir() if path.is_dir()], "nothing half-made is left"


@pytest.fixture
def refused(work, monkeypatch):
    """Return the error where pip answers with ``lines``."""
    monkeypatch.delenv("EDGEPACK_ENVS", raising=False)

    def of(*lines):
        def run(command, *, stdout, **options):
            if "venv" not in command:
                stdout.write("\n".join(lines).encode())
                raise subprocess.CalledProcessError(1, command)

        monkeypatch.setattr(_environment.subprocess, "run", run)
        with pytest.raises(HostError) as caught:
            environment_python("some-runtime", "1.0", pins=PINS, work=work)
        assert caught.value.code == "EP-503"
        return caught.value

    return of


def no_such(what, there):
    return (
        f"ERROR: Could not find a version that satisfies the requirement {what} (from versions: {there})",
        f"ERROR: No matching distribution found for {what}",
    )


@pytest.mark.parametrize(
    ("there", "newest"), [("0.8, 0.9.1, 2.0", "2.0"), ("0.9, 2.0rc1", "0.9"), ("2.0.dev1", "2.0.dev1")]
)
def test_a_version_that_does_not_exist_is_said_with_the_newest_that_does(refused, work, there, newest):
    error = refused(*no_such("some-runtime==1.0", there))
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert error.message == f"no some-runtime 1.0 for Python {python} (the newest here is {newest})"
    log = work.root.absolute() / "envs" / f"some-runtime-1.0-py{python}.log"
    assert error.hint == f"correct the version in the profile's runtimes; the whole log is {log}"
    assert log.exists()


@pytest.mark.parametrize(
    ("what", "there"), [("some-runtime==1.0", "none"), ("numpy==1.26.4", "1.0, 2.0"), ("some-runtime>=1.0", "0.9")]
)
def test_what_the_profile_is_not_to_blame_for_is_told_in_pips_words(refused, what, there):
    error = refused(*no_such(what, there))
    assert error.message.endswith(f"No matching distribution found for {what}")
    assert "-m pip install" in error.hint


def test_whether_it_is_made_is_known_without_making_it(work, made, monkeypatch):
    monkeypatch.delenv("EDGEPACK_ENVS", raising=False)
    assert not is_made("some-runtime", "1.0", pins=PINS, work=work)
    assert not made
    environment_python("some-runtime", "1.0", pins=PINS, work=work)
    assert is_made("some-runtime", "1.0", pins=PINS, work=work)
    assert not is_made("some-runtime", "1.0", pins=PINS[:1], work=work), "other pins"
    assert len(made) == 2
