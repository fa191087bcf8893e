# SPDX-License-Identifier: Apache-2.0
"""What a runtime is to the rest: where its interpreter is, a session of it, and what it is known to refuse."""

import importlib.metadata
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from edgepack.device.profile import RuntimeSpec
from edgepack.device.wheels import FileFormat
from edgepack.errors import HostError
from edgepack.model.precision import Precision
from edgepack.registry import discover, nearest
from edgepack.runtime._environment import environment_python, is_made
from edgepack.runtime.session import RuntimeSession
from edgepack.work import Work


class Runtime:
    """One runtime; a module of this folder defines one subclass and is named like it.

    Attributes:
        name: As device profiles and ``_serve.py`` spell it.
        package: As pip spells it.
        extra: The extra of edgepack that brings it; empty where it needs an environment of its own.
        format: Of the files that it takes.
        int4_ops: Operators whose weights it takes in 4 bits, and computes right.
        no_kernels: Precisions in which none of its operators multiplies, each with what that would have to take.
    """

    name: ClassVar[str]
    package: ClassVar[str]
    extra: ClassVar[str] = ""
    format: ClassVar[FileFormat] = "tflite"
    int4_ops: ClassVar[frozenset[str]] = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"})
    no_kernels: ClassVar[Mapping[Precision, str]] = {}

    def pins(self, version: str) -> tuple[str, ...]:
        """Return what an environment of its own needs for ``version``, each requirement exact, the runtime first.

        With numpy as it is here, unless the runtime needs another.
        """
        return f"{self.package}=={version}", f"numpy=={importlib.metadata.version('numpy')}"

    def installed(self) -> str | None:
        """Return the version in this environment, or None."""
        try:
            return importlib.metadata.version(self.package)
        except importlib.metadata.PackageNotFoundError:
            return None

    def python(self, work: Work, version: str) -> Path:
        """Return the interpreter that has ``version``: this one where it is installed, else one made for it.

        Raises:
            HostError: The extra is missing (EP-504), or the environment cannot be made (EP-503).
        """
        installed = self.installed()
        if installed is not None and self.is_version(installed, version):
            return Path(sys.executable)
        if installed is None and self.extra:
            raise HostError(
                "EP-504",
                f"the runtime {self.name} needs the package {self.package}, which is not installed here",
                hint=self.install_hint(version),
            )
        return environment_python(self.name, version, pins=self.pins(version), work=work)

    def is_here(self, work: Work, version: str) -> bool:
        """Whether ``python`` has nothing to make for ``version``."""
        installed = self.installed()
        if installed is not None and self.is_version(installed, version):
            return True
        wants_extra = installed is None and bool(self.extra)
        return not wants_extra and is_made(self.name, version, pins=self.pins(version), work=work)

    def is_version(self, installed: str, wanted: str) -> bool:
        """Whether the installed version is the one that a profile names."""
        return installed == wanted

    def session(self, spec: RuntimeSpec, work: Work, *, processes: int | None = None) -> RuntimeSession:
        """Return a session of the version that ``spec`` names; nothing is started yet.

        Raises:
            HostError: As ``python``.
        """
        return self._session(spec.version, spec.threads, work, processes)

    def reference_session(self, work: Work, *, processes: int | None = None) -> RuntimeSession:
        """Return a session of the version that this environment has.

        Raises:
            HostError: It has none (EP-504).
        """
        return self._session(self.installed() or "", 1, work, processes)

    def install_hint(self, version: str) -> str:
        """Return the command that brings the runtime."""
        return f"pip install 'edgepack[{self.extra}]'" if self.extra else f"pip install {' '.join(self.pins(version))}"

    def _session(self, version: str, threads: int, work: Work, processes: int | None) -> RuntimeSession:
        return RuntimeSession(
            python=self.python(work, version),
            backend=self.name,
            log_folder=work.folder("logs"),
            processes=processes,
            threads=threads,
            install=self.install_hint(version),
        )


def get_runtime(name: str) -> Runtime:
    """Return the runtime called ``name``.

    Raises:
        HostError: There is none (EP-505); the nearest names are offered.
    """
    known = discover("edgepack.runtime", Runtime)
    if name not in known:
        raise HostError("EP-505", f"no runtime {name!r}; {nearest(name, known)}")
    return known[name]()
