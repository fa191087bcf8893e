# SPDX-License-Identifier: Apache-2.0
"""The recipes to try: the precisions alone, then steps for what still binds, mildest first."""

from collections.abc import Sequence

from edgepack.compress.recipe import Io, Recipe, known_steps
from edgepack.compress.step import Gap, Step
from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.model.model import Model
from edgepack.model.precision import Precision
from edgepack.model.tflite_file import read_tflite
from edgepack.model.tflite_precision import describe_precision


def propose(model: Model, *, precisions: Sequence[Precision], calibrated: bool, io: Io) -> tuple[Recipe, ...]:
    """Return every post-training recipe worth trying for ``model``.

    Args:
        model: An integer ``.tflite`` is a candidate as it is and nothing else.
        precisions: What the device's runtime is asked to try.
        calibrated: Whether calibration samples exist; without them no activation range can be learnt, and none is
            invented.
        io: Type of inputs and outputs where the precision has integer activations; the others keep float.
    """
    if model.quantized:
        graph = read_tflite(model.path)
        integers = any(graph.tensors[index].dtype != "float32" for index in graph.inputs)
        plan = PrecisionPlan(default=describe_precision(graph), io="int8" if integers else "float")
        return (Recipe(precision=plan, as_is=True),)
    return tuple(
        Recipe(precision=PrecisionPlan(default=precision, io=io if precision.needs_calibration else "float"))
        for precision in Precision
        if precision in precisions and (calibrated or not precision.needs_calibration)
    )


# Structures in the order in which they have lost least at equal cost; the first that fits ends the search. Where work
# or memory binds that is a coarser input: at 75% of ResNet-8's work -0.7 points against -2.0 for pruning. It takes no
# byte off the file.
_STRUCTURES = ("prune", "student", "lowrank")
_COARSER_FIRST = ("student", "prune", "lowrank")
_SHARES = ("sparsify", "cluster")


def propose_steps(gap: Gap, *, precisions: Sequence[Precision], io: Io) -> tuple[Recipe, ...]:
    """Return recipes of steps for what binds: without training first, then by the loss that they are expected to cost.

    Args:
        gap: How far the best candidate without steps is from each limit.
        precisions: What the device's runtime is asked to try.
        io: Type of inputs and outputs.
    """
    known = known_steps()
    base = next((item for item in (Precision.W8A8, Precision.W8A16, Precision.W8) if item in precisions), Precision.F32)
    plan = PrecisionPlan(default=base, io=io if base.needs_calibration else "float")
    recover, train_quantized = known["distill"].example(), known["qat"].example()
    assigns = _options(("mixed",), gap) if base is Precision.W8A8 else ()
    structures = _options(_STRUCTURES if gap.size is not None else _COARSER_FIRST, gap)
    chains: list[tuple[Step, ...]] = [(step,) for step in assigns]
    chains += [(step, train_quantized) for step in assigns]
    if gap.drop is not None and base is Precision.W8A8:
        chains.append((train_quantized,))
    chains += [(step,) for step in _options(_SHARES, gap)]
    chains += [(step, recover) for step in structures]
    chains += [(step, recover, assign, train_quantized) for step in structures for assign in assigns]
    return tuple(Recipe(steps=chain, precision=plan) for chain in dict.fromkeys(chains))


def _options(kinds: Sequence[str], gap: Gap) -> tuple[Step, ...]:
    known = known_steps()
    return tuple(step for kind in kinds for step in known[kind].propose(gap))
