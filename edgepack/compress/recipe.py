# SPDX-License-Identifier: Apache-2.0
"""The recipe: which steps made a candidate and at which precision it is lowered."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Annotated

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from edgepack.compress.step import PHASES, Step
from edgepack.digest import digest_json
from edgepack.graph.precision_plan import Io, PrecisionPlan
from edgepack.model.precision import Precision
from edgepack.registry import discover, nearest
from edgepack.strict_yaml import allowed_keys

__all__ = ["Io", "PrecisionPlan", "Recipe", "known_steps", "step_kind"]


def known_steps() -> dict[str, type[Step]]:
    """Return every step, by the name that recipes use."""
    return discover("edgepack.compress", Step)  # type: ignore[type-abstract]


def step_kind(step: Step) -> str:
    """Return the name of ``step`` in a recipe: its module's."""
    return type(step).__module__.rpartition(".")[2].replace("_", "-")


def _step_name(step: Step) -> str:
    return f"{step_kind(step)} ({step.label})" if step.label else step_kind(step)


def _read_step(value: object) -> object:
    """Make a step of ``{kind: NAME, option: value}``."""
    if isinstance(value, Step):
        return value
    if not isinstance(value, Mapping):
        raise ValueError(f"a step is written as {{kind: {value}}}, not {value!r}")  # noqa: TRY004 - pydantic's contract
    options = dict(value)
    kind, known = options.pop("kind", None), known_steps()
    if kind is None:
        raise ValueError(f"a step needs a kind; known: {', '.join(known)}")
    if kind not in known:
        raise ValueError(f"unknown step {kind!r}; {nearest(str(kind), known)}")
    try:
        return known[str(kind)].model_validate(options)
    except ValidationError as error:
        told = "; ".join(
            _option_problem(item["loc"], item["msg"], item["type"], known[str(kind)]) for item in error.errors()
        )
        raise ValueError(f"step {kind}: {told}") from error


def _option_problem(where: tuple[int | str, ...], message: str, kind: str, step: type[Step]) -> str:
    name = ".".join(map(str, where))
    if kind == "extra_forbidden":
        return f"no option {name!r}; {nearest(str(where[-1]), allowed_keys(step, where[:-1]))}"
    message = message.removeprefix("Value error, ")
    return f"{name}: {message[:1].lower()}{message[1:]}" if name else message


def write_step(step: Step) -> dict[str, object]:
    """Return the options that differ from their defaults: a new option does not change an old recipe's digest."""
    return {"kind": step_kind(step), **step.model_dump(mode="json", exclude_defaults=True)}


_SCHEMA = {"type": "object", "properties": {"kind": {"type": "string"}}, "required": ["kind"]}
AnyStep = Annotated[Step, BeforeValidator(_read_step), PlainSerializer(write_step), WithJsonSchema(_SCHEMA)]


class Recipe(BaseModel):
    """Ordered steps and a precision; identity is the digest of its canonical JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    precision: PrecisionPlan
    steps: tuple[AnyStep, ...] = ()
    as_is: bool = False
    """The source file already is the artifact (an integer ``.tflite``); the precision only describes it."""

    @model_validator(mode="after")
    def _in_order(self) -> "Recipe":
        check_order(self.steps)
        if self.as_is and self.steps:
            raise ValueError("a file that is taken as it is has no steps")
        return self

    @property
    def name(self) -> str:
        """Short name for tables and logs: ``prune+distill w8a8``."""
        precision = self.precision.default.value
        if self.as_is:
            return f"{precision} as it is"
        return " ".join(filter(None, ("+".join(_step_name(step) for step in self.steps), precision)))

    @property
    def heeds_runtime(self) -> bool:
        """Whether its steps give another graph for another runtime: 4-bit weights are not taken by each."""
        plan = self.precision
        narrow = Precision.W4A8 in {plan.default, *plan.layers.values()}
        return narrow or any(step.heeds_runtime for step in self.steps)

    @property
    def trains(self) -> bool:
        """Whether any step needs training samples."""
        return any(step.trains for step in self.steps)

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON."""
        return digest_json(self.model_dump(mode="json"))

    def as_yaml(self) -> str:
        """Return the YAML form that ``Recipe.from_yaml`` reads back."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)

    @classmethod
    def from_yaml(cls, text: str) -> "Recipe":
        """Read what ``as_yaml`` wrote."""
        return cls.model_validate(yaml.safe_load(text))


def check_order(steps: Sequence[Step]) -> None:
    """Refuse an order in which a step would undo or blind an earlier one.

    Raises:
        ValueError: Which two steps, and why.
    """
    for earlier, later in pairwise(steps):
        one, other = PHASES.index(earlier.phase), PHASES.index(later.phase)
        alternating = {earlier.phase, later.phase} <= {"structure", "recover"}
        twice = one == other and earlier.phase in {"assign", "train-quantized"}
        if twice or earlier.phase == "share" or (other < one and not alternating):
            raise ValueError(f"{step_kind(later)} cannot follow {step_kind(earlier)}: {_WHY[earlier.phase]}; {_ORDER}")


_ORDER = "the order is structure and recover in any turn, then either share, or assign and then train-quantized"
_WHY = {
    "structure": "layers change there",
    "recover": "it trains the layers that are there",
    "share": "weights that were zeroed or shared would be trained, rounded or cut apart again",
    "assign": "one step assigns the bits, to the layers as they are",
    "train-quantized": "its weights and ranges belong to the quantized graph as it is",
}
