# SPDX-License-Identifier: Apache-2.0
"""Fixtures that every part of the suite uses."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgepack.process import Worker
from edgepack.work import Work

ROOT = Path(__file__).resolve().parent.parent


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


@pytest.fixture
def work(tmp_path: Path) -> Work:
    """An empty work folder."""
    return Work(tmp_path / "work")
