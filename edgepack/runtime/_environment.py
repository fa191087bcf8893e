# SPDX-License-Identifier: Apache-2.0
"""Environments of runtime versions that this one does not have: made once with pip, used for ever.

``EDGEPACK_ENVS`` may name a folder that several work folders share. An environment is built where it will stay, since
its scripts carry their path; a marker written last says that it is complete, and a lock lets one builder in.
"""

import fcntl
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgepack.crew.process import last_words
from edgepack.digest import canonical_json
from edgepack.errors import HostError
from edgepack.work import Work, disk_errors

_MARKER = "edgepack-environment.json"
_PIP_OPTIONS = ("--disable-pip-version-check", "--no-input", "--retries", "2", "--timeout", "20")
_NO_SUCH = re.compile(r"satisfies the requirement ([^\s=]+)==(\S+) \(from versions: ([^)]*)\)")
_RELEASE = re.compile(r"[0-9.]+")


def environment_python(name: str, version: str, *, pins: tuple[str, ...], work: Work) -> Path:
    """Return the interpreter of the environment for ``name`` at ``version``, made first if it is not there.

    Args:
        name: The runtime's name.
        version: Its exact version.
        pins: Requirements to install, each pinned exactly.
        work: Whose ``envs`` folder holds it, unless ``EDGEPACK_ENVS`` is set.

    Raises:
        HostError: pip or venv failed (EP-503), with its last words and the command to run by hand; or the disk is
            full (EP-501).
        OutputError: The folder cannot be written (EP-402).
    """
    folder = _folder(name, version, work)
    python = folder / "bin" / "python"
    marker = _marker(pins)
    with disk_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder.with_name(f"{folder.name}.lock")):
            if not _is_complete(folder, marker):
                _build(folder, python, pins, log=folder.with_name(f"{folder.name}.log"))
                (folder / _MARKER).write_bytes(marker)
    return python


def is_made(name: str, version: str, *, pins: tuple[str, ...], work: Work) -> bool:
    """Whether ``environment_python`` would find the environment there, and not have to make it."""
    return _is_complete(_folder(name, version, work), _marker(pins))


def _folder(name: str, version: str, work: Work) -> Path:
    shared = os.environ.get("EDGEPACK_ENVS")
    parent = Path(shared).expanduser().absolute() if shared else work.folder("envs").absolute()
    return parent / f"{name}-{version}-py{_python_version()}"


def _marker(pins: tuple[str, ...]) -> bytes:
    return canonical_json({"pins": list(pins)})


def _python_version() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _is_complete(folder: Path, marker: bytes) -> bool:
    path = folder / _MARKER
    return path.exists() and path.read_bytes() == marker and (folder / "bin" / "python").exists()


def _build(folder: Path, python: Path, pins: tuple[str, ...], *, log: Path) -> None:
    """Make the environment at ``folder``; what an earlier failure left there is removed first."""
    shutil.rmtree(folder, ignore_errors=True)
    commands = _commands(folder, python, pins)
    made = False
    try:
        with log.open("wb") as stream:
            for command in commands:
                subprocess.run(command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, check=True)
        made = True
    except (subprocess.CalledProcessError, OSError) as error:
        raise _not_made(folder, pins, log, error) from error
    finally:
        if not made:
            shutil.rmtree(folder, ignore_errors=True)


def _commands(folder: Path, python: Path, pins: tuple[str, ...]) -> tuple[list[str], list[str]]:
    return (
        [sys.executable, "-m", "venv", str(folder)],
        [str(python), "-m", "pip", "install", *_PIP_OPTIONS, *pins],
    )


def _not_made(folder: Path, pins: tuple[str, ...], log: Path, error: Exception) -> HostError:
    """Return why there is no environment at ``folder``: there is no such version, or pip's and venv's last words."""
    said = log.read_text(errors="replace") if log.exists() else ""
    missing = _NO_SUCH.search(said)
    if missing is not None and missing[3] != "none" and pins[0] == f"{missing[1]}=={missing[2]}":
        there = missing[3].split(", ")  # the newest last; what is no release yet is no advice
        newest = [item for item in there if _RELEASE.fullmatch(item)] or there
        return HostError(
            "EP-503",
            f"no {missing[1]} {missing[2]} for Python {_python_version()} (the newest here is {newest[-1]})",
            hint=f"correct the version in the profile's runtimes; the whole log is {log}",
        )
    # Elsewhere: nothing that is half made by hand lies where the environment belongs.
    aside = folder.with_name(f"{folder.name}-by-hand")
    by_hand = " && ".join(shlex.join(item) for item in _commands(aside, aside / "bin" / "python", pins))
    return HostError(
        "EP-503",
        f"the environment for {pins[0]} cannot be made: {last_words(log) or error}",
        hint=f"run it by hand to see why: {by_hand}; the whole log is {log}",
    )


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an advisory lock; a second builder waits and then finds the environment made."""
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
