# SPDX-License-Identifier: Apache-2.0
"""The parts of a device profile, as its YAML names them; plain attributes give the figures without their sources."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from edgepack.device.facts import (
    BandwidthFact,
    CountFact,
    DurationFact,
    EnergyFact,
    FractionFact,
    FrequencyFact,
    MacRateFact,
    NumberFact,
    PowerFact,
    SizeFact,
    Strict,
    TextFact,
    Words,
    WordsFact,
    as_tuple,
)
from edgepack.model.precision import Precision

Arch = Literal[
    "x86-64",
    "aarch64",
    "armv7",
    "armv6-m",
    "armv7-m",
    "armv7e-m",
    "armv8-m",
    "armv8.1-m",
    "xtensa",
    "riscv32",
    "riscv64",
]
Arithmetic = Literal["f32", "f16", "int8", "int16"]
Provider = Literal["cuda", "tensorrt"]
"""What computes on a GPU for onnxruntime."""

# What the multiplications of each precision run on. Float16 weights are widened when the model is loaded, but on a
# GPU, where the whole graph is float16: profiles of those have an entry for it. Dynamic
# range multiplies integers but quantizes its activations at run time; no published timing separates it, so it counts
# as float, which is the slower of the two. Weights of 4 bits are widened to 8 and multiply as those do. Sixteen-bit
# activations have kernels of their own.
ARITHMETIC: dict[Precision, Arithmetic] = {
    Precision.F32: "f32",
    Precision.W16: "f32",
    Precision.W8: "f32",
    Precision.W8A8: "int8",
    Precision.W8A8_PER_TENSOR: "int8",
    Precision.W8A16: "int16",
    Precision.W4A8: "int8",
    Precision.W4: "f32",
}


class Cpu(Strict):
    """The processor that runs the model."""

    arch: Arch
    core_fact: TextFact = Field(alias="core")
    cores_fact: CountFact = Field(alias="cores")
    clock_fact: FrequencyFact = Field(alias="clock")
    isa_fact: WordsFact = Field(alias="isa")

    @property
    def core(self) -> str:
        """Name of the core, such as ``Cortex-A72``."""
        return self.core_fact.value

    @property
    def cores(self) -> int:
        """Number of cores that can share one inference."""
        return self.cores_fact.value

    @property
    def clock_hz(self) -> int:
        """Clock in hertz."""
        return self.clock_fact.value

    @property
    def isa(self) -> tuple[str, ...]:
        """Extensions that neural networks gain from, such as ``neon`` or ``dotprod``."""
        return self.isa_fact.value


class Accelerator(Strict):
    """A GPU or an NPU; a runtime places operators on the GPU where it names a provider."""

    name: TextFact
    peak: TextFact | None = None


class Region(Strict):
    """One kind of memory."""

    total: SizeFact
    reserved: SizeFact | None = None

    @property
    def total_bytes(self) -> int:
        """All of it."""
        return self.total.value

    @property
    def reserved_bytes(self) -> int:
        """What the system, a bootloader or a radio stack holds."""
        return self.reserved.value if self.reserved else 0

    @property
    def available_bytes(self) -> int:
        """What a model may use."""
        return self.total_bytes - self.reserved_bytes


class Memory(Strict):
    """The memory regions by name; ``None`` where the device has none, or where it is no limit (storage on Linux)."""

    ram: Region
    flash: Region | None = None
    tcm: Region | None = None
    psram: Region | None = None

    def regions(self) -> Iterator[tuple[str, Region]]:
        """Yield the regions that the device has, with their names."""
        for name in type(self).model_fields:
            region = getattr(self, name)
            if region is not None:
                yield name, region


class RuntimeSpec(Strict):
    """A runtime as it is on the device.

    Attributes:
        name: ``litert``, ``tflite-runtime``, ``tflm`` or ``onnxruntime``.
        version: The exact version or commit.
        kernels: Kernel library that computes the operators.
        threads: Threads of one inference.
        provider: What computes on the GPU, of onnxruntime alone; the processor takes what it leaves. None: no GPU.
        origin: Where the package comes from on the board; a GPU's is not on the package index.
        precisions: What the runtime is asked to try; it says itself what it cannot do.
        widen: The latency bands are so many times wider either way for this runtime, as the entries were fitted to
            another engine; left out, they hold as they are.
        limits: Known limits in words; shown, never enforced.
    """

    name: str
    version: str = Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z.+_-]*$")
    kernels: Literal["xnnpack", "cmsis-nn", "esp-nn", "mlas", "reference"]
    threads: int = Field(ge=1)
    provider: Provider | None = None
    origin: TextFact | None = None
    precisions: Annotated[
        tuple[Annotated[Precision, Field(strict=False)], ...], BeforeValidator(as_tuple), Field(min_length=1)
    ]
    widen: NumberFact | None = None
    limits: Words = ()


class FittedOn(Strict):
    """The key of a fit: timings hold for this runtime, version and number of threads, and for no other."""

    runtime: str
    version: str
    kernels: str | None = None
    threads: int | None = None


class LatencyEntry(Strict):
    """Latency of one kind of arithmetic: ``t = MACs / rate + bytes / bandwidth + operators * overhead``.

    Attributes:
        arithmetic: ``f32``, ``f16`` (a GPU's), ``int8`` or ``int16`` (int8 weights, int16 activations).
        evidence: ``fitted`` to published timings of this board and this family of runtimes, or ``datasheet``:
            derived from clock and core or a GPU's peak, or from another engine's timings.
        on: What it was fitted on.
        rate: Multiply-accumulates a second, all cores together; or
        macs_per_cycle: those of one core and clock cycle, from which the rate follows.
        cores: Cores that share the work; default: the runtime's threads.
        bandwidth: Bytes a second that operators read and write. An aggregate of the fit, not that of the memory.
        overhead: Fixed cost of an operator.
        spread: The band is from ``t / spread`` to ``t * spread``.
        level: Level of the band where it is statistical.
    """

    arithmetic: Arithmetic
    evidence: Literal["fitted", "datasheet"]
    on: FittedOn | None = None
    rate: MacRateFact | None = None
    macs_per_cycle: NumberFact | None = None
    cores: CountFact | None = None
    bandwidth: BandwidthFact | None = None
    overhead: DurationFact | None = None
    spread: NumberFact
    level: FractionFact | None = None

    def macs_per_s(self, cpu: Cpu, *, threads: int) -> float:
        """Return the rate on ``cpu`` with ``threads`` threads, in multiply-accumulates a second."""
        if self.rate is not None:
            return self.rate.value
        if self.macs_per_cycle is None:
            raise ValueError("a latency entry has a rate or macs_per_cycle; the loader checks it")
        cores = self.cores.value if self.cores else min(threads, cpu.cores)
        return self.macs_per_cycle.value * cpu.clock_hz * cores

    def fits_key(self, runtime: RuntimeSpec) -> bool:
        """Whether this was fitted on exactly ``runtime``: name, version and threads."""
        return self.on is not None and (self.on.runtime, self.on.version, self.on.threads) == (
            runtime.name,
            runtime.version,
            runtime.threads,
        )


class Power(Strict):
    """Power while a model runs.

    Attributes:
        active: Draw of the board or the chip, as its source says.
        spread: The true draw lies within ``active / spread`` and ``active * spread``.
    """

    active: PowerFact
    spread: NumberFact

    @property
    def active_mw(self) -> float:
        """Draw in milliwatts."""
        return self.active.value


class DefaultBudget(Strict):
    """Limits that are active where the user gives none of that name."""

    size: SizeFact | None = None
    ram: SizeFact | None = None
    latency: DurationFact | None = None
    energy: EnergyFact | None = None
    drop: FractionFact | None = None
