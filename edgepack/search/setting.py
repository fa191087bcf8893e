# SPDX-License-Identifier: Apache-2.0
"""What steps work with, as it crosses into the worker: the model, the device, the samples, how training is done."""

from dataclasses import dataclass, replace

from edgepack.data.data import Data
from edgepack.data.metric import Metric
from edgepack.data.prepare import Prepared
from edgepack.device.profile import DeviceProfile, RuntimeSpec
from edgepack.graph.context import Target, Training
from edgepack.measure.latency import latency_rates
from edgepack.model.model import Model
from edgepack.runtime.base import get_runtime
from edgepack.search.bench import Bench, prepared_split
from edgepack.work import Work

# Channels that a kernel library computes at once: XNNPACK's int8 tiles, CMSIS-NN's and ESP-NN's inner loops, MLAS's
# GEMM columns, which it packs in multiples of 16 on x86 and of 8 or 4 on Arm.
_CHANNEL_MULTIPLES = {"xnnpack": 8, "cmsis-nn": 4, "esp-nn": 8, "reference": 1, "mlas": 4}


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Everything that steps need beside the recipe; picklable.

    Attributes:
        teacher: A larger model of the user's, or None.
        train: None where there are no training samples.
        metric: None without labels.
    """

    model: Model
    profile: DeviceProfile
    runtime: RuntimeSpec
    target: Target
    work: Work
    training: Training
    seed: int
    teacher: Model | None = None
    calibration: Prepared | None = None
    train: Prepared | None = None
    selection: Prepared | None = None
    metric: Metric | None = None


def step_setting(bench: Bench, data: Data | None, *, training: Training, teacher: Model | None) -> Setting:
    """Return the setting of ``bench``, its training and selection samples prepared.

    Raises:
        DataError: The training samples do not suit the model.
    """
    train = prepared_split(bench.crew, bench.work, bench.model, data, "train")
    if data is not None:
        kind = data.train.source.sample_kind if data.train else "unknown"
        training = replace(training, augmentation=data.augmentation, sample_kind=kind)
    return Setting(
        model=bench.model,
        profile=bench.profile,
        runtime=bench.runtime,
        target=target_of(bench.profile, bench.runtime),
        work=bench.work,
        training=training,
        seed=bench.seed,
        teacher=teacher,
        calibration=bench.calibration,
        train=train,
        selection=prepared_split(bench.crew, bench.work, bench.model, data, "selection"),
        metric=data.metric if data is not None and data.labelled else None,
    )


def target_of(profile: DeviceProfile, runtime: RuntimeSpec) -> Target:
    """Return the part of a device that steps heed."""
    return Target(
        name=profile.name,
        runtime=runtime.name,
        channel_multiple=_CHANNEL_MULTIPLES[runtime.kernels],
        int4_ops=get_runtime(runtime.name).int4_ops,
        rates=latency_rates(profile, runtime=runtime),
    )


def default_training(work: Work) -> Training:
    """Return how training is done where the user asks for nothing."""
    return Training(checkpoints=work.root / "checkpoints")
