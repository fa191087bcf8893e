# SPDX-License-Identifier: Apache-2.0
"""Scratch memory that ESP-NN's kernels for the ESP32-S3 ask for on top of the reference kernels: an upper bound.

After the library's own ``esp_nn_get_conv_scratch_size_esp32s3`` and ``esp_nn_get_depthwise_conv_scratch_size_esp32s3``
(espressif/esp-nn, src/convolution). They differ between versions; the largest form is taken: filter and padded input
as 16-bit copies, rows of eight channels to transpose, one sum per filter, alignment.
"""

from edgepack.model.tflite_file import TfliteGraph, TfliteOp

_WIDE_BYTES = 2
_SUM_BYTES = 4
_TRANSPOSED_CHANNELS = 8
_ALIGNMENT_BYTES = 64
_KERNELS = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D"})


def scratch_bytes(graph: TfliteGraph, op: TfliteOp) -> int:
    """Return the scratch that ``op`` may ask for, in bytes; 0 for operators and types without such a kernel."""
    if op.name not in _KERNELS or op.kernel is None:
        return 0
    source, weights = graph.tensors[op.inputs[0]], graph.tensors[op.inputs[1]]
    if source.dtype != "int8":
        return 0
    _, height, width, channels = source.shape
    padded = (height + op.kernel[0]) * (width + op.kernel[1]) * channels
    elements = padded + weights.n_bytes + _TRANSPOSED_CHANNELS * channels
    filters = graph.tensors[op.outputs[0]].shape[-1]
    return _WIDE_BYTES * elements + _SUM_BYTES * filters + _ALIGNMENT_BYTES
