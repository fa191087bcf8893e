# SPDX-License-Identifier: Apache-2.0
"""Families of recipes for what binds: one structure at one width of weights, untrained, and the ways to train it.

What a family costs is known from its untrained member; only its answers depend on training.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from edgepack.compress.distill import Distill
from edgepack.compress.mixed import Mixed
from edgepack.compress.prune import Prune
from edgepack.compress.qat import Qat
from edgepack.compress.recipe import Io, Recipe, known_steps, step_kind
from edgepack.compress.step import Gap, Step
from edgepack.compress.student import Student
from edgepack.device.wheels import FileFormat
from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.model.precision import Precision
from edgepack.train.schedule import DEFAULT_STEPS, Schedule

Kind = Literal["none", "resolution", "resolution and prune", "prune", "student", "lowrank", "separable", "share"]

_MILD: Final = 0.875
_LONGER: Final = 2 * DEFAULT_STEPS
_ROOM_SHARE: Final = 0.99
_ROOM_BYTES: Final = 256
"""A structure is cut to a size limit less this: files whose graph holds its ranges are a little longer."""
_TARGETS: Final = {
    "size": "size_bytes",
    "download": "size_bytes",
    "ram": "ram_bytes",
    "latency": "latency_ms",
    "energy": "latency_ms",
}
_STRUCTURES: Final = ("prune", "student", "lowrank")
_SHARES: Final = ("sparsify", "cluster")


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One structure at one width of weights.

    Attributes:
        kind: What was done to the structure.
        narrow: Weights of 4 bits where the limits ask for them.
        untrained: Costs what every member costs; None where only a training shows that.
        trained: The ways to train it.
        format: Of the files, where a search goes over several; None where all have the one.
    """

    kind: Kind
    narrow: bool
    untrained: Recipe | None
    trained: tuple[Recipe, ...]
    format: FileFormat | None = None

    @property
    def name(self) -> str:
        """Structure and bits, in words for a person."""
        structure = {
            "none": "quantization alone",
            "resolution": "lower input resolution",
            "resolution and prune": "lower input resolution and prune",
            "separable": "separable convolutions",
            "share": "zeroed or shared weights",
        }
        told = structure.get(self.kind, self.kind)
        return f"{told}, 4- and 8-bit weights" if self.narrow else told

    @property
    def title(self) -> str:
        """The name, with what tells it from other families of that name."""
        step = (self.untrained or self.trained[0]).steps[0]
        macs = getattr(step, "macs", None)
        share = "" if macs is None else f"{macs:.0%} of the MACs"
        told = {"none": step.label, "share": step_kind(step)}.get(self.kind, share)
        told = ", ".join(filter(None, (told, self.format)))
        return f"{self.name} ({told})" if told else self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceilings:
    """What a graph with 4-bit weights might exceed where one with 8-bit weights does not, for unpacking has a price.

    Attributes:
        ram_bytes: Largest arena; None where there is no limit, or the device has no arena.
        latency_ms: Longest predicted latency; None where there is no limit.
    """

    ram_bytes: int | None = None
    latency_ms: float | None = None


def families(
    gap: Gap, *, ceilings: Ceilings, precisions: Sequence[Precision], io: Io, separable: bool, narrow: bool = True
) -> tuple[Family, ...]:
    """Return the families that can help against ``gap``, mildest first.

    Args:
        gap: How far the best candidate without steps is from each limit.
        ceilings: The limits that may bind once weights have 4 bits.
        precisions: What the device's runtime is asked to try.
        io: Type of inputs and outputs.
        separable: A student may have separable convolutions in place of full ones.
        narrow: The runtime takes weights of 4 bits under integer activations.
    """
    integers = Precision.W8A8 in precisions
    base = next((item for item in (Precision.W8A8, Precision.W8A16, Precision.W8) if item in precisions), Precision.F32)
    plan = PrecisionPlan(default=base, io=io if base.needs_calibration else "float")
    found = [*_as_it_is(gap, plan), *_shared(gap, plan)] if integers else [*_shared(gap, plan)]
    # Fewer bits ask for less of a structure to go, but unpacking them has a price where memory or time bind too.
    costly = gap.ram_bytes is not None or gap.latency_ms is not None
    for short in (not costly, costly) if integers and gap.size_bytes is not None else (False,):
        found += [
            _family(kind, _held(steps, ceilings) if short else steps, gap, plan, narrow=short)
            for kind, steps in _structures(gap)
            if separable or kind != "separable"
        ]
    return tuple(family for family in found if narrow or not family.narrow)


def tightened(family: Family, shares: Mapping[str, float]) -> Family | None:
    """Return ``family`` with its structure cut to shares of its targets; None where it has no such target.

    Args:
        family: Whose untrained member misses limits that its structure was cut to: it is lowered in another form.
        shares: By the name of a limit that was missed: limit over value, below 1.
    """
    member = family.untrained
    place = max((at for at, step in enumerate(member.steps) if step.phase == "structure"), default=-1) if member else -1
    if member is None or place < 0:
        return None
    step = member.steps[place]
    targets: dict[str, float | None] = {name: getattr(step, name, None) for name in _TARGETS.values()}
    wanted = {}
    for name, share in shares.items():
        target = targets[_TARGETS[name]]
        if target is None:
            return None
        wanted[_TARGETS[name]] = int(target * share) if isinstance(target, int) else target * share
    if not wanted:
        return None
    cut = step.model_copy(update=wanted)

    def changed(recipe: Recipe) -> Recipe:
        return recipe.model_copy(update={"steps": (*recipe.steps[:place], cut, *recipe.steps[place + 1 :])})

    return replace(family, untrained=changed(member), trained=tuple(map(changed, family.trained)))


def _as_it_is(gap: Gap, plan: PrecisionPlan) -> Iterator[Family]:
    """Yield what bits alone can do."""
    if gap.ram_bytes is not None or gap.latency_ms is not None:
        return
    qat = Qat.example()
    for step in Mixed.propose(gap):
        narrow = step.bits == 4  # noqa: PLR2004 - the option's word
        yield Family(kind="none", narrow=narrow, untrained=_recipe(plan, step), trained=(_recipe(plan, step, qat),))


def _shared(gap: Gap, plan: PrecisionPlan) -> Iterator[Family]:
    """Yield what only a download gains by; how much it gains is seen behind the training."""
    for name in _SHARES:
        for step in known_steps()[name].propose(gap):
            yield Family(kind="share", narrow=False, untrained=None, trained=(_recipe(plan, step),))


def _structures(gap: Gap) -> Iterator[tuple[Kind, tuple[Step, ...]]]:
    room = None
    if gap.size_bytes is not None:
        room = max(1, min(int(gap.size_bytes * _ROOM_SHARE), gap.size_bytes - _ROOM_BYTES))
    roomy = replace(gap, size_bytes=room)
    found = [step for name in _STRUCTURES for step in known_steps()[name].propose(roomy)]
    for step in found:
        yield _kind(step), (step,)
    if any(_kind(step) == "resolution" for step in found):
        # A little of each costs less than all of one: README's recipes for 75% of the work.
        for step in Prune.propose(roomy):
            yield "resolution and prune", (Student(resolution=_MILD), step)


def _held(steps: tuple[Step, ...], ceilings: Ceilings) -> tuple[Step, ...]:
    """Return ``steps``, the last with the limits that it has an option for and no target yet."""
    *before, step = steps
    limits = {"ram_bytes": ceilings.ram_bytes, "latency_ms": ceilings.latency_ms}
    fields = type(step).model_fields
    wanted = {name: value for name, value in limits.items() if name in fields and getattr(step, name) is None}
    return (*before, step.model_copy(update=wanted))


def _kind(step: Step) -> Kind:
    if getattr(step, "separable", False):
        return "separable"
    if getattr(step, "resolution", None) is not None:
        return "resolution"
    kinds: dict[str, Kind] = {"prune": "prune", "student": "student", "lowrank": "lowrank"}
    return kinds[step_kind(step)]


def _family(kind: Kind, structure: tuple[Step, ...], gap: Gap, plan: PrecisionPlan, *, narrow: bool) -> Family:
    """Return the family of one structure: bits are chosen behind it, and every training of it in between."""
    recover, longer = Distill.example(), Distill(schedule=Schedule(steps=_LONGER))
    if plan.default is not Precision.W8A8:
        return Family(
            kind=kind,
            narrow=False,
            untrained=_recipe(plan, *structure),
            trained=(_recipe(plan, *structure, recover), _recipe(plan, *structure, recover, longer)),
        )
    bits = Mixed(size_bytes=gap.size_bytes, keep_first_last_8=False) if narrow else Mixed(bits=8)
    if narrow:
        plan = plan.model_copy(update={"default": Precision.W4A8})
    qat = Qat.example()
    return Family(
        kind=kind,
        narrow=narrow,
        untrained=_recipe(plan, *structure, bits),
        trained=(
            _recipe(plan, *structure, recover, bits),
            _recipe(plan, *structure, recover, bits, qat),
            _recipe(plan, *structure, recover, longer, bits),
            _recipe(plan, *structure, recover, longer, bits, qat),
        ),
    )


def _recipe(plan: PrecisionPlan, *steps: Step) -> Recipe:
    return Recipe(steps=steps, precision=plan)
