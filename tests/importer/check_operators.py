# SPDX-License-Identifier: Apache-2.0
"""Import graphs of one operator each and hold them against onnxruntime, at batch 1 and 4. Runs in a worker.

Read by pytest too, for the names in ``CASES`` alone.
"""

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

RNG = np.random.default_rng(7)
CASES = {}


def w(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def ints(*numbers):
    return np.array(numbers, np.int64)


def case(name, kind, *inputs, opset=17, outputs=1, after=None, dtype="float32", **attributes):
    """Add a graph: a tuple is an input without its batch, an array a constant, None is left out.

    An input whose tuple ends in "c" goes through a convolution first, so that its channels lie last.
    """
    nodes, names, constants, ends = [], [], [], []
    for number, item in enumerate(inputs):
        if item is None:
            names.append("")
            continue
        names.append(f"i{number}")
        if isinstance(item, np.ndarray | np.generic):
            constants.append(numpy_helper.from_array(np.asarray(item), names[-1]))
            continue
        shape = [size for size in item if size != "c"]
        of = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        ends.append(helper.make_tensor_value_info(f"x{number}", of, ["N", *shape] if "N" not in shape else shape))
        if item[-1] == "c":
            kernel = np.eye(shape[0], dtype=np.float32).reshape(shape[0], shape[0], *(1,) * (len(shape) - 1))
            constants.append(numpy_helper.from_array(kernel, f"k{number}"))
            nodes.append(helper.make_node("Conv", [f"x{number}", f"k{number}"], [names[-1]], name=f"conv{number}"))
        else:
            names[-1] = f"x{number}"
    made = [
        f"y{number}" if number in (range(outputs) if isinstance(outputs, int) else outputs) else ""
        for number in range(outputs if isinstance(outputs, int) else max(outputs) + 1)
    ]
    nodes.append(helper.make_node(kind, names, made, name=f"/a/{kind}.1", **attributes))
    for one, more in enumerate(after or ()):
        nodes.append(
            helper.make_node(
                more[0], [made[0], *more[1:2]], [f"z{one}"], name=f"after{one}", **(more[2] if len(more) > 2 else {})
            )
        )
        made = [f"z{one}", *made[1:]]
    results = [helper.make_empty_tensor_value_info(name) for name in made if name]
    graph = helper.make_graph(nodes, name, ends, results, constants)
    for item in graph.output:
        item.type.tensor_type.elem_type = 0
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    assert name not in CASES, name
    CASES[name] = onnx.shape_inference.infer_shapes(model)


I4, S3 = (3, 6, 8, "c"), (3, 9, "c")
for kind in (
    "Relu",
    "Sigmoid",
    "Tanh",
    "Exp",
    "Neg",
    "Abs",
    "Erf",
    "Floor",
    "Ceil",
    "Softplus",
    "Softsign",
    "Sign",
    "LeakyRelu",
    "Elu",
    "Selu",
    "HardSigmoid",
    "Round",
    "Sin",
    "Cos",
    "ThresholdedRelu",
    "Celu",
    "Identity",
):
    case(kind, kind, I4)
case("HardSwish", "HardSwish", I4)
case("HardSigmoid-torch", "HardSigmoid", I4, alpha=1 / 6, beta=0.5)
case("HardSigmoid-alpha", "HardSigmoid", I4, alpha=0.3, beta=0.4)
case("LeakyRelu-alpha", "LeakyRelu", I4, alpha=0.3)
case("Mish", "Mish", I4, opset=18)
case("Gelu", "Gelu", I4, opset=20)
case("Gelu-tanh", "Gelu", I4, opset=20, approximate="tanh")
case("Clip-relu6", "Clip", I4, np.float32(0), np.float32(6))
case("Clip-both", "Clip", I4, np.float32(-0.5), np.float32(0.7))
case("Clip-low", "Clip", I4, np.float32(-0.5))
case("Clip-high", "Clip", I4, None, np.float32(0.5))
case("Clip-6", "Clip", I4, opset=9, min=-0.3, max=0.4)
case("PRelu", "PRelu", I4, w(3, 1, 1))
case("PRelu-one", "PRelu", I4, w(1))
case("PRelu-all", "PRelu", I4, w(3, 6, 8))
case("PRelu-2d", "PRelu", (7,), w(7))
for opset in (9, 11, 13):
    case(f"Softmax-{opset}", "Softmax", I4, opset=opset)
    case(f"LogSoftmax-{opset}", "LogSoftmax", I4, opset=opset)
    case(f"Softmax-axis1-{opset}", "Softmax", I4, opset=opset, axis=1)
    case(f"Softmax-axis2-{opset}", "Softmax", I4, opset=opset, axis=2)
    case(f"Softmax-squeezenet-{opset}", "Softmax", (5, 1, 1, "c"), opset=opset, axis=1)
    case(f"Softmax-last-{opset}", "Softmax", (4, 7), opset=opset, axis=-1)
for kind in ("Add", "Sub", "Mul", "Div"):
    case(kind, kind, I4, I4)
    case(f"{kind}-layouts", kind, I4, (3, 6, 8))
    case(f"{kind}-number", kind, I4, np.float32(1.7))
    case(f"{kind}-number-first", kind, np.array([1.7], np.float32), I4)
    case(f"{kind}-channels", kind, I4, w(3, 1, 1))
    case(f"{kind}-channels-first", kind, w(1, 3, 1, 1), I4)
    case(f"{kind}-row", kind, I4, w(8))
    case(f"{kind}-gate", kind, I4, (3, 1, 1, "c"), opset=14)
    case(f"{kind}-opset7", kind, I4, (1, 6, 8, "c"), opset=7)
case("Add-int", "Add", (4, 5), ints(1, 2, 3, 4, 5), dtype="int64")
case("Pow-2", "Pow", I4, np.float32(2))
case("Pow-3", "Pow", I4, np.float32(3))
for kind in ("Max", "Min", "Sum", "Mean"):
    case(kind, kind, I4, I4)
    case(f"{kind}-three", kind, I4, I4, (3, 6, 8), opset=8)
    case(f"{kind}-constant", kind, I4, w(3, 1, 1))
case("Where", "Where", np.array([[True, False, True, False, True]]), (4, 5), w(4, 1))
case("Conv", "Conv", (3, 9, 8), w(5, 3, 3, 3), w(5))
case("Conv-pads", "Conv", (3, 9, 8), w(5, 3, 3, 3), pads=[1, 1, 1, 1])
case("Conv-uneven", "Conv", (3, 9, 8), w(5, 3, 3, 2), w(5), pads=[2, 0, 1, 3], strides=[2, 1])
case("Conv-stride2", "Conv", (3, 8, 8), w(5, 3, 3, 3), pads=[1, 1, 1, 1], strides=[2, 2])
case("Conv-upper", "Conv", (3, 8, 7), w(5, 3, 4, 3), auto_pad="SAME_UPPER", strides=[2, 2])
case("Conv-lower", "Conv", (3, 8, 7), w(5, 3, 4, 3), auto_pad="SAME_LOWER", strides=[2, 2])
case("Conv-valid", "Conv", (3, 8, 7), w(5, 3, 4, 3), auto_pad="VALID")
case("Conv-dilated", "Conv", (3, 9, 9), w(5, 3, 3, 3), dilations=[2, 2], pads=[2, 2, 2, 2])
case("Conv-groups", "Conv", (4, 9, 8), w(6, 2, 3, 3), w(6), group=2)
case("Conv-depthwise", "Conv", (4, 9, 8), w(4, 1, 3, 3), w(4), group=4, pads=[1, 1, 1, 1])
case("Conv-depthwise-2", "Conv", (4, 9, 8), w(8, 1, 3, 3), group=4, strides=[2, 2])
case("Conv-depthwise-uneven", "Conv", (4, 9, 8), w(4, 1, 3, 3), group=4, strides=[2, 1])
case("Conv-1d", "Conv", (3, 12), w(5, 3, 4), w(5), pads=[3, 0], dilations=[1])
case("Conv-1d-depthwise", "Conv", (4, 12), w(4, 1, 3), w(4), group=4, pads=[1, 1])
case("Conv-3d", "Conv", (2, 5, 6, 4), w(3, 2, 3, 3, 3), pads=[1, 1, 1, 1, 1, 1])
case("Conv-opset9", "Conv", (3, 9, 8), w(5, 3, 3, 3), w(5), opset=9)
case("ConvTranspose", "ConvTranspose", (3, 5, 6), w(3, 4, 2, 2), w(4), strides=[2, 2])
case("ConvTranspose-pads", "ConvTranspose", (3, 5, 6), w(3, 4, 3, 3), w(4), strides=[2, 2], pads=[1, 1, 1, 1])
case(
    "ConvTranspose-padding",
    "ConvTranspose",
    (3, 5, 6),
    w(3, 4, 3, 3),
    w(4),
    strides=[2, 2],
    pads=[1, 1, 1, 1],
    output_padding=[1, 1],
)
case("ConvTranspose-4", "ConvTranspose", (3, 5, 6), w(3, 4, 4, 4), strides=[2, 2], pads=[1, 1, 1, 1])
case("ConvTranspose-beyond", "ConvTranspose", (3, 5, 6), w(3, 4, 2, 2), strides=[2, 2], output_padding=[1, 0])
case("ConvTranspose-shape", "ConvTranspose", (3, 5, 6), w(3, 4, 3, 3), strides=[2, 2], output_shape=[10, 12])
case("ConvTranspose-upper", "ConvTranspose", (3, 5, 6), w(3, 4, 3, 3), strides=[2, 2], auto_pad="SAME_UPPER")
case("ConvTranspose-1d", "ConvTranspose", (3, 7), w(3, 4, 4), w(4), strides=[2], pads=[1, 1])


def held(model, name):
    """Return how the import of ``model`` differs from onnxruntime, as a share of the output's range."""
    import onnxruntime as ort

    from edgepack.importer.importer import import_onnx
    from edgepack.importer.prepare import prepare

    imported = import_onnx(prepare(model, shapes={}, where=name), where=name)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    rng, worst, most = np.random.default_rng(3), 0.0, 0.0
    for batch in (1, 4):
        feeds = {}
        for end in session.get_inputs():
            shape = [batch if isinstance(size, str) else size for size in end.shape]
            if "int" in end.type:
                feeds[end.name] = rng.integers(-5, 5, shape).astype(end.type[7:-1])
            else:
                feeds[end.name] = rng.normal(size=shape).astype(np.float32)
        tensors = [feeds[edge.name].transpose(edge.axes) for edge in imported.inputs]
        found = imported.net(tensors, training=False)
        found = found if isinstance(found, list) else [found]
        for tensor, edge, wanted in zip(found, imported.outputs, session.run(None, feeds), strict=True):
            ours = np.transpose(tensor, np.argsort(edge.axes)).astype(np.float64)
            theirs = np.asarray(wanted, np.float64)
            assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
            assert np.isfinite(theirs).all()
            span = max(float(np.ptp(theirs)), 1e-3)
            worst = max(worst, float(np.abs(ours - theirs).max()) / span)
            most = max(most, float(np.ptp(theirs)))
    assert most > 0 or "constant" in name, "the output does not depend on the input"
    return worst


def names_differ(imported):
    names = [layer.name for layer in imported.net.operations]
    return len(names) != len(set(names))


if "REPORT" in globals():
    import traceback

    report = {}
    for name, model in CASES.items():
        try:
            report[name] = held(model, name)
        except Exception as error:  # noqa: BLE001 - one case must not hide the others
            report[name] = f"{type(error).__name__}: {error}\n{traceback.format_exc()[-1500:]}"
    Path(REPORT).write_text(json.dumps(report))  # noqa: F821 - given by who runs this
