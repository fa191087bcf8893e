# SPDX-License-Identifier: Apache-2.0
"""One process of ``_serve.py`` seen from this side: start it, ask it, and put into words how it ended."""

import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from edgepack.crew.surroundings import environment
from edgepack.digest import canonical_json
from edgepack.errors import CandidateError, HostError
from edgepack.work import disk_errors

_SCRIPT = Path(__file__).with_name("_serve.py")
_TELLING_LINES = 4
_READ_BYTES = 64 << 10
# Words of the runtimes about themselves, not about the model.
_NOISE = re.compile(r"^\s*$|^(WARNING|INFO|I0000|W0000)|Created TensorFlow Lite XNNPACK delegate|^\[RecordingMicro")

Answer = dict[str, object]


@dataclass(frozen=True, slots=True)
class Served:
    """What a started process said of itself.

    Attributes:
        runtime: ``litert``, ``tflite-runtime``, ``tflm`` or ``onnxruntime``.
        version: The package's version.
        commit: The source commit where the package carries it, else empty.
    """

    runtime: str
    version: str
    commit: str


class ServedRuntime:
    """A running ``_serve.py``; ask it one thing at a time.

    Args:
        python: Interpreter that has the runtime.
        backend: Name of the runtime in ``_serve.py``.
        log: File that takes everything the process writes besides its answers.
        install: What to do where the interpreter lacks the runtime, for the hint.
    """

    def __init__(self, *, python: Path, backend: str, log: Path, install: str) -> None:
        self.log = log
        self._python, self._backend, self._install = python, backend, install
        self._asked, self._log_bytes = "start", 0
        with disk_errors(log):
            log.parent.mkdir(parents=True, exist_ok=True)
            log.write_bytes(b"")
            with log.open("ab") as stream:
                # Isolated mode keeps this folder off sys.path: its modules are named like the runtimes' packages.
                self.process = subprocess.Popen(
                    [python, "-I", _SCRIPT, backend, str(os.getpid())],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=stream,
                    env=environment() | {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "1"},
                )
        self._served: Served | None = None

    def hello(self) -> Served:
        """Wait until the process is ready and return what it is.

        Raises:
            HostError: It does not start: the runtime is missing or broken there (EP-502).
        """
        if self._served is not None:
            return self._served
        hello = self._read()
        if hello is None:
            raise HostError(
                "EP-502",
                f"the runtime {self._backend} does not start in {self._python}: "
                f"{self._words_since(0) or 'it said nothing'}",
                hint=f"{self._install}; the whole log is {self.log}"
                if self._install
                else f"the whole log is {self.log}",
            )
        self._served = Served(str(hello["runtime"]), str(hello["version"]), str(hello["commit"]))
        return self._served

    def fileno(self) -> int:
        """Let ``selectors`` wait for an answer."""
        stdout = self.process.stdout
        if stdout is None:
            raise ValueError("the process has no standard output")
        return stdout.fileno()

    def ask(self, do: str, **arguments: object) -> None:
        """Send a request; ``answer`` waits for what comes of it."""
        self._asked, self._log_bytes = do, self.log.stat().st_size
        stdin = self.process.stdin
        try:
            if stdin is not None:
                stdin.write(canonical_json({"do": do, **arguments}) + b"\n")
                stdin.flush()
        except BrokenPipeError:
            return  # the process is gone, and reading its answer will say so

    def answer(self) -> Answer:
        """Return the answer to the last request.

        Raises:
            CandidateError: The runtime refused it, in its own words (EP-602), or the process died (EP-603).
        """
        answer = self._read()
        words = self._words_since(self._log_bytes)
        name = f"{self.hello().runtime} {self.hello().version}"
        if answer is None:
            code = self.process.wait()
            ended = f"signal {-code}" if code < 0 else f"exit status {code}"
            raise CandidateError(
                "EP-603",
                f"{name} died during {self._asked} ({ended}): {words or 'it said nothing'}",
                hint=f"the whole log is {self.log}",
            )
        if not answer["ok"]:
            # TFLM raises a general sentence and writes the reason to standard error: both belong together.
            said = "; ".join(part for part in (str(answer["error"]), words) if part)
            raise CandidateError(
                "EP-602",
                f"{name} refuses to {self._asked} the model: {said}",
                hint=f"the whole log is {self.log}",
            )
        return answer

    def call(self, do: str, **arguments: object) -> Answer:
        """Ask and wait; raises as ``answer`` does."""
        self.ask(do, **arguments)
        return self.answer()

    def log_since_asked(self) -> str:
        """Return what the process wrote to its log since the last request."""
        return self._log_text(self._log_bytes)

    def _words_since(self, offset_bytes: int) -> str:
        """Return the last telling lines of the log after ``offset_bytes``, on one line."""
        lines = [line.strip() for line in self._log_text(offset_bytes).splitlines() if not _NOISE.search(line)]
        return "; ".join(lines[-_TELLING_LINES:])

    def kill(self) -> None:
        """End the process without asking and free its pipes."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                _close(stream)

    def _read(self) -> Answer | None:
        stdout = self.process.stdout
        line = stdout.readline() if stdout is not None else b""
        if not line.endswith(b"\n"):
            return None
        answer: Answer = json.loads(line)
        return answer

    def _log_text(self, offset_bytes: int) -> str:
        with self.log.open("rb") as stream:
            stream.seek(offset_bytes)
            return stream.read(_READ_BYTES).decode(errors="replace")


def _close(stream: object) -> None:
    """Close a pipe whose other end is gone: what is still buffered for it has no reader."""
    try:
        stream.close()  # type: ignore[attr-defined]
    except BrokenPipeError:
        return
