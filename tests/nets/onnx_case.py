# SPDX-License-Identifier: Apache-2.0
"""ONNX graphs of one operator each, by name: how one is made."""

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
    for one, (step, *more) in enumerate(after or ()):
        second = [item for item in more[:1] if isinstance(item, np.ndarray)]
        constants += [numpy_helper.from_array(item, f"c{one}") for item in second]
        options = more[1] if len(more) > 1 else {}
        nodes.append(helper.make_node(step, [made[0], *(f"c{one}" for _ in second)], [f"z{one}"], **options))
        made = [f"z{one}", *made[1:]]
    results = [helper.make_empty_tensor_value_info(name) for name in made if name]
    graph = helper.make_graph(nodes, name, ends, results, constants)
    add(name, graph, opset)


def add(name, graph, opset=17):
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    assert name not in CASES, name
    CASES[name] = onnx.shape_inference.infer_shapes(model)
    for item in CASES[name].graph.output:
        item.type.tensor_type.elem_type = item.type.tensor_type.elem_type or onnx.TensorProto.FLOAT


I4, S3 = (3, 6, 8, "c"), (3, 9, "c")
