# SPDX-License-Identifier: Apache-2.0
"""The work folder: artifacts, prepared data, logs and runtime environments, and how a file gets there whole."""

import errno
import fcntl
import os
import re
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgepack.errors import HostError, OutputError
from edgepack.seal import is_whole, seal

_REFUSED = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.ENAMETOOLONG,
}
_SCRATCH: Final = re.compile(r"\..+\.(\d+)\.(partial|old)(\.keras)?")
"""Names that ``_beside`` gives, with the thread's number; Keras asks for an end of its own."""
_DAY_S: Final = 24 * 3600


@dataclass(frozen=True, slots=True)
class Work:
    """The folder given by ``--work``; its subfolders are made when first asked for."""

    root: Path

    def folder(self, name: str) -> Path:
        """Return the subfolder ``name``, made if it is missing.

        Raises:
            OutputError: The folder cannot be made (EP-402).
            HostError: The disk is full (EP-501).
        """
        path = self.root / name
        with disk_errors(path):
            path.mkdir(parents=True, exist_ok=True)
        return path

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep a second run out of this folder while the block runs; the lock goes when its process does.

        What an earlier run was writing when it was killed is removed first.

        Raises:
            OutputError: Another run holds it (EP-406), or the folder cannot be written (EP-402).
        """
        path = self.folder("") / "lock"
        with disk_errors(path), path.open("a+", encoding="ascii") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                stream.seek(0)
                raise OutputError(
                    "EP-406",
                    f"another edgepack (process {stream.read().strip() or 'unknown'}) is at work in {self.root}",
                    hint="wait for it, or give this run a folder of its own with --work",
                ) from error
            stream.truncate(0)
            stream.write(str(os.getpid()))
            stream.flush()
            self._sweep()
            yield

    def _sweep(self) -> None:
        """Remove scratch that nobody writes any more."""
        found = [path for pattern in (".*", "*/.*", "*/*/.*") for path in self.root.glob(pattern)]
        for path in found:
            with suppress(OSError):  # somebody was faster, or it stays and harms nobody
                if _abandoned(path):
                    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def disk_full(path: Path) -> HostError:
    """Return the error for a disk that was full when ``path`` was to be written."""
    return HostError(
        "EP-501",
        f"no space left while writing {path}; what was finished before is intact",
        hint=f"free space on the disk of {path.parent}, then run the same command again",
    )


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a full disk or a refused write into an error that names ``path`` and the next step."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise disk_full(path) from error
        if error.errno in _REFUSED:
            raise OutputError(
                "EP-402",
                f"cannot write {path}: {error.strerror}",
                hint="choose a folder that you may write, with -o or --work",
            ) from error
        raise


def _beside(target: Path, suffix: str) -> Path:
    """Return a path beside ``target`` that no other thread of any process uses; the main thread has its process's."""
    return target.with_name(f".{target.name}.{threading.get_native_id()}.{suffix}")


def _abandoned(path: Path) -> bool:
    """Whether ``path`` is scratch whose thread is gone.

    Commands that need no lock write here too. In a container other threads get the numbers of those that are gone,
    and elsewhere than on Linux nobody tells: there its age decides.
    """
    match = _SCRATCH.fullmatch(path.name)
    if match is None:
        return False
    gone = Path("/proc/self").exists() and not Path("/proc", match[1]).exists()
    return gone or time.time() - path.lstat().st_mtime > _DAY_S


def _lasts(path: Path) -> bool:
    """Whether ``path`` lies in no scratch: what does goes with it."""
    return not any(_SCRATCH.fullmatch(name) for name in path.absolute().parent.parts)


def _onto_disk(*paths: Path) -> None:
    """Wait until the disk has the files, and the names in the folders, at ``paths``."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in {errno.EINVAL, errno.ENOTSUP}:  # a file system that knows no such thing
                raise
        finally:
            os.close(descriptor)


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """Yield an empty folder in ``parent`` for this thread, gone behind the block; the next run sweeps it after a kill.

    Raises:
        OutputError: It cannot be made (EP-402).
        HostError: The disk is full (EP-501).
    """
    scratch = _beside(parent / "scratch", "partial")
    with disk_errors(scratch):
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def whole_folder(target: Path, *, by_content: bool = False) -> Iterator[Path]:
    """Yield a scratch folder that becomes ``target`` only if the block succeeds; on failure nothing is left.

    A ``target`` that exists is replaced in two renames, so a reader sees the old or the new, never half. Where its name
    says its content (``by_content``), it is sealed, and one that is whole stays: somebody may be reading it. Of two who
    make the same one at a time, the folder of one stays. It is on the disk before it has its name.
    """
    scratch = _beside(target, "partial")
    with disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        try:
            yield scratch
            if by_content:
                seal(scratch)
            if _lasts(target):
                _onto_disk(scratch, *scratch.rglob("*"))
            _put_in_place(scratch, target, replaces=not (by_content and is_whole(target)))
            if _lasts(target):
                _onto_disk(target.parent)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def _put_in_place(scratch: Path, target: Path, *, replaces: bool) -> None:
    old = _beside(target, "old")
    if replaces and target.exists():
        shutil.rmtree(old, ignore_errors=True)  # of a killed process that had this one's number
        with suppress(FileNotFoundError):
            target.rename(old)
    try:
        scratch.rename(target)
    except OSError as error:
        if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
            raise
        # Another was faster, and its folder is as whole as this one.
    if old.exists():
        shutil.rmtree(old)


@contextmanager
def whole_file(target: Path, *, lasts: bool = True) -> Iterator[Path]:
    """Yield a scratch path that becomes ``target`` by one rename if the block succeeds.

    Where it ``lasts``, it is on the disk before it has its name: behind a power cut there is the old or the new, whole.
    """
    scratch = _beside(target, "partial")
    lasts = lasts and _lasts(target)
    with disk_errors(target):
        try:
            yield scratch
            if lasts:
                _onto_disk(scratch)
            scratch.replace(target)
            if lasts:
                _onto_disk(target.parent)
        finally:
            scratch.unlink(missing_ok=True)
