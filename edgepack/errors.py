# SPDX-License-Identifier: Apache-2.0
"""Every failure that a user can cause or meet: the library raises these, ``cli`` alone turns them into words.

A message says what and where in one sentence; ``hint`` says what to do next, a command where there is one.
Codes are stable; ``explanations.yaml`` holds the longer text that ``edgepack explain CODE`` prints.
"""

from typing import ClassVar


class EdgepackError(Exception):
    """Base of all expected failures.

    Args:
        code: Stable identifier, ``EP-`` and three digits, listed in ``explanations.yaml``.
        message: What failed, where, and what was expected, in one sentence.
        hint: The next thing to do; empty where the message already says it.
    """

    exit_code: ClassVar[int] = 2

    def __init__(self, code: str, message: str, *, hint: str = "") -> None:
        super().__init__(code, message, hint)
        self.code = code
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        """Survive the trip out of a worker process: the keyword-only hint defeats the default."""
        return _rebuild, (type(self), self.code, self.message, self.hint)

    def __str__(self) -> str:
        return self.message


def _rebuild(kind: type[EdgepackError], code: str, message: str, hint: str) -> EdgepackError:
    return kind(code, message, hint=hint)


class UsageError(EdgepackError):
    """The command line was asked for something that it does not have (EP-0xx)."""


class ModelError(EdgepackError):
    """The model file is unreadable, unsafe or unsuitable (EP-1xx)."""


class DataError(EdgepackError):
    """The data set is unreadable, does not match the model, or cannot support a metric (EP-2xx)."""


class ProfileError(EdgepackError):
    """The device profile, a budget or a unit is wrong (EP-3xx)."""


class OutputError(EdgepackError):
    """The output folder cannot be used, or a bundle is broken (EP-4xx)."""


class HostError(EdgepackError):
    """This machine lacks something: disk, a package, an interpreter (EP-5xx)."""

    exit_code: ClassVar[int] = 5


class RuntimeMissingError(HostError):
    """The runtime of one device cannot be had here; another device may have another."""


class CandidateError(EdgepackError):
    """A conversion, a runtime or a step failed for one candidate (EP-6xx); the others go on."""

    exit_code: ClassVar[int] = 6
