# SPDX-License-Identifier: Apache-2.0
"""The bundle's ``README.md`` and ``requirements.txt``: the commands for this very device."""

import numpy as np

from edgepack.bundle._words import MARKDOWN_NOTICE, cut_off_words, limits_table, table, table_row
from edgepack.bundle.contents import BundleContents
from edgepack.bundle.describe import figures_part, host_names, limit_parts
from edgepack.bundle.golden import dequantize, quantize
from edgepack.bundle.manifest import MODELS, ORT_CONFIG, ORT_MODEL
from edgepack.device.wheels import RUNTIMES
from edgepack.errors import OutputError
from edgepack.lower.artifact import IoTensor

_NUMPY_1 = "1.26.4"
_WORKED_REAL = 0.5
_SCRATCH = {
    "cmsis-nn": "The upper bound adds the largest scratch buffer that a CMSIS-NN kernel may ask for. ",
    "esp-nn": "The upper bound adds the largest scratch buffer that an ESP-NN kernel may ask for. ",
}


def make_readme(contents: BundleContents) -> str:
    """Return the README in Markdown; it holds nothing that changes from run to run."""
    verdict = "fits" if contents.fits else "does not fit: see the limits below"
    mcu = contents.profile.device_class == "mcu"
    measured, figures = contents.measurement, contents.measurement.figures()
    parts = [
        MARKDOWN_NOTICE,
        f"# {contents.source.name} for {contents.profile.title}",
        f"Precision {contents.artifact.precision.value}, {contents.artifact.size_bytes:,} bytes. It {verdict}.",
        cut_off_words(contents.ended),
        "## On the device",
        _mcu_steps() if mcu else _linux_steps(contents),
        "## Inputs and outputs",
        _edges(contents),
        _worked(contents),
        "## Limits",
        limits_table(limit_parts(contents.verdict, measured), figures_part(figures), host_names(figures)),
        "## What was measured, and what was not",
        _honesty(contents),
        _minimal(contents) if contents.minimal is not None else "",
        "## Files",
        _files(contents, mcu=mcu),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def make_requirements(contents: BundleContents) -> str:
    """Return ``requirements.txt``: exact pins of the runtime for the device, or for the host on a microcontroller.

    Raises:
        OutputError: The runtime has no package (EP-414).
    """
    runtime, arch = contents.runtime, contents.profile.cpu.arch
    head = "# SPDX-License-Identifier: 0BSD. Written by edgepack; yours without conditions.\n"
    if runtime.name == "litert":
        glibc = RUNTIMES[runtime.name].glibc
        return head + f"# Linux on {arch}, 64-bit, glibc {glibc} or newer.\nai-edge-litert=={runtime.version}\nnumpy\n"
    if runtime.name == "tflite-runtime":
        return (
            head
            + f"# Linux on {arch}, Python 3.9 to 3.11; built against numpy 1, crashes in numpy 2.\n"
            + f"tflite-runtime=={runtime.version}\nnumpy=={_NUMPY_1}\n"
        )
    if runtime.name == "tflm":
        pinned = contents.versions.get("tflite-micro")
        return (
            head
            + "# For this model on a Linux x86-64 host: TFLM's reference kernels. The board needs none of this.\n"
            + (f"tflite-micro=={pinned}\nnumpy\n" if pinned else "tflite-micro\nnumpy\n")
        )
    if runtime.provider is not None:
        origin = runtime.origin.value if runtime.origin else "a package of onnxruntime with that provider"
        return (
            head
            + f"# onnxruntime {runtime.version} with {runtime.provider} is not on the package index. Install:\n"
            + f"#   {origin}\n"
            + "# That a package of this version suits your system is not verified. Python 3.9 or newer.\nnumpy\n"
        )
    if runtime.name == "onnxruntime":
        numpy = contents.versions.get("numpy")
        return (
            head
            + f"# Linux on {arch}, 64-bit, glibc {RUNTIMES[runtime.name].glibc} or newer, Python 3.11 or newer.\n"
            + f"onnxruntime=={runtime.version}\n{f'numpy=={numpy}' if numpy else 'numpy'}\n"
        )
    raise OutputError(
        "EP-414",
        f"no package is known for runtime {runtime.name!r} of {contents.profile.name}",
        hint="name litert, tflite-runtime, onnxruntime or tflm in the profile's runtimes",
    )


def _linux_steps(contents: BundleContents) -> str:
    python = "python3.11" if contents.runtime.name == "tflite-runtime" else "python3"
    copy = (
        "" if contents.profile.cpu.arch == "x86-64" else "    scp -r THIS_FOLDER USER@BOARD:model && ssh USER@BOARD\n"
    )
    gpu = contents.runtime.provider is not None
    profile = "    python benchmark.py --profile               # and where the time goes, operator by operator\n"
    return f"""{copy}    cd {"model" if copy else "THIS_FOLDER"} && {python} -m venv .venv && . .venv/bin/activate
    pip install -r requirements.txt{"             # and the runtime for the GPU that it tells of" if gpu else ""}
    python infer.py                             # the golden inputs, from float to float
    python benchmark.py --json ../result.json   # refuses to time a model whose answers differ
{profile if contents.runtime.name == "onnxruntime" else ""}
`benchmark.py` needs nothing but Python, numpy and the runtime. `infer.py` is the start of an application:
`Predictor().predict({{"{contents.artifact.inputs[0].name}": array}})` preprocesses, quantizes, runs and dequantizes."""


def _mcu_steps() -> str:
    return """The sources are in `firmware/`; its README says how to build them. Flash `main.cc` first: it runs the
test vectors on the board and prints the arena that the board really takes.

On a Linux x86-64 host the same model runs in TFLM's reference kernels; the times are then not the board's:

    pip install -r requirements.txt
    python infer.py        # the golden inputs, from float to float
    python benchmark.py"""


def _edges(contents: BundleContents) -> str:
    rows = [
        table_row((edge.side, f"`{tensor.name}`", tensor.dtype, str(list(tensor.shape)), f"`{tensor.formula}`"))
        for edge in contents.edges
        for tensor in (edge.tensor,)
    ]
    told = table(("", "name", "type", "shape", "quantization"), rows)
    if contents.source.layout == "nhwc":
        return told + _channels_last(contents)
    turned = [f"- `{edge.tensor.name}` is {edge.words}" for edge in contents.edges if edge.words]
    if turned:
        told += (
            "\n\nThe file's axes lie otherwise than the training code's. `infer.py` takes and gives what the training "
            "code does; C code and the golden vectors have the file's order:\n\n" + "\n".join(turned)
        )
    return told


def _channels_last(contents: BundleContents) -> str:
    """Return which layout samples have and which the device gets, where the first was said with ``--layout nhwc``."""
    rows = [
        f"- `{edge.tensor.name}`: "
        + (f"your samples are {edge.sample_shape}" if edge.side == "input" else f"`infer.py` gives {edge.sample_shape}")
        + f", the device's file has {list(edge.tensor.shape)}"
        + (f": axis i of it is axis {list(edge.axes)}[i] of a batch of them" if edge.axes else ", in the same order")
        for edge in contents.edges
    ]
    return (
        "\n\nBuilt with `--layout nhwc`: images are fed with their channels last (height, width, channels), to "
        "edgepack and to `infer.py`, whatever the ONNX file had. C code and the golden vectors have the order of the "
        "device's file:\n\n" + "\n".join(rows)
    )


def _worked(contents: BundleContents) -> str:
    """Return the quantization formula with a number put through it."""
    artifact = contents.artifact
    lines = [f"- {_example(tensor)}" for tensor in (*artifact.inputs, *artifact.outputs) if tensor.scale is not None]
    if not lines:
        return "Inputs and outputs are floats; nothing is to be quantized."
    return "Worked numbers, rounding half away from zero:\n\n" + "\n".join(dict.fromkeys(lines))


def _example(tensor: IoTensor) -> str:
    raw = quantize(np.asarray([_WORKED_REAL], np.float32), tensor)
    back = float(dequantize(raw, tensor)[0])
    scale, zero_point = tensor.scale, tensor.zero_point
    return (
        f"`{tensor.name}`: {_WORKED_REAL} -> round({_WORKED_REAL} / {scale:.8g}) + ({zero_point}) = {int(raw[0])}"
        f" -> ({int(raw[0])} - ({zero_point})) * {scale:.8g} = {back:.6g}"
    )


def _honesty(contents: BundleContents) -> str:
    runtime, measured = contents.runtime, contents.measurement
    where = f"{runtime.name} {runtime.version}"
    lines = [f"- Answers: the golden vectors were computed in {where} on the building machine."]
    if measured.metric is None:
        lines.append("- Accuracy: not measured.")
    else:
        lines.append(f"- Accuracy ({contents.metric}): measured in {where}, not on the board.")
    lines.append(
        "- Latency on the device: not measured on a board. Where a figure is given it is predicted, with its interval;"
        " `benchmark.py` on the board gives the true one."
        if measured.latency is None or measured.latency.evidence.value != "device"
        else "- Latency: timed on the device."
    )
    if contents.profile.device_class == "mcu":
        lines.append(
            "- RAM: the tensor arena, as TFLM's reference kernels allocate it on a 64-bit host. "
            + _SCRATCH.get(runtime.kernels, "")
            + "Stack, heap and your own buffers come on top."
        )
    else:
        lines.append("- RAM: resident growth of a fresh process on the building machine; see `measurements.json`.")
    if runtime.provider is not None:
        lines.append(
            f"- The GPU: {runtime.provider} was not run. Answers, accuracy and RAM above are those of onnxruntime on a"
            " processor; what CUDA and TensorRT take themselves, hundreds of MiB, comes on top. `benchmark.py` says"
            " which provider really ran, and warns where it was another."
        )
    if runtime.name == "onnxruntime":
        lines.append(
            "- Network: packages of onnxruntime 1.29 and newer report to Microsoft what they run (name and hashes of"
            " the model among it) unless `ORT_DISABLE_TELEMETRY=1` is in the environment when they are loaded. The"
            " scripts here see to that; an application of your own has to."
        )
    lines += [f"- The model file: {note}." for note in contents.artifact.notes]
    if measured.energy is None:
        lines.append("- Energy: not measured.")
    return "\n".join(lines)


def _minimal(contents: BundleContents) -> str:
    return f"""## A minimal build of the runtime

`{ORT_MODEL}` is the same model in ONNX Runtime's own format, optimized for {contents.profile.cpu.arch}; it answered
the golden inputs here like `model.onnx`. A runtime that holds only the operators in `{ORT_CONFIG}` runs
it; in the sources of ONNX Runtime {contents.runtime.version}, with the options of its guide to reduced builds, not
tried here:

    ./build.sh --config MinSizeRel --minimal_build --disable_ml_ops --skip_tests --build_shared_lib \\
      --include_ops_by_config {ORT_CONFIG} --enable_reduced_operator_type_support"""


def _files(contents: BundleContents, *, mcu: bool) -> str:
    onnx = contents.artifact.format == "onnx"
    rows = [
        (f"`{MODELS[contents.artifact.format]}`", "the model"),
        ("`manifest.json`", "what this bundle is; its canonical SHA-256 is the bundle's digest"),
        ("`report.md`, `report.html`", "the candidates, why this one, each figure with its evidence"),
        ("`report.json`, `answers.npz`", "what the report is drawn from; the answers on the test samples"),
        (f"`benchmark.py`, `infer.py`{', `onnx_session.py`' if onnx else ''}", "run the model, after checking it"),
        ("`golden.npz`", "inputs with the answers that the device's runtime gave"),
        ("`requirements.txt`", "the runtime, pinned"),
        ("`measurements.json`", "times and memory of the building machine, outside the digest"),
    ]
    if contents.minimal is not None:
        rows.append((f"`{ORT_MODEL}`, `{ORT_CONFIG}`", "for a minimal build of ONNX Runtime"))
    if mcu:
        rows.append(("`firmware/`", "C and C++ sources"))
    return (
        table(("file", "what"), [table_row(row) for row in rows]) + "\n\n`edgepack verify THIS_FOLDER` checks it all."
    )
