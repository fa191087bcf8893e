# SPDX-License-Identifier: Apache-2.0
"""The instances: a model, a device, limits, and what each is meant to show."""

from collections import Counter
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator
from suite.reading import Strict, SuiteError, read_strict

from edgepack.device.budget import Budget
from edgepack.device.units import parse_duration, parse_energy, parse_fraction, parse_size
from edgepack.digest import digest_json
from edgepack.errors import ProfileError

Intent = Literal["slack", "size", "ram", "latency", "energy", "accuracy", "joint", "infeasible-by-construction"]
MODELS = ("digits", "rows", "cancer", "diabetes", "cifar10", "fsdd", "kws")

# As on the command line -> field of Budget, reader.
_LIMITS = {
    "max-size": ("size_bytes", parse_size),
    "max-ram": ("ram_bytes", parse_size),
    "max-latency": ("latency_ms", parse_duration),
    "max-energy": ("energy_mj", parse_energy),
    "max-download": ("download_bytes", parse_size),
    "max-drop": ("drop", parse_fraction),
    "min-metric": ("min_metric", parse_fraction),
}
# An intent names the limit that is meant to bind.
_BINDING = {
    "size": "max-size",
    "ram": "max-ram",
    "latency": "max-latency",
    "energy": "max-energy",
    "accuracy": "max-drop",
}


def _text(value: object) -> object:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


class Instance(Strict):
    """One budget problem.

    Attributes:
        name: Unique; names its result.
        intent: What is meant to bind. ``infeasible-by-construction``: no recipe can reach it.
        limits: As the command line takes them: ``max-size: 20KB``. The profile's defaults hold beside them.
        why: What makes an infeasible one so.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9.-]+$")]
    model: Literal[MODELS]
    device: Literal["rpi4", "rpi-zero-2w", "stm32h747", "stm32f746", "nrf52840", "rp2040"]
    intent: Intent
    limits: dict[str, Annotated[str, BeforeValidator(_text)]]
    why: str = ""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for option in self.limits:
            if option not in _LIMITS:
                raise ValueError(f"no limit {option!r}; known: {', '.join(_LIMITS)}")
        try:
            self.budget()
        except ProfileError as error:
            raise ValueError(error.message) from error
        wanted = _BINDING.get(self.intent)
        if wanted is not None and wanted not in self.limits:
            raise ValueError(f"the intent {self.intent} needs the limit {wanted}")
        if self.intent == "infeasible-by-construction" and not self.why:
            raise ValueError("an infeasible instance says why it is so")
        return self

    def budget(self) -> Budget:
        """Return the limits as edgepack holds them.

        Raises:
            ProfileError: One has no unit, an unknown one, or is not positive.
        """
        read = {}
        for option, text in self.limits.items():
            field, reader = _LIMITS[option]
            read[field] = reader(text, f"--{option}")
        return Budget(**read)

    @property
    def options(self) -> list[str]:
        """The limits as arguments of ``edgepack build``."""
        return [part for option, text in self.limits.items() for part in (f"--{option}", text)]

    @property
    def digest(self) -> str:
        """Of what is asked; the intent and the reason are words."""
        return digest_json([self.model, self.device, dict(self.limits)])


class _File(Strict):
    instances: tuple[Instance, ...]


def read_instances(path: Path) -> tuple[Instance, ...]:
    """Return the instances of the file at ``path``.

    Raises:
        SuiteError: A file of another shape, or a name twice.
    """
    read, document = read_strict(path, _File, noun="list of instances")
    twice = [name for name, count in Counter(item.name for item in read.instances).items() if count > 1]
    if twice:
        index = next(index for index, item in enumerate(read.instances) if item.name == twice[0])
        raise SuiteError(f"{document.place(('instances', index, 'name'))}: the name {twice[0]} stands twice")
    return read.instances
