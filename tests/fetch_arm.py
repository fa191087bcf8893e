# SPDX-License-Identifier: Apache-2.0
"""Make a Raspberry Pi 4's Python here, for tests to run bundles in under QEMU: ``python tests/fetch_arm.py``.

Debian's arm64 Python is unpacked, not installed, with the aarch64 wheels of the runtimes that the profile names. Only
QEMU itself is installed, by apt, where it is absent and this is root. Idempotent. What cannot be had is said, and exits
1 with nothing left behind: the tests that need it skip by name.
"""

import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from edgepack.device.profile import load_device
from edgepack.device.wheels import RUNTIMES
from edgepack.runtime.base import get_runtime

FOLDER = Path(__file__).resolve().parent.parent / ".arm"
QEMU = "qemu-aarch64"
BOARD = load_device("rpi4")
# QEMU's name of the core, never "max": its emulated SME gives LiteRT's int8 kernels wrong answers.
CORE = BOARD.cpu.core.lower()
PARTS = {"cortex-a72": "0xd08"}  # as the core tells it in /proc/cpuinfo
PACKAGES = ("python3-minimal", "libpython3-stdlib", "libstdc++6", "libgomp1", "zlib1g", "libgcc-s1")
PROBE = "import ai_edge_litert.interpreter, numpy, onnxruntime, platform; print(platform.machine())"


PATIENCE = {"Acquire::http::Timeout": "20", "Acquire::https::Timeout": "20", "Acquire::Retries": "1"}


class AbsentError(Exception):
    """What could not be had, in words."""


def requirements() -> list[str]:
    """Return what pip is asked for: the runtimes of the board's profile, and numpy as it is here."""
    pins = [pin for spec in BOARD.runtimes for pin in get_runtime(spec.name).pins(spec.version)]
    return list(dict.fromkeys(pins))


def python_of(folder: Path) -> Path:
    """Return the Arm interpreter of the root in ``folder``."""
    found = sorted((folder / "usr" / "bin").glob("python3.*[0-9]"))
    if not found:
        raise AbsentError("the packages hold no usr/bin/python3.N")
    return found[0]


def emulated(*arguments: str, core: str = CORE, folder: Path = FOLDER) -> list[str]:
    """Return the command that runs Python with ``arguments`` on an emulated core; paths of this machine hold.

    /proc/cpuinfo tells of ``CORE`` whatever the core; runtimes choose kernels by what the processor itself says.
    """
    return [QEMU, "-L", str(folder), "-cpu", core, str(python_of(folder)), "-I", *arguments]


def why_absent() -> str:
    """Return why nothing can be emulated now, or an empty string."""
    stamp = FOLDER / "made"
    if not stamp.is_file() or stamp.read_text(encoding="utf-8") != made_of():
        return "the arm64 root was not fetched (make arm)"
    return "" if shutil.which(QEMU) else f"{QEMU} is absent (make arm)"


def made_of() -> str:
    """Return what a root that is up to date was made of."""
    return "\n".join((CORE, *PACKAGES, *requirements()))


def told(*command: str | Path) -> str:
    """Run ``command`` and return its standard output; what fails ends all, in its own last words."""
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip() or f"exit {done.returncode}").splitlines()
        raise AbsentError(f"{Path(command[0]).name}: {lines[-1]}")
    return done.stdout


def _options(settings: Mapping[str, object]) -> list[str]:
    return [f"--option={name}={value}" for name, value in settings.items()]


def install_qemu() -> None:
    """Have ``qemu-aarch64`` on the path."""
    if shutil.which(QEMU):
        return
    if os.geteuid() or not shutil.which("apt-get"):
        raise AbsentError(f"{QEMU} is absent; as root: apt-get install qemu-user")
    say("installing qemu-user by apt")
    told("apt-get", *_options(PATIENCE), "update", "--quiet")
    told("apt-get", *_options(PATIENCE), "install", "--quiet", "--yes", "--no-install-recommends", "qemu-user")


def unpack_root(folder: Path, scratch: Path) -> None:
    """Unpack Python and the libraries of the wheels, for arm64, into ``folder``; apt's own state stays as it is."""
    if not shutil.which("apt-get"):
        raise AbsentError("apt-get is absent: the root is made of Debian's packages")
    release = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    targets = told("apt-get", "indextargets", "--format", "$(SITE) $(RELEASE) $(COMPONENT)", "Created-By: Packages")
    source = next((line for line in targets.splitlines() if line.split()[1:] == [release, "main"]), "")
    if not source:
        raise AbsentError(f"apt has no source of {release or 'this system'} main")
    for name in ("lists/partial", "cache/archives/partial"):
        (scratch / name).mkdir(parents=True)
    (scratch / "status").touch()
    (scratch / "sources.list").write_text(f"deb [arch=arm64] {source}\n", encoding="utf-8")
    settings = {
        "APT::Architecture": "arm64",
        "APT::Architectures::": "arm64",
        "APT::Install-Recommends": "0",
        "APT::Sandbox::User": "root",
        "APT::Update::Error-Mode": "any",  # else what could not be fetched is a warning
        "Acquire::Languages": "none",
        "Dir::Cache": scratch / "cache",
        "Dir::Etc::sourcelist": scratch / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State::lists": scratch / "lists",
        "Dir::State::status": scratch / "status",
    }
    apt = ["apt-get", "--quiet", *_options({**PATIENCE, **settings})]
    say(f"fetching {', '.join(PACKAGES)} for arm64 from {source}")
    told(*apt, "update")
    told(*apt, "install", "--yes", "--download-only", *PACKAGES)
    for package in sorted((scratch / "cache" / "archives").glob("*.deb")):
        told("dpkg-deb", "--extract", package, folder)


def unpack_wheels(folder: Path, scratch: Path) -> None:
    """Unpack the wheels of the board's runtimes where the Arm interpreter looks for packages."""
    version = python_of(folder).name.removeprefix("python")
    tags = [f"manylinux_{facts.glibc.replace('.', '_')}_aarch64" for facts in RUNTIMES.values() if facts.glibc]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--retries=1", "--timeout=30", "--dest", str(scratch / "wheels")]
    command += [f"--python-version={version}", "--platform=manylinux2014_aarch64"]
    command += [f"--platform={tag}" for tag in dict.fromkeys(tags)]
    say(f"fetching wheels of {', '.join(requirements())} for aarch64, Python {version}")
    told(*command, *requirements())
    for wheel in sorted((scratch / "wheels").glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder / "usr" / "lib" / "python3" / "dist-packages")


def write_processor(folder: Path) -> None:
    """Write what the board's kernel says of its cores: onnxruntime crashes at import on this machine's own."""
    lines = ("Features\t: fp asimd evtstrm crc32 cpuid", "CPU implementer\t: 0x41", "CPU architecture: 8")
    core = "\n".join((*lines, "CPU variant\t: 0x0", f"CPU part\t: {PARTS[CORE]}", "CPU revision\t: 3"))
    text = "\n\n".join(f"processor\t: {index}\n{core}" for index in range(BOARD.cpu.cores))
    (folder / "proc").mkdir()
    (folder / "proc" / "cpuinfo").write_text(f"{text}\n", encoding="utf-8")


def fetch() -> None:
    """Make the root where it is absent or was made of something else.

    Raises:
        AbsentError: Something cannot be had.
    """
    install_qemu()
    if not why_absent():
        return
    with tempfile.TemporaryDirectory(prefix=".arm-", dir=FOLDER.parent) as scratch:
        folder = Path(scratch) / "root"
        folder.mkdir()
        unpack_root(folder, Path(scratch))
        unpack_wheels(folder, Path(scratch))
        write_processor(folder)
        if told(*emulated("-c", PROBE, folder=folder)).strip() != "aarch64":
            raise AbsentError(f"{QEMU} does not run the interpreter as aarch64")
        (folder / "made").write_text(made_of(), encoding="utf-8")
        shutil.rmtree(FOLDER, ignore_errors=True)
        folder.rename(FOLDER)


def say(text: str) -> None:
    """Write a line to standard error."""
    sys.stderr.write(f"{text}\n")


def main() -> int:
    """Fetch all and return the exit status."""
    try:
        fetch()
    except AbsentError as error:
        say(f"nothing was made, the tests on an emulated board will skip: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
