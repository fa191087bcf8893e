# SPDX-License-Identifier: Apache-2.0 OR 0BSD
"""Run this bundle's model from Python: preprocess, quantize, invoke, dequantize; inputs and outputs by name.

Taken from a bundle, this file is yours under 0BSD: use, change and share it without conditions. It needs Python 3.9
or newer, numpy and the runtime in ``requirements.txt``; Pillow only where images must be resized.

    from infer import Predictor
    model = Predictor()                       # loads at the first call
    model.predict({"image": image})           # one sample -> {"probs": array}
    model.predict_batch({"image": images})    # (n, ...) -> {"probs": (n, ...)}
    with model.queue() as queue:              # a background thread; results in the order they were asked for
        answers = [queue.submit({"image": image}) for image in camera]
        first = answers[0].result()

    python3 infer.py [--threads N]            # runs the golden inputs and says whether they agree
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

HERE = Path(__file__).resolve().parent
FAILED = 4
TFLITE = {"litert": "ai_edge_litert", "tflite-runtime": "tflite_runtime"}
PACKAGES = {**TFLITE, "tflm": "tflite_micro", "onnxruntime": "onnxruntime"}
JUST_BELOW_HALF = np.float32(0.49999997)
LUMA = np.array([0.299, 0.587, 0.114], np.float32)

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]
    Arrays = dict[str, Array]
    Inputs = Arrays | Array
    Model = Any  # a Tflite, a Micro, or an OnnxSession of the file beside this one


class Tflite:
    """A model in LiteRT or tflite-runtime, which share one Python class."""

    def __init__(self, package: str, path: Path, threads: int) -> None:
        module = importlib.import_module(package + ".interpreter")
        self._interpreter = module.Interpreter(model_path=str(path), num_threads=threads)
        self._interpreter.allocate_tensors()
        sides = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        self._inputs, self._outputs = ([item["index"] for item in side] for side in sides)

    def run(self, inputs: list[Array]) -> list[Array]:
        """Run one sample, (1, ...) each, in the file's order."""
        for index, array in zip(self._inputs, inputs):
            self._interpreter.set_tensor(index, array)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._outputs]


class Micro:
    """A microcontroller's model in TFLM's reference kernels on this machine."""

    def __init__(self, path: Path, outputs: int) -> None:
        from tflite_micro import runtime

        self._interpreter = runtime.Interpreter.from_file(str(path), arena_size=64 << 20)
        self._outputs = outputs

    def run(self, inputs: list[Array]) -> list[Array]:
        """Run one sample, (1, ...) each, in the file's order."""
        for index, array in enumerate(inputs):
            self._interpreter.set_input(array, index)
        self._interpreter.invoke()
        return [self._interpreter.get_output(index) for index in range(self._outputs)]


class Predictor:
    """The bundle's model; nothing is loaded before the first prediction, and one thread at a time runs it.

    Args:
        folder: The bundle; by default the folder of this file.
        threads: Threads of one inference; by default what the device's profile says.
    """

    def __init__(self, folder: str | Path = HERE, threads: int | None = None) -> None:
        self.folder = Path(folder)
        self.manifest = json.loads((self.folder / "manifest.json").read_text(encoding="utf-8"))
        self.inputs = self.manifest["model"]["inputs"]
        self.outputs = self.manifest["model"]["outputs"]
        self._threads = threads or self.manifest["runtime"]["threads"]
        self._model: Model | None = None
        self._lock = threading.Lock()

    def predict(self, inputs: Inputs, *, raw: bool = False) -> Arrays:
        """Return the outputs of one sample by name, without a batch dimension.

        Args:
            inputs: Input name -> array of the sample's shape, or the array alone where there is one input. Arrays
                are as they come from the sensor: the manifest's preprocessing is applied here. Their axes lie as in
                the training code, those of an image also height, width, channels.
            raw: Return integers as the model gives them; else they are dequantized to float32.
        """
        arrays = {name: np.asarray(array)[None] for name, array in self.by_name(inputs).items()}
        return {name: array[0] for name, array in self.predict_batch(arrays, raw=raw).items()}

    def predict_batch(self, inputs: Inputs, *, raw: bool = False, preprocessed: bool = False) -> Arrays:
        """Return the outputs of n samples by name, (n, ...) each; the model still runs them one at a time.

        Args:
            inputs: Input name -> (n, ...) array, or the array alone where there is one input.
            raw: As for ``predict``.
            preprocessed: The arrays already are what the model takes, and outputs stay as the model's file has them.
        """
        columns = [self._encoded(spec, self.by_name(inputs), preprocessed=preprocessed) for spec in self.inputs]
        counts = {len(column) for column in columns}
        if len(counts) != 1:
            raise ValueError(f"the inputs hold different numbers of samples: {sorted(counts)}")
        with self._lock:
            rows = [self._loaded().run([column[row : row + 1] for column in columns]) for row in range(counts.pop())]
        results = {}
        for index, spec in enumerate(self.outputs):
            found = [np.asarray(row[index]).reshape(spec["shape"]) for row in rows]
            joined = np.concatenate(found) if found else np.empty((0, *spec["shape"][1:]), spec["dtype"])
            turned = joined if preprocessed else as_trained(joined, spec)
            results[spec["name"]] = turned if raw else dequantize(turned, spec)
        return results

    def queue(self, size: int = 16) -> Queue:
        """Return a background thread that predicts single samples; ``size`` may wait before ``submit`` blocks."""
        return Queue(self, size)

    def _loaded(self) -> Model:
        if self._model is None:
            path = self.folder / self.manifest["model"]["file"]
            name = find_runtime(self.manifest["runtime"]["name"])
            if name == "tflm":
                self._model = Micro(path, len(self.outputs))
            elif name == "onnxruntime":
                self._model = onnx_session(self.folder).opened(self.folder, self.manifest, self._threads)
            else:
                self._model = Tflite(PACKAGES[name], path, self._threads)
        return self._model

    def by_name(self, inputs: Inputs) -> Arrays:
        """Return ``inputs`` as a dict that names exactly the model's inputs."""
        names = [spec["name"] for spec in self.inputs]
        if not isinstance(inputs, dict):
            if len(names) != 1:
                raise ValueError(f"the model has {len(names)} inputs: give a dict with {', '.join(names)}")
            return {names[0]: inputs}
        if set(inputs) != set(names):
            raise ValueError(f"the model's inputs are {', '.join(names)}, not {', '.join(map(str, inputs))}")
        return inputs

    def _encoded(self, spec: dict[str, Any], inputs: Arrays, *, preprocessed: bool) -> Array:
        array = np.asarray(inputs[spec["name"]])
        block = None if preprocessed else self.manifest["preprocess"]
        if block is not None and len(array) and applies(block, spec["name"]):
            array = np.stack([preprocess(sample, block) for sample in array])
        array = array if preprocessed else as_in_file(array, spec)
        expected = (len(array), *spec["shape"][1:])
        if not alike(array.shape[1:], expected[1:]):
            given = as_trained(np.broadcast_to(np.uint8(0), expected), spec).shape[1:]
            raise ValueError(f"input {spec['name']!r} takes samples of {given}, got {array.shape[1:]}")
        return np.ascontiguousarray(quantize(array.reshape(expected), spec))


class Queue:
    """A thread that takes single samples in order and answers each with a future."""

    def __init__(self, predictor: Predictor, size: int) -> None:
        self._predictor = predictor
        self._room = threading.BoundedSemaphore(size)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="predictor")

    def __enter__(self) -> Queue:  # noqa: PYI034 - Python 3.9 has no typing.Self
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def submit(self, inputs: Inputs, *, raw: bool = False) -> Future[Arrays]:
        """Ask for one sample, copied here, so that a camera may reuse its buffer; waits while the queue is full.

        What is wrong with a sample is its own future's error.
        """
        held = {name: np.array(array) for name, array in self._predictor.by_name(inputs).items()}
        self._room.acquire()
        answer = self._thread.submit(self._predictor.predict, held, raw=raw)
        answer.add_done_callback(lambda _: self._room.release())
        return answer

    def close(self) -> None:
        """Answer everything that was asked, then end the thread."""
        self._thread.shutdown(wait=True)


def applies(block: dict[str, Any], name: str) -> bool:
    """Whether the block is for this input; converters add ``serving_default_`` and ``:0`` to the user's own name."""
    return block.get("inputs") is None or name.removeprefix("serving_default_").partition(":")[0] in block["inputs"]


def order_of(spec: dict[str, Any]) -> list[int]:
    """Return, for each axis of an array of samples in the file's order, which axis it is in the training code's."""
    axes = spec.get("axes") or range(len(spec["shape"]))
    return [0, *(1 + axis - (axis > axes[0]) for axis in axes[1:])]


def as_in_file(array: Array, spec: dict[str, Any]) -> Array:
    """Return (n, ...) samples with their axes as the file has them; what does not lie as in training stays."""
    order = order_of(spec)
    given = [spec["shape"][order.index(axis)] for axis in range(1, len(order))]
    if not alike(array.shape[1:], given):
        return array
    return array.reshape(len(array), *given).transpose(order)


def as_trained(array: Array, spec: dict[str, Any]) -> Array:
    """Return (n, ...) values of the file's with their axes as the training code has them."""
    return array.transpose(np.argsort(order_of(spec)))


def alike(one: Any, other: Any) -> bool:  # noqa: ANN401 - a tuple or a list of sizes
    """Whether two shapes are the same but for axes of length 1."""
    return [size for size in one if size != 1] == [size for size in other if size != 1]


def preprocess(sample: Array, block: dict[str, Any]) -> Array:
    """Apply the data set's ``preprocess`` block to one sample: the steps, and their order, that calibration saw.

    Resize, color, scale, mean, std, layout, dtype; a step that is null is left out; arithmetic is float32.
    """
    value = sample
    if block.get("resize") is not None:
        value = resize(value, tuple(block["resize"]), block.get("resample", "bilinear"))
    if block.get("color") is not None:
        value = recolor(value, block["color"])
    if block.get("scale") is not None:
        value = value.astype(np.float32) * np.float32(block["scale"])
    if block.get("mean") is not None:
        value = value.astype(np.float32) - per_channel(value, block["mean"])
    if block.get("std") is not None:
        value = value.astype(np.float32) / per_channel(value, block["std"])
    if block.get("layout") is not None:
        value = np.moveaxis(value, -1, 0) if block["layout"] == "hwc-to-chw" else np.moveaxis(value, 0, -1)
    if block.get("dtype") is not None and value.dtype != np.dtype(block["dtype"]):
        target = np.dtype(block["dtype"])
        if target.kind != "f":
            value = np.clip(np.rint(value.astype(np.float64)), np.iinfo(target).min, np.iinfo(target).max)
        value = value.astype(target)
    return value


def per_channel(value: Array, numbers: list[float]) -> Array:
    """Return numbers as they go with a sample: on its last axis, or, of an image channels first, on its first."""
    found: Array = np.asarray(numbers, np.float32)
    first = value.ndim == LUMA.size and len(found) > 1 and value.shape[-1] != len(found)
    return found[:, None, None] if first else found


def resize(image: Array, size: tuple[int, ...], resample: str) -> Array:
    """Return an image of (height, width) ``size``; one that has it already needs no Pillow."""
    if image.shape[:2] == size:
        return image
    from PIL import Image

    height, width = size
    planes = image.astype(np.float32).reshape(*image.shape[:2], -1)
    how = Image.Resampling[resample.upper()]
    channels = [np.ascontiguousarray(planes[..., index]) for index in range(planes.shape[-1])]
    resized = [np.asarray(Image.fromarray(channel).resize((width, height), how)) for channel in channels]
    return np.stack(resized, axis=-1).reshape(height, width, *image.shape[2:])


def recolor(image: Array, color: str) -> Array:
    """Return an image with one channel (``grayscale``, ITU-R BT.601) or three (``rgb``)."""
    value = image[..., np.newaxis] if image.ndim == LUMA.size - 1 else image
    channels = 1 if color == "grayscale" else LUMA.size
    if value.shape[-1] == channels:
        return value
    grey: Array = (value.astype(np.float32) @ LUMA)[..., np.newaxis] if channels == 1 else value
    return grey if channels == 1 else np.repeat(value, channels, axis=-1)


def quantize(real: Array, spec: dict[str, Any]) -> Array:
    """Return ``real`` as the input takes it, as TFLite does: float32, half away from zero, saturated."""
    if spec["scale"] is None or real.dtype == np.dtype(spec["dtype"]):
        return real.astype(spec["dtype"])
    units = real.astype(np.float32) / np.float32(spec["scale"])
    units = np.trunc(units + np.copysign(JUST_BELOW_HALF, units)) + np.float32(spec["zero_point"])
    limits = np.iinfo(spec["dtype"])
    stored: Array = np.clip(units, limits.min, limits.max).astype(spec["dtype"])
    return stored


def dequantize(raw: Array, spec: dict[str, Any]) -> Array:
    """Return ``raw`` as float32 where the output is quantized."""
    if spec["scale"] is None:
        return raw
    real: Array = (raw.astype(np.float32) - np.float32(spec["zero_point"])) * np.float32(spec["scale"])
    return real


def onnx_session(folder: Path) -> ModuleType:
    """Import the bundle's file that runs ONNX Runtime; only bundles for it have one."""
    module = ModuleType("onnx_session")
    SourceFileLoader(module.__name__, str(folder / "onnx_session.py")).exec_module(module)
    return module


def find_runtime(named: str) -> str:
    """Return the runtime that the bundle was measured in, or the other for TFLite where only that is here."""
    for name in [named, *TFLITE] if named in TFLITE else [named]:
        if importlib.util.find_spec(PACKAGES[name]) is not None:
            return name
    raise ImportError(f"no runtime found; run: {sys.executable} -m pip install -r {HERE / 'requirements.txt'}")


def agreeing(predictor: Predictor) -> tuple[int, int]:
    """Run the golden inputs from float to float; return how many samples agree, and of how many."""
    golden = predictor.manifest["golden"]
    with np.load(predictor.folder / golden["file"], allow_pickle=False) as arrays:
        inputs = {spec["name"]: arrays[f"input_{index}"] for index, spec in enumerate(predictor.inputs)}
        expected = [arrays[f"raw_output_{index}"] for index in range(len(predictor.outputs))]
    found = predictor.predict_batch(inputs, raw=True, preprocessed=True)
    agree = np.ones(golden["samples"], bool)
    for spec, allowed, want in zip(predictor.outputs, golden["tolerance"], expected):
        apart = np.abs(found[spec["name"]].astype(np.float64) - want.astype(np.float64))
        agree &= (apart <= allowed["maximum"]).reshape(len(want), -1).all(axis=1)
    return int(agree.sum()), golden["samples"]


def main(arguments: list[str] | None = None) -> int:
    """Run the golden inputs and return the exit status."""
    parser = argparse.ArgumentParser(description="Run the golden inputs and say whether the answers agree.")
    parser.add_argument("--threads", type=int, help="threads of one inference")
    try:
        agree, samples = agreeing(Predictor(threads=parser.parse_args(arguments).threads))
    except (ImportError, OSError, ValueError, RuntimeError, AttributeError) as error:
        sys.stderr.write(f"Error: {error}\n")
        return FAILED
    sys.stdout.write(f"golden vectors: {agree} of {samples} samples agree\n")
    return 0 if agree == samples else FAILED


if __name__ == "__main__":
    sys.exit(main())
