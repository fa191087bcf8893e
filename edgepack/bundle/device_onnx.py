# SPDX-License-Identifier: Apache-2.0 OR 0BSD
"""This bundle's model in ONNX Runtime: what ``benchmark.py`` and ``infer.py`` run it with.

Taken from a bundle, this file is yours under 0BSD: use, change and share it without conditions. It needs Python 3.9
or newer, numpy and onnxruntime.

    from onnx_session import OnnxSession
    session = OnnxSession("model.onnx", threads=4)
    answers = session.run([image])            # (1, ...) each, in the file's order

Where the bundle is for a GPU, ``opened(folder, manifest, threads)`` takes it to that; without one it runs on the
processor, and standard error says so.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

# Versions from 1.29 on report to Microsoft what they run (its name, hashes of its graph and weights), and leave a file
# for that in the home folder, unless they find this in the environment when they are loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

WARM_UP = 3
CPU = "CPUExecutionProvider"
# What computes on a GPU, best first; the processor takes what is left.
GPU = {
    "tensorrt": ["TensorrtExecutionProvider", "CUDAExecutionProvider"],
    "cuda": ["CUDAExecutionProvider"],
}
ERRORS_ONLY = 3

Json = dict[str, Any]
Provider = Any  # a name, or a name and its options


class OnnxSession:
    """A loaded ``.onnx`` or ``.ort`` file.

    Args:
        path: The file.
        threads: Threads of one inference.
        profile: Start of the name of the file that takes ONNX Runtime's own profile; None for none.
        providers: What computes, best first, with its options; None for the processor.

    Raises:
        RuntimeError: The runtime refuses the model, in its own words; so do the methods.
    """

    def __init__(
        self, path: str | Path, threads: int, profile: Path | None = None, providers: list[Provider] | None = None
    ) -> None:
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as state

        # Its exceptions have no base of their own.
        known = [item for item in vars(state).values() if isinstance(item, type) and issubclass(item, Exception)]
        self._errors = tuple(known)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = ERRORS_ONLY
        if profile is not None:
            options.enable_profiling, options.profile_file_prefix = True, str(profile)
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=providers or [CPU])
        except self._errors as error:
            raise RuntimeError(str(error)) from error
        self._names = [item.name for item in self._session.get_inputs()]
        self._feed: dict[str, Array] = {}
        self._found: list[Array] = []

    def resize(self, batch: int) -> None:
        """Take ``batch`` samples at once; raises ValueError where the graph is fixed to another number."""
        for item in self._session.get_inputs():
            if not item.shape or (isinstance(item.shape[0], int) and item.shape[0] != batch):
                raise ValueError(f"input {item.name!r} has the fixed shape {item.shape}")

    def set_inputs(self, arrays: list[Array]) -> None:
        """Take one array for each input, in the file's order."""
        self._feed = dict(zip(self._names, arrays))

    def invoke(self) -> None:
        """Run one inference."""
        try:
            self._found = self._session.run(None, self._feed)
        except self._errors as error:
            raise RuntimeError(str(error)) from error

    def outputs(self) -> list[Array]:
        """Return each output of the last inference, in the file's order."""
        return self._found

    def run(self, inputs: list[Array]) -> list[Array]:
        """Run one sample, (1, ...) each, in the file's order."""
        self.set_inputs(inputs)
        self.invoke()
        return self.outputs()

    def end_profile(self) -> Path:
        """Write the profile and return its file."""
        return Path(self._session.end_profiling())


def opened(
    bundle: Path, manifest: Json, threads: int, profile: Path | None = None, *, quiet: bool = False
) -> OnnxSession:
    """Return the bundle's model in a session on what it is for; warn, unless ``quiet``, where this runtime has none."""
    import onnxruntime

    asked = manifest["runtime"].get("provider")
    found = providers(asked, manifest["model"]["precision"], onnxruntime.get_available_providers())
    if asked and found == [CPU] and not quiet:
        has = f"this onnxruntime ({onnxruntime.__version__}) has no {' or '.join(GPU[asked])}"
        shout(f"{has}: the model runs on the processor. requirements.txt says what to install")
    return OnnxSession(bundle / manifest["model"]["file"], threads, profile, found)


def providers(asked: str | None, precision: str, available: list[str]) -> list[Provider]:
    """Return what to compute on, best first, with TensorRT allowed the model's own precision."""
    allowed = {"trt_fp16_enable": precision == "w16", "trt_int8_enable": precision.startswith("w8a8")}
    found = [name for name in GPU.get(asked or "", []) if name in available]
    return [(name, allowed) if name.startswith("Tensorrt") else name for name in found] + [CPU]


def shout(text: str) -> None:
    """Write a warning that nobody overlooks to standard error."""
    bar = "!" * 100
    print(f"{bar}\nWARNING: {text}\n{bar}", file=sys.stderr, flush=True)


def placed(bundle: Path, manifest: Json, inputs: list[Array]) -> Json:
    """Return how many operators of one inference each provider really computed, and warn where it is not as asked."""
    with tempfile.TemporaryDirectory() as folder:
        session = opened(bundle, manifest, int(manifest["runtime"]["threads"]), Path(folder) / "placed")
        session.run([array[:1] for array in inputs])
        events = json.loads(session.end_profile().read_text(encoding="utf-8"))
    counts = Counter(str(event["args"].get("provider", "unknown")) for run in kernel_runs(events) for event in run)
    short = shortfall(manifest["runtime"]["provider"], counts)
    if short:
        shout(short)
    return {
        "asked": manifest["runtime"]["provider"],
        "operators": dict(counts.most_common()),
        "ran": ", ".join(f"{name} ({count})" for name, count in counts.most_common()),
        "warnings": [short] if short else [],
    }


def shortfall(asked: str, counts: dict[str, int]) -> str:
    """Return in words how operators by provider are not as asked; empty where the best computed all."""
    best, total = GPU[asked][0], sum(counts.values())
    if not counts.get(best):
        ran = ", ".join(f"{name} ({count} of {total} operators)" for name, count in counts.items()) or "nothing"
        return f"{best} was asked for and computed nothing; what ran is {ran}. The times are NOT those of {best}"
    if counts.get(CPU):
        return f"{counts[CPU]} of {total} operators ran on the processor, not on the GPU"
    return ""


def profile(bundle: Path, manifest: Json, inputs: list[Array], runs: int) -> Json:
    """Return what each kind of operator took, after ONNX Runtime's fusions, in ``runs`` inferences after a warm-up.

    Threads are those of the device's profile.

    ``allocator_peak_bytes`` is the most that the runtime's own allocator had handed out: activations and what kernels
    ask for; not the weights, nor the code.
    """
    threads = int(manifest["runtime"]["threads"])
    with tempfile.TemporaryDirectory() as folder:
        session = opened(bundle, manifest, threads, Path(folder) / "profile", quiet=True)
        for _ in range(WARM_UP + runs):
            session.run(inputs)
        events = json.loads(session.end_profile().read_text(encoding="utf-8"))
    kernels = kernel_runs(events)
    if len(kernels) != WARM_UP + runs or not kernels[-1]:
        raise RuntimeError("ONNX Runtime wrote no operators into its profile, or not of every run")
    peak = max(int(event["args"].get("mem_in_use_peak", 0)) for run in kernels for event in run)
    kinds = by_kind(kernels[WARM_UP:])
    return {
        "runs": runs,
        "threads": threads,
        "operators_ms": sum(kind["ms"] for kind in kinds),
        "operators": kinds,
        "allocator_peak_bytes": peak or None,
    }


def kernel_runs(events: list[Json]) -> list[list[Json]]:
    """Return the operators' events of each inference: that of the inference itself comes after them."""
    runs: list[list[Json]] = [[]]
    for event in events:
        if event["cat"] == "Node" and event["name"].endswith("_kernel_time"):
            runs[-1].append(event)
        elif event["name"] == "model_run":
            runs.append([])
    return runs[:-1]


def by_kind(runs: list[list[Json]]) -> list[Json]:
    """Return calls and milliseconds of one inference for each kind of operator, medians over ``runs``, slowest first.

    A mean would tell of the one run in which the system was busy elsewhere.
    """
    kinds = sorted({event["args"]["op_name"] for run in runs for event in run})
    rows: list[Json] = []
    for kind in kinds:
        taken = [[event["dur"] / 1e3 for event in run if event["args"]["op_name"] == kind] for run in runs]
        rows.append({"kind": kind, "calls": median(map(len, taken)), "ms": median(map(sum, taken))})
    whole = sum(row["ms"] for row in rows)
    shared = [{**row, "share": row["ms"] / whole if whole else 0.0} for row in rows]
    return sorted(shared, key=lambda row: -row["ms"])


def lines(found: Json) -> list[str]:
    """Return a profile as lines for a person."""
    told = [f"profile, {found['threads']} threads, median of {found['runs']} runs; operators as the runtime fused them"]
    told += [
        f"{row['kind']:>28} {row['calls']:>4g} x {row['ms']:>9.4g} ms {row['share']:>6.1%}"
        for row in found["operators"]
    ]
    peak = found["allocator_peak_bytes"]
    return [*told, "allocator peak: " + (f"{peak / 1024:.1f} KiB" if peak else "not told by this version")]
