# SPDX-License-Identifier: Apache-2.0
"""What ONNX in and ONNX out cost and give, each figure against its rival in the same run.

- ``speed``: an int8 graph over its float one in ONNX Runtime, one thread, single calls in turn, on MobileNetV2 1.0 at
  224 with seeded weights: time (goal at most 0.65 where the machine has VNNI) and size (at most 0.32). Rounded after
  training, and by way of the int8 ``.tflite`` as a trained rounding goes.
- ``import``: seconds per 100 nodes over the nets of ``tests/nets``, the parity gate apart.
- ``accuracy``: 8-bit ONNX against onnxruntime's own quantize_static called by hand, on ResNet-8 and 8,000 images of
  CIFAR-10 as JPEG, paired. Never worse is the goal. ``--train`` adds the row that trains with rounding (minutes).
- ``four-bits``: weights of matrix products in 4 bits against the same, on a net of dense layers and 899 digits.

    python benchmarks/onnx_ratios.py --parts speed import
    python benchmarks/onnx_ratios.py --parts accuracy --train --field ../shared/field

Not called onnx.py: the other benchmarks would import a file of that name beside them in place of the package.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from _models import random_samples
from compression import MODEL, write_data

from edgepack.arrays import Array
from edgepack.compress.recipe import Recipe
from edgepack.crew.process import Worker
from edgepack.data.metric import Metric
from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.lower.artifact import Artifact
from edgepack.lower.form import TFLITE, Form
from edgepack.lower.lower import lower
from edgepack.measure.accuracy import compare
from edgepack.model.load import load_model
from edgepack.model.model import Model
from edgepack.model.precision import Precision

ROOT = Path(__file__).resolve().parent.parent
VNNI = Form(format="onnx", unsigned=True, opset=26)
SPEED_GOAL, SIZE_GOAL = 0.65, 0.32
CALIBRATION_SAMPLES = 32
HAND_SAMPLES = 512
BLOCK = 10
PARTS = ("speed", "import", "accuracy", "four-bits")
# Row: what comes before lowering, and whether it trains.
ROWS = {
    "after training": ("", False),
    "mixed": ("  - {kind: mixed, bits: 8}\n", False),
    "mixed, then qat": (
        "  - {kind: mixed, bits: 8}\n  - {kind: qat, schedule: {steps: 420, learning_rate: 0.0005}}\n",
        True,
    ),
}


def session(path: Path) -> Callable[[dict[str, Array]], list[Array]]:
    """Return ``path`` ready to run in one thread, from inputs by name to outputs."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    opened = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda feed: opened.run(None, feed)


def make_mobilenet(path: Path) -> None:
    """Write MobileNetV2 1.0 at 224, its weights drawn: time and size do not depend on what it has learnt.

    Its normalization has the statistics of what flows through it: without, activations would shrink to 1e-8.
    """
    import keras

    keras.utils.set_random_seed(1)
    net = keras.applications.MobileNetV2(weights=None, classifier_activation=None)
    for layer in net.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    net(np.random.default_rng(0).random((8, *net.input_shape[1:]), dtype=np.float32), training=True)
    net.save(path)


def speed(worker: Worker, folder: Path, pairs: int) -> None:
    """Print time and size of two int8 graphs over the float one."""
    worker.call("make", make_mobilenet, folder / "mobilenet.keras")
    model = worker.call(
        "load", load_model, folder / "mobilenet.keras", shapes={}, trust_code=False, folder=folder / "models"
    )
    samples = random_samples(model, CALIBRATION_SAMPLES, folder)

    def made(source: Model, precision: Precision, form: Form, *, as_is: bool = False, io: str = "float") -> Artifact:
        recipe = Recipe(precision=PrecisionPlan(default=precision, io=io), as_is=as_is)
        return worker.call("lower", lower, source, recipe, calibration=samples, folder=folder, form=form)

    plain = made(model, Precision.F32, VNNI)
    rounded = made(model, Precision.W8A8, VNNI)
    tflite = made(model, Precision.W8A8, TFLITE, io="int8")
    integers = worker.call("load", load_model, tflite.path, shapes={}, trust_code=False, folder=folder / "models")
    kept = made(integers, Precision.W8A8, VNNI, as_is=True)
    feed = {spec.name: np.load(path)[:1] for spec, path in zip(model.inputs, samples, strict=True)}
    for name, artifact in (("after training", rounded), ("by way of the int8 .tflite", kept)):
        ratios = time_ratios(session(plain.path), session(artifact.path), feed, pairs)
        median, size = statistics.median(ratios), artifact.size_bytes / plain.size_bytes
        print(
            f"int8 {name} over float, MobileNetV2 at 224: {median:.2f} (min {min(ratios):.2f}, max {max(ratios):.2f}, "
            f"{pairs} pairs of {BLOCK} calls); {artifact.notes[0]}"
        )
        print(f"{'':4}goal at most {SPEED_GOAL} with VNNI: {'met' if median <= SPEED_GOAL else 'missed'}")
        print(
            f"{'':4}size {artifact.size_bytes:,} of {plain.size_bytes:,} B: {size:.3f}; "
            f"goal at most {SIZE_GOAL}: {'met' if size <= SIZE_GOAL else 'missed'}"
        )


def time_ratios(
    plain: Callable[[dict[str, Array]], list[Array]],
    rounded: Callable[[dict[str, Array]], list[Array]],
    feed: dict[str, Array],
    pairs: int,
) -> list[float]:
    """Return, pair by pair, the fastest call of ``rounded`` over that of ``plain``, the calls of both in turn.

    The fastest: what else the machine does can only slow a call down.
    """
    found = []
    for _ in range(pairs + 1):
        taken: tuple[list[float], list[float]] = ([], [])
        for _ in range(BLOCK):
            for run, times in zip((plain, rounded), taken, strict=True):
                start = time.perf_counter()
                run(feed)
                times.append(time.perf_counter() - start)
        found.append(min(taken[1]) / min(taken[0]))
    return found[1:]  # the first warms up


def import_times(nets: str) -> list[tuple[str, int, float, float]]:
    """Return name, nodes, and seconds of import and gate of every net of the zoo; runs in the worker."""
    sys.path.insert(0, nets)
    import keras
    from onnx_zoo import CNNS, SHUFFLES
    from onnx_zoo_other import OTHERS

    from edgepack.importer.gate import check_parity
    from edgepack.importer.importer import import_onnx
    from edgepack.importer.prepare import prepare

    found = []
    for turn in range(2):
        for name, make in {**CNNS, **SHUFFLES, **OTHERS}.items():
            keras.backend.clear_session()
            model = make()
            start = time.perf_counter()
            imported = import_onnx(prepare(model, shapes={}, where=name), where=name)
            middle = time.perf_counter()
            check_parity(imported, model, where=name)
            if turn:  # the first warms up
                found.append((name, len(model.graph.node), middle - start, time.perf_counter() - middle))
    return found


def imports(worker: Worker) -> None:
    """Print how long a graph takes to come in, by its nodes."""
    found = worker.call("import", import_times, str(ROOT / "tests" / "nets"))
    nodes = sum(count for _, count, _, _ in found)
    each = sorted((100 * taken / count, name) for name, count, taken, _ in found)
    total, gate = (100 * sum(item[place] for item in found) / nodes for place in (2, 3))
    print(
        f"import: {total:.2f} s per 100 nodes over {len(found)} nets of {nodes} nodes "
        f"(median {statistics.median(rate for rate, _ in each):.2f}, most {each[-1][0]:.2f}: {each[-1][1]}); "
        f"the parity gate {gate:.2f} s"
    )


def quantize_by_hand(source: Path, calibration: Path, path: Path) -> None:
    """Export ``source`` with Keras and quantize it as onnxruntime's documentation shows; runs in the worker."""
    import keras
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with np.load(calibration) as arrays:
        images = np.random.default_rng(0).permutation(arrays["x"])[:HAND_SAMPLES]
    exported, ready = path.with_suffix(".float.onnx"), path.with_suffix(".ready.onnx")
    net = keras.models.load_model(source, compile=False)
    net(images[:1])  # export asks for a model that was called
    net.export(str(exported), format="onnx", verbose=False)
    quant_pre_process(str(exported), str(ready))

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            import onnx

            (given,) = onnx.load(ready).graph.input
            self.left = iter([{given.name: image[None]} for image in images])

        def get_next(self) -> dict[str, Array] | None:
            return next(self.left, None)

    quantize_static(
        str(ready),
        str(path),
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


def built(name: str, *, device: Path, field: Path, data: Path, folder: Path) -> Path:
    """Build one row through the command line and return its ``model.onnx``."""
    steps = ROWS[name][0]
    recipe, out = folder / "recipe.yaml", folder / name.replace(", ", "-").replace(" ", "-")
    recipe.write_text((f"steps:\n{steps}" if steps else "") + "precision: {default: w8a8}\n")
    command = [sys.executable, "-m", "edgepack", "build", field / MODEL, "--device", device, "--format", "onnx"]
    command += ["--train", data / "train.npz", "--select", data / "select.npz", "--recipe", recipe, "--no-controls"]
    command += ["--work", folder / "work", "-o", out, "--quiet"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if not (out / "model.onnx").exists():
        raise SystemExit(f"{name} ended with {done.returncode}: {done.stderr or done.stdout}")
    return out / "model.onnx"


def answers(path: Path, images: Array) -> Array:
    """Return what the ``.onnx`` of one input gives, sample by sample."""
    import onnx

    (name,) = (item.name for item in onnx.load(path).graph.input)
    run = session(path)
    return np.concatenate([run({name: images[row : row + 1]})[0] for row in range(len(images))])


def accuracy(worker: Worker, folder: Path, *, field: Path, train: bool) -> None:
    """Print each row's accuracy, its lead over the graph quantized by hand, and both sizes."""
    data, device, hand = folder / "data", folder / "vnni.yaml", folder / "hand.onnx"
    data.mkdir()
    write_data(field, data)
    profile = (ROOT / "device_profiles" / "x86-64.yaml").read_text()
    device.write_text(profile.replace("name: x86-64", "name: vnni").replace("[avx2, fma]", "[avx2, fma, avx-vnni]"))
    worker.call("hand", quantize_by_hand, field / MODEL, data / "train.npz", hand)
    with np.load(data / "test.npz") as arrays:
        images, labels = arrays["x"], arrays["y"]
    rival = answers(hand, images)
    print(f"by hand: {float((rival.argmax(1) == labels).mean()):.4f}, n={len(labels)}, {hand.stat().st_size:,} B")
    for name, (_, trains) in ROWS.items():
        if trains and not train:
            continue
        path = built(name, device=device, field=field, data=data, folder=folder)
        told(name, path, answers(path, images), rival=rival, labels=labels)


def told(name: str, path: Path, found: Array, *, rival: Array, labels: Array) -> None:
    """Print the accuracy of ``found`` and its lead over ``rival``, on the same samples."""
    accuracy = Metric("accuracy", higher_is_better=True)
    paired = compare(metric=accuracy, labels=labels, original=[rival], candidate=[found], seed=0)
    metric, drop = paired.metric, paired.drop
    verdict = "not worse" if drop.value <= 0 else "worse, clearly" if drop.ci_low > 0 else "worse, within noise"
    print(
        f"{name}: {metric.value:.4f} (95% {metric.ci_low:.4f} to {metric.ci_high:.4f}, n={metric.n}), over by hand "
        f"{-drop.value:+.2%} ({-drop.ci_high:+.2%} to {-drop.ci_low:+.2%}), {path.stat().st_size:,} B: {verdict}"
    )


def make_dense(path: Path, data: Path) -> None:
    """Train a net of dense layers on half of the digits, flattened; write it and, as ``data``, its samples."""
    import keras

    with np.load(ROOT / "examples" / "pytorch_cnn" / "digits.npz") as arrays:
        x, test = (arrays[name].reshape(-1, 64).astype(np.float32) for name in ("x_train", "x_test"))
        y, labels = arrays["y_train"].astype(int), arrays["y_test"].astype(int)
    keras.utils.set_random_seed(1)
    wide = [keras.layers.Dense(512, activation="relu") for _ in range(2)]
    net = keras.Sequential([keras.Input((64,), name="image"), *wide, keras.layers.Dense(10)])
    net.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    net.fit(x, y, epochs=20, verbose=0)
    net.save(path)
    np.savez(data, x=x, test=test, labels=labels)


def four_bits(worker: Worker, folder: Path) -> None:
    """Print what 4-bit weights cost and save against 8 bits by hand."""
    source, data, hand = folder / "dense.keras", folder / "digits.npz", folder / "dense.onnx"
    worker.call("make", make_dense, source, data)
    worker.call("hand", quantize_by_hand, source, data, hand)
    model = worker.call("load", load_model, source, shapes={}, trust_code=False, folder=folder / "models")
    recipe = Recipe(precision=PrecisionPlan(default=Precision.W4))
    made = worker.call("lower", lower, model, recipe, calibration=None, folder=folder, form=VNNI)
    with np.load(data) as arrays:
        images, labels = arrays["test"], arrays["labels"]
    told("w4", made.path, answers(made.path, images), rival=answers(hand, images), labels=labels)
    print(f"{'':4}bytes over by hand {made.size_bytes / hand.stat().st_size:.2f}")


def main() -> None:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--pairs", type=int, default=15, help="interleaved pairs that the median is taken over")
    parser.add_argument("--field", type=Path, default=Path(os.environ.get("EDGEPACK_FIELD", "../shared/field")))
    parser.add_argument("--train", action="store_true", help="add the row that trains")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, Worker(Path(scratch) / "logs") as worker:
        folder = Path(scratch)
        if "speed" in arguments.parts:
            speed(worker, folder, arguments.pairs)
        if "import" in arguments.parts:
            imports(worker)
        if "accuracy" in arguments.parts:
            accuracy(worker, folder, field=arguments.field.resolve(), train=arguments.train)
        if "four-bits" in arguments.parts:
            four_bits(worker, folder)


if __name__ == "__main__":
    main()
