# SPDX-License-Identifier: Apache-2.0
"""The original's float predictions: what every candidate is compared with. Runs in the worker process."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path

import numpy as np

from edgepack.arrays import Array
from edgepack.errors import ModelError
from edgepack.model.affine import dequantize, quantize
from edgepack.model.model import Model
from edgepack.work import disk_errors, whole_file

Step = Callable[[Sequence[Array]], Sequence[Array]]


def predict(model: Model, inputs: Mapping[str, Path], *, outputs_folder: Path, batch: int = 64) -> tuple[Path, ...]:
    """Run the original over samples and write its outputs.

    Args:
        model: What ``load_model`` returned.
        inputs: For each of the model's inputs a ``.npy`` file of shape (n, *sample shape), read in pieces.
        outputs_folder: Gets ``0.npy``, ``1.npy``...: one file an output, in the model's order, of shape
            (n, *output shape), float32 where the output is a float or is quantized.
        batch: Samples a step, where the model takes more than one.

    Returns:
        The files, in the order of ``model.outputs``.

    Raises:
        ModelError: An input is missing, or has another shape or number of samples than the model or the rest
            (EP-121); onnxruntime cannot run an ``.onnx`` on one of them (EP-155).
        HostError: The disk is full (EP-501).
    """
    arrays = [_mapped(model, index, inputs) for index in range(len(model.inputs))]
    count = len(arrays[0])
    if any(len(array) != count for array in arrays):
        counts = {spec.name: len(array) for spec, array in zip(model.inputs, arrays, strict=True)}
        raise ModelError("EP-121", f"the inputs have different numbers of samples: {counts}", hint="give pairs")
    paths = tuple(outputs_folder / f"{index}.npy" for index in range(len(model.outputs)))
    with disk_errors(outputs_folder), ExitStack() as stack:
        outputs_folder.mkdir(parents=True, exist_ok=True)
        # Another search may be reading those of before.
        scratch = [stack.enter_context(whole_file(path, lasts=False)) for path in paths]
        step, step_samples = _stepper(model, batch)
        files: list[np.memmap[tuple[int, ...], np.dtype[np.generic]]] = []
        for start, found in _outputs(arrays, step, step_samples):
            if not files:
                files = [_created(path, part, count) for path, part in zip(scratch, found, strict=True)]
            for file, part in zip(files, found, strict=True):
                file[start : start + len(part)] = part
        for file in files:
            file.flush()
    return paths


def _mapped(model: Model, index: int, inputs: Mapping[str, Path]) -> Array:
    """Open one input's file and check it against the model."""
    spec = model.inputs[index]
    if spec.name not in inputs:
        raise ModelError(
            "EP-121",
            f"no samples for input {spec.name!r}; there are some for {', '.join(sorted(inputs)) or 'none'}",
            hint=f"name the array {spec.name!r}",
        )
    array: Array = np.load(inputs[spec.name], mmap_mode="r", allow_pickle=False)
    if array.ndim == 0 or array.shape[1:] != spec.shape[1:] or len(array) == 0:
        raise ModelError(
            "EP-121",
            f"samples for input {spec.name!r} have shape {list(array.shape)}, expected [n, "
            f"{', '.join(map(str, spec.shape[1:]))}]",
            hint="edgepack data check SOURCE --model MODEL shows both",
        )
    return array


def _created(path: Path, part: Array, count: int) -> "np.memmap[tuple[int, ...], np.dtype[np.generic]]":
    return np.lib.format.open_memmap(path, mode="w+", dtype=part.dtype, shape=(count, *part.shape[1:]))


def _outputs(arrays: Sequence[Array], step: Step, step_samples: int) -> Iterator[tuple[int, Sequence[Array]]]:
    count = len(arrays[0])
    for start in range(0, count, step_samples):
        yield start, step([np.asarray(array[start : start + step_samples]) for array in arrays])


def _stepper(model: Model, batch: int) -> tuple[Step, int]:
    """Return a function from one array an input to one array an output, and how many samples it takes."""
    if model.kind == "tflite":
        return _tflite_step(model), 1
    if model.kind == "onnx":
        return _onnx_step(model), 1
    return _savedmodel_step(model, batch)


@lru_cache(maxsize=1)
def _loaded(path: Path) -> object:
    import tensorflow as tf

    return tf.saved_model.load(str(path))


def _savedmodel_step(model: Model, batch: int) -> tuple[Step, int]:
    import tensorflow as tf

    from edgepack.model._export import BATCHED, SERVING, argument_of

    signatures = _loaded(model.path).signatures  # type: ignore[attr-defined]
    batched = BATCHED in signatures
    function = signatures[BATCHED if batched else SERVING]
    named = {key: spec.name for key, spec in function.structured_input_signature[1].items()}
    arguments = {spec.name: argument_of(spec.name, named) for spec in model.inputs}
    dtypes = [tf.as_dtype(spec.dtype) for spec in model.inputs]

    def step(parts: Sequence[Array]) -> Sequence[Array]:
        fed = {
            arguments[spec.name]: tf.constant(part.astype(dtype.as_numpy_dtype, copy=False))
            for spec, part, dtype in zip(model.inputs, parts, dtypes, strict=True)
        }
        found = function(**fed)
        return [found[spec.name].numpy() for spec in model.outputs]

    return step, batch if batched else 1


def _tflite_step(model: Model) -> Step:
    """Run a ``.tflite`` one sample at a time; integer inputs are quantized, integer outputs come back as floats."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(model.path), num_threads=1)
    interpreter.allocate_tensors()
    ins, outs = interpreter.get_input_details(), interpreter.get_output_details()

    def step(parts: Sequence[Array]) -> Sequence[Array]:
        for detail, part in zip(ins, parts, strict=True):
            scale, zero_point = detail["quantization"]
            raw = quantize(part, np.dtype(detail["dtype"]), scale=scale, zero_point=zero_point)
            interpreter.set_tensor(detail["index"], raw)
        interpreter.invoke()
        found = [(interpreter.get_tensor(detail["index"]), *detail["quantization"]) for detail in outs]
        return [dequantize(raw, scale=scale, zero_point=zero_point) for raw, scale, zero_point in found]

    return step


def _onnx_step(model: Model) -> Step:
    """Run an ``.onnx`` one sample at a time; its edges lie as the user's training code has them."""
    from edgepack.importer.runnable import runner

    run = runner(model.path, where=str(model.source))
    ins, outs = (
        [spec.axes or tuple(range(len(spec.shape))) for spec in side] for side in (model.inputs, model.outputs)
    )

    def step(parts: Sequence[Array]) -> Sequence[Array]:
        typed = [part.astype(spec.dtype, copy=False) for part, spec in zip(parts, model.inputs, strict=True)]
        given = run([np.transpose(part, np.argsort(order)) for part, order in zip(typed, ins, strict=True)])
        return [np.transpose(part, order) for part, order in zip(given, outs, strict=True)]

    return step
