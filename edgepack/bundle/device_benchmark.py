# SPDX-License-Identifier: Apache-2.0 OR 0BSD
"""Time this bundle's model on the machine that runs this file, after checking that it computes the right answers.

Taken from a bundle, this file is yours under 0BSD: use, change and share it without conditions. It needs Python 3.9
or newer, numpy and the runtime in ``requirements.txt``, and reads only the files beside it.

    python3 benchmark.py [--runs N] [--threads 1,2,4] [--batch 1,4] [--json FILE] [--profile]

A table goes to standard error, one JSON object to standard output. Exit status: 0 timed; 4 nothing, for it is wrong.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import subprocess
import sys
import time
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]
    Golden = tuple[list[Array], list[Array]]
    Model = Any  # a Tflite, a Micro, or an OnnxSession of the file beside this one

HERE = Path(__file__).resolve().parent
FAILED = 4
WARM_UP = 10
WARM_UP_SHARE = 0.2  # of the time limit, where a model takes seconds
LEAST_RUNS = 5
HOT_CELSIUS = 75.0
DRIFT = 0.10
TFLITE = {"litert": "ai_edge_litert", "tflite-runtime": "tflite_runtime"}
PACKAGES = {**TFLITE, "tflm": "tflite_micro", "onnxruntime": "onnxruntime"}

Json = dict[str, Any]


class BenchmarkError(Exception):
    """Why nothing was timed, in words for the person at the board."""


def say(text: str) -> None:
    """Write one line to standard error: standard output holds the JSON alone."""
    print(text, file=sys.stderr, flush=True)


class Tflite:
    """A model in LiteRT or tflite-runtime, which share one Python class."""

    def __init__(self, package: str, path: Path, threads: int) -> None:
        module = importlib.import_module(package + ".interpreter")
        self._interpreter = module.Interpreter(model_path=str(path), num_threads=threads)
        self._interpreter.allocate_tensors()
        self._places = self._indices()

    def _indices(self) -> tuple[list[int], list[int]]:
        sides = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        return [int(item["index"]) for item in sides[0]], [int(item["index"]) for item in sides[1]]

    def resize(self, batch: int) -> None:
        """Take ``batch`` samples at once; raises ValueError or RuntimeError where the graph is fixed to one."""
        for item in self._interpreter.get_input_details():
            self._interpreter.resize_tensor_input(item["index"], [batch, *item["shape"][1:]])
        self._interpreter.allocate_tensors()
        self._places = self._indices()

    def set_inputs(self, arrays: list[Array]) -> None:
        """Copy one array into each input, in the file's order."""
        for index, array in zip(self._places[0], arrays):
            self._interpreter.set_tensor(index, array)

    def invoke(self) -> None:
        """Run one inference."""
        self._interpreter.invoke()

    def outputs(self) -> list[Array]:
        """Return a copy of each output, in the file's order."""
        return [self._interpreter.get_tensor(index) for index in self._places[1]]


class Micro:
    """A microcontroller's model in TFLM's reference kernels on this machine."""

    def __init__(self, path: Path, outputs: int) -> None:
        from tflite_micro import runtime

        self._interpreter = runtime.Interpreter.from_file(str(path), arena_size=64 << 20)
        self._outputs = outputs

    def resize(self, batch: int) -> None:
        """Refuse: TFLM has no batches."""
        raise ValueError(f"TFLM takes one sample at a time, not {batch}")

    def set_inputs(self, arrays: list[Array]) -> None:
        """Copy one array into each input, in the file's order."""
        for index, array in enumerate(arrays):
            self._interpreter.set_input(array, index)

    def invoke(self) -> None:
        """Run one inference."""
        self._interpreter.invoke()

    def outputs(self) -> list[Array]:
        """Return a copy of each output, in the file's order."""
        return [self._interpreter.get_output(index) for index in range(self._outputs)]


def check_files(manifest: Json) -> None:
    """Hold the model and the golden vectors against the manifest's digests."""
    for name in (manifest["model"]["file"], manifest["golden"]["file"]):
        path = HERE / name
        if not path.is_file():
            raise BenchmarkError(f"{path} is missing; copy the whole bundle folder")
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != manifest["files"][name]:
            raise BenchmarkError(f"{path} is not the file of this bundle (SHA-256 {found[:12]}...); copy it again")


def find_runtime(manifest: Json) -> tuple[str, str]:
    """Return the runtime to use and its version: the one that the bundle was measured in, if it is here."""
    named = manifest["runtime"]["name"]
    rivals = [named, *TFLITE] if named in TFLITE else [named]
    for name in rivals:
        if importlib.util.find_spec(PACKAGES[name]) is None or importlib.util.find_spec("numpy") is None:
            continue
        version = version_of(PACKAGES[name].replace("_", "-"))
        check_numpy(name, version)
        return name, version
    raise BenchmarkError(
        f"no runtime found ({' or '.join(dict.fromkeys(rivals))}, with numpy); install what the bundle names:\n"
        f"  {sys.executable} -m pip install -r {HERE / 'requirements.txt'}"
    )


def version_of(distribution: str) -> str:
    """Return an installed package's version; a system's own packages may not say."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return version_of("onnxruntime-gpu") if distribution == "onnxruntime" else "of unknown version"


def check_numpy(name: str, version: str) -> None:
    """Refuse numpy 2 for tflite-runtime: built against numpy 1, it crashes with words about ``_ARRAY_API``."""
    numpy_version = version_of("numpy")
    if name == "tflite-runtime" and numpy_version.split(".")[0] not in ("0", "1"):
        raise BenchmarkError(
            f"tflite-runtime {version} does not work with numpy {numpy_version}; install an older one:\n"
            f'  {sys.executable} -m pip install "numpy<2"'
        )


def onnx_session() -> ModuleType:
    """Import the file beside this one that runs ONNX Runtime; only bundles for it have one."""
    module = ModuleType("onnx_session")
    SourceFileLoader(module.__name__, str(HERE / "onnx_session.py")).exec_module(module)
    return module


def open_model(name: str, manifest: Json, threads: int) -> Model:
    """Load the model in runtime ``name``."""
    path = HERE / manifest["model"]["file"]
    if name == "onnxruntime":
        return onnx_session().opened(HERE, manifest, threads, quiet=True)
    if name == "tflm":
        return Micro(path, len(manifest["model"]["outputs"]))
    return Tflite(PACKAGES[name], path, threads)


def load_golden(manifest: Json) -> Golden:
    """Return the raw golden inputs and outputs, (n, ...) each."""
    import numpy as np

    with np.load(HERE / manifest["golden"]["file"], allow_pickle=False) as arrays:
        inputs = [arrays[f"raw_input_{index}"] for index in range(len(manifest["model"]["inputs"]))]
        outputs = [arrays[f"raw_output_{index}"] for index in range(len(manifest["model"]["outputs"]))]
    return inputs, outputs


def differing(manifest: Json, found: list[Array], expected: list[Array]) -> tuple[int, list[str]]:
    """Return how many samples are beyond tolerance and, per output that is, how many values and how far."""
    import numpy as np

    wrong = np.zeros(len(expected[0]), bool)
    lines = []
    for spec, allowed, got, want in zip(manifest["model"]["outputs"], manifest["golden"]["tolerance"], found, expected):
        apart = np.abs(got.reshape(want.shape).astype(np.float64) - want.astype(np.float64))
        beyond = ~(apart <= allowed["maximum"])  # a NaN is beyond any tolerance
        wrong |= beyond.reshape(len(want), -1).any(axis=1)
        if beyond.any():
            unit = " LSB" if allowed["unit"] == "lsb" else ""
            lines.append(
                f"output {spec['name']!r}: {int(beyond.sum())} of {beyond.size} values differ, largest difference "
                f"{float(apart.max()):g}{unit} (tolerance {allowed['maximum']:g}{unit})"
            )
    return int(wrong.sum()), lines


def infer_all(model: Model, inputs: list[Array], batch: int = 1) -> list[Array]:
    """Return the raw outputs of as many samples as whole batches hold."""
    import numpy as np

    rows: list[list[Array]] = []
    for begin in range(0, len(inputs[0]) - batch + 1, batch):
        model.set_inputs([array[begin : begin + batch] for array in inputs])
        model.invoke()
        rows.append(model.outputs())
    return [np.concatenate(list(column)) for column in zip(*rows)]


def check_golden(model: Model, manifest: Json, golden: Golden) -> int:
    """Run the golden inputs and return how many samples agree; all of them, or this raises."""
    inputs, expected = golden
    wrong, lines = differing(manifest, infer_all(model, inputs), expected)
    if wrong:
        raise BenchmarkError(
            f"golden vectors: {wrong} of {len(expected[0])} samples differ; nothing is timed for a wrong model\n  "
            + "\n  ".join(lines)
        )
    return len(expected[0])


def time_runs(model: Model, runs: int, limit_s: float) -> list[float]:
    """Return the milliseconds of single invocations, after a warm-up, in the order they were taken."""
    warm = time.perf_counter() + limit_s * WARM_UP_SHARE
    for done in range(WARM_UP):
        if done and time.perf_counter() > warm:
            break
        model.invoke()
    taken: list[float] = []
    end = time.perf_counter() + limit_s
    while len(taken) < runs and (len(taken) < LEAST_RUNS or time.perf_counter() < end):
        begin = time.perf_counter_ns()
        model.invoke()
        taken.append((time.perf_counter_ns() - begin) / 1e6)
    return taken


def summary(taken_ms: list[float], batch: int, threads: int) -> Json:
    """Return percentiles, throughput and drift (second half's median over the first's) of one configuration."""
    import numpy as np

    p50, p90, p99 = (float(item) for item in np.percentile(taken_ms, [50, 90, 99]))
    half = len(taken_ms) // 2
    drift = float(np.median(taken_ms[half:]) / max(float(np.median(taken_ms[:half])), 1e-9)) - 1
    return {
        "threads": threads,
        "batch": batch,
        "runs": len(taken_ms),
        "p50_ms": p50,
        "p90_ms": p90,
        "p99_ms": p99,
        "min_ms": min(taken_ms),
        "max_ms": max(taken_ms),
        "throughput_per_s": 1000.0 * batch * len(taken_ms) / max(sum(taken_ms), 1e-9),
        "drift": drift,
    }


def measure(name: str, manifest: Json, golden: Golden, options: argparse.Namespace) -> list[Json]:
    """Time every combination of threads and batch that computes the golden answers."""
    rows = []
    for threads in options.threads:
        for batch in options.batch:
            model = open_model(name, manifest, threads)
            refusal = prepare(model, manifest, golden, batch)
            if refusal:
                rows.append({"threads": threads, "batch": batch, "runs": 0, "skipped": refusal})
                continue
            rows.append(summary(time_runs(model, options.runs, options.max_seconds), batch, threads))
    return rows


def prepare(model: Model, manifest: Json, golden: Golden, batch: int) -> str:
    """Return why ``batch`` samples at once cannot be timed, or nothing: a graph fixed to one may compute garbage."""
    import numpy as np

    repeat = -(-batch // len(golden[0][0]))
    inputs, expected = ([np.concatenate([array] * repeat) for array in side] for side in golden)
    try:
        if batch > 1:
            model.resize(batch)
        found = infer_all(model, inputs, batch)
    except (ValueError, RuntimeError) as error:
        return f"the model takes one sample at a time ({str(error).splitlines()[0][:80]})"
    whole = len(inputs[0]) // batch * batch
    if any(got.size != want[:whole].size for got, want in zip(found, expected)):
        return "the outputs do not grow with the batch: the model takes one sample at a time"
    wrong, _ = differing(manifest, found, [want[:whole] for want in expected])
    return f"{wrong} of {whole} samples differ in batches of {batch}" if wrong else ""


def read_text(path: str) -> str:
    """Return a small file's text without trailing zero bytes, or nothing where it is not there."""
    try:
        return Path(path).read_text(errors="replace").strip().rstrip("\0")
    except OSError:
        return ""


def state() -> Json:
    """Return clock, governor, temperature and throttling now, as far as this system tells."""
    cpus = sorted(Path("/sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq"))
    clocks = [read_text(str(cpu / "scaling_cur_freq")) for cpu in cpus]
    zones = sorted(Path("/sys/class/thermal").glob("thermal_zone*"))
    heats = {read_text(str(zone / "type")) or zone.name: read_text(str(zone / "temp")) for zone in zones}
    return {
        "clock_mhz": [int(item) / 1000 for item in clocks if item.isdigit()],
        "governor": sorted({read_text(str(cpu / "scaling_governor")) for cpu in cpus} - {""}),
        "celsius": {zone: int(text) / 1000 for zone, text in heats.items() if text.lstrip("-").isdigit()},
        "throttled": throttled(),
        "load": list(os.getloadavg()),
    }


def throttled() -> str | None:
    """Return the Raspberry Pi's throttling bits (``0x0``: never since boot), or None elsewhere."""
    try:
        done = subprocess.run(["vcgencmd", "get_throttled"], capture_output=True, text=True, timeout=5, check=False)  # noqa: S607 - as on PATH
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip().partition("=")[2] or None


def machine() -> Json:
    """Return what this machine is."""
    lines = [line for line in read_text("/proc/cpuinfo").splitlines() if line.startswith(("model name", "Model"))]
    board = read_text("/proc/device-tree/model") or (lines[-1].partition(":")[2].strip() if lines else "")
    return {
        "board": board or platform.machine(),
        "arch": platform.machine(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "numpy": version_of("numpy"),
        "cores": os.cpu_count(),
    }


def peak_rss_bytes() -> int | None:
    """Return the largest resident size of this process so far."""
    for line in read_text("/proc/self/status").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None


def warnings(result: Json) -> list[str]:
    """Return what makes these figures hard to trust or to compare."""
    said = list((result.get("placed") or {}).get("warnings", []))
    if result["runtime"]["name"] == "tflm":
        said.append("these are TFLM's reference kernels on this machine: the times are not the board's")
    built_with = result["runtime"]["built_with"]
    if result["runtime"]["name"] + " " + result["runtime"]["version"] != built_with:
        said.append(f"the bundle was measured in {built_with}, this is another runtime or version")
    before, after = result["before"], result["after"]
    if after["governor"] and after["governor"] != ["performance"]:
        said.append(f"the clock governor is {', '.join(after['governor'])}: the clock may change during a run")
    if after["throttled"] not in (None, "0x0"):
        said.append(f"the board had throttling or low voltage: {after['throttled']} (before: {before['throttled']})")
    hottest = max(after["celsius"].values(), default=0.0)
    if hottest >= HOT_CELSIUS:
        said.append(f"{hottest:.0f} degrees Celsius after the runs: cooling limits the clock soon")
    drifting = [row for row in result["results"] if row["runs"] and abs(row["drift"]) > DRIFT]
    return said + [
        f"threads {row['threads']}, batch {row['batch']}: drifted by {row['drift']:+.0%}" for row in drifting
    ]


def show(result: Json) -> None:
    """Print the table."""
    runtime, golden = result["runtime"], result["golden"]
    where = f" on {result['placed']['ran']}" if result["placed"] else ""
    say(f"{result['machine']['board']}, {runtime['name']} {runtime['version']}{where}, for {result['device']}")
    say(f"golden vectors: {golden['agree']} of {golden['samples']} agree")
    say(f"load {result['load_ms']:.3g} ms, first inference {result['first_ms']:.3g} ms")
    say(f"{'threads':>7} {'batch':>5} {'runs':>5} {'p50 ms':>9} {'p90 ms':>9} {'p99 ms':>9} {'per second':>11}")
    for row in result["results"]:
        head = f"{row['threads']:>7} {row['batch']:>5} {row['runs']:>5} "
        if row["runs"]:
            times = " ".join(f"{row[key]:>9.4g}" for key in ("p50_ms", "p90_ms", "p99_ms"))
            say(f"{head}{times} {row['throughput_per_s']:>11.1f}")
        else:
            say(f"{head}skipped: {row['skipped']}")
    peak = result["peak_rss_bytes"]
    told = f"{peak / 2**20:.1f} MiB (Python and numpy included)" if peak else "not known here"
    say(f"peak resident memory: {told}")
    for line in onnx_session().lines(result["profile"]) if "profile" in result else ():
        say(line)
    for line in result["warnings"]:
        say(f"note: {line}")


def benchmark(manifest: Json, options: argparse.Namespace) -> Json:
    """Check, then time; the order is the point."""
    check_files(manifest)
    name, version = find_runtime(manifest)
    golden = load_golden(manifest)
    before = state()
    begin = time.perf_counter()
    model = open_model(name, manifest, manifest["runtime"]["threads"])
    loaded = time.perf_counter()
    model.set_inputs([array[:1] for array in golden[0]])
    model.invoke()
    first = time.perf_counter()
    agree = check_golden(model, manifest, golden)
    del model
    placed = onnx_session().placed(HERE, manifest, golden[0]) if manifest["runtime"].get("provider") else None
    rows = measure(name, manifest, golden, options)
    canonical = json.dumps(manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    result = {
        "schema_version": 1,
        "bundle": hashlib.sha256(canonical).hexdigest(),
        "device": manifest["device"]["name"],
        "machine": machine(),
        "runtime": {
            "name": name,
            "version": version,
            "built_with": f"{manifest['runtime']['name']} {manifest['runtime']['version']}",
        },
        "placed": placed,
        "golden": {"samples": agree, "agree": agree},
        "load_ms": (loaded - begin) * 1e3,
        "first_ms": (first - loaded) * 1e3,
        "results": rows,
        "peak_rss_bytes": peak_rss_bytes(),
        "before": before,
        "after": state(),
    }
    if options.profile:
        result["profile"] = onnx_session().profile(HERE, manifest, [array[:1] for array in golden[0]], options.runs)
    return {**result, "warnings": warnings(result)}


def positive(text: str) -> int:
    """Read a whole number from 1."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1")
    return int(text)


def numbers(text: str) -> list[int]:
    """Read "1,2,4"."""
    return [positive(item) for item in text.split(",")]


def parse(arguments: list[str] | None, manifest: Json) -> argparse.Namespace:
    """Read the command line; threads go by default from the profile's number to all cores."""
    runtime = manifest["runtime"]
    alone = runtime["name"] == "tflm" or runtime.get("provider")  # more threads would change little or nothing
    batch = [1] if runtime.get("provider") else [1, 4]
    threads = sorted({int(runtime["threads"])} | (set() if alone else {1, os.cpu_count() or 1}))
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=positive, default=100, help="timed inferences for each line of the table")
    parser.add_argument("--max-seconds", type=float, default=10.0, help="at most this long for each line")
    parser.add_argument("--threads", type=numbers, default=threads, help="numbers of threads, 1,2,4 say")
    parser.add_argument("--batch", type=numbers, default=batch, help="samples at once, 1,4 say")
    parser.add_argument("--json", metavar="FILE", help="write the result here too")
    parser.add_argument("--profile", action="store_true", help="time each kind of operator too (ONNX Runtime)")
    options = parser.parse_args(arguments)
    if options.profile and runtime["name"] != "onnxruntime":
        parser.error(f"--profile: {runtime['name']} does not tell what each operator takes")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    try:
        manifest = json.loads((HERE / "manifest.json").read_text(encoding="utf-8"))
        options = parse(arguments, manifest)
        result = benchmark(manifest, options)
    except BenchmarkError as error:
        say(f"Error: {error}")
        return FAILED
    except (OSError, ValueError, RuntimeError, ImportError, AttributeError) as error:
        say(f"Error: the runtime or the bundle failed: {type(error).__name__}: {error}")
        return FAILED
    show(result)
    print(json.dumps(result))
    if options.json:
        try:
            Path(options.json).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            say(f"Error: cannot write {options.json}: {error.strerror}; the result is on standard output")
            return FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
