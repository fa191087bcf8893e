# SPDX-License-Identifier: Apache-2.0
"""Scratch memory that CMSIS-NN's kernels ask for on top of what the reference kernels allocate: an upper bound.

The formulas are those of the library's own ``arm_*_get_buffer_size`` functions (ARM-software/CMSIS-NN,
Source/ConvolutionFunctions/arm_convolve_get_buffer_sizes_s8.c, ..._s16.c, arm_depthwise_conv_get_buffer_sizes_s8.c,
..._s16.c, arm_transpose_conv_get_buffer_sizes_s8.c, Source/PoolingFunctions/arm_avgpool_get_buffer_sizes_s8.c,
Source/FullyConnectedFunctions/arm_fully_connected_get_buffer_sizes_s8.c). Where one depends on a stride, a padding or a
compiler, the larger branch is taken.
"""

from collections.abc import Iterable
from enum import Enum

from edgepack.model.tflite_file import TfliteGraph, TfliteOp

_INT16_BYTES = 2
_INT32_BYTES = 4
_MVE_LANES = 16
_MVE_IM2COL_BUFFERS = 4
_MVE_CHANNEL_BLOCK = 124  # CH_IN_BLOCK_MVE in arm_nnsupportfunctions.h
_ONE_BY_ONE = (1, 1)
_THREE_BY_THREE = (3, 3)
_TRANSPOSED_DATA = 2  # inputs: output shape, weights, data


class Core(Enum):
    """Which of the library's code paths a core takes."""

    SCALAR = "scalar"  # Cortex-M0, M0+, M3
    DSP = "dsp"  # Cortex-M4, M7, M33
    MVE = "mve"  # Cortex-M52, M55, M85

    @classmethod
    def of(cls, isa: Iterable[str]) -> "Core":
        """Return the code path for a profile's list of extensions."""
        words = {word.lower() for word in isa}
        if words & {"mve", "helium"}:
            return cls.MVE
        return cls.DSP if "dsp" in words else cls.SCALAR


def scratch_bytes(graph: TfliteGraph, op: TfliteOp, core: Core) -> int:
    """Return the scratch that ``op`` may ask for, in bytes; 0 for operators and types without such a kernel."""
    places = [index for index in op.inputs if index >= 0]
    source = graph.tensors[places[_TRANSPOSED_DATA if op.name == "TRANSPOSE_CONV" else 0]] if places else None
    if source is None or source.dtype not in {"int8", "int16"} or not source.shape:
        return 0
    channels, out_shape = source.shape[-1], graph.tensors[op.outputs[0]].shape
    kernel, wide = op.kernel or _ONE_BY_ONE, source.dtype == "int16"
    size_bytes = 0
    match op.name:
        case "CONV_2D":
            size_bytes = _convolution(channels, kernel, core, wide=wide)
        case "DEPTHWISE_CONV_2D":
            size_bytes = _depthwise(channels, out_shape[-1], kernel, core, wide=wide)
        case "TRANSPOSE_CONV":
            size_bytes = _transposed(channels, out_shape, kernel, core)
        case "AVERAGE_POOL_2D":
            size_bytes = channels * _INT32_BYTES if core is Core.DSP else 0
        case "FULLY_CONNECTED":
            # Sums of the weights' rows, which the library's later versions keep there.
            size_bytes = out_shape[-1] * _INT32_BYTES if core is Core.MVE and not wide else 0
    return size_bytes


def _convolution(channels: int, kernel: tuple[int, int], core: Core, *, wide: bool) -> int:
    columns = channels * kernel[0] * kernel[1]
    if wide:
        return 2 * columns * _INT16_BYTES if core is Core.DSP else 0
    if kernel == _ONE_BY_ONE:
        # Only armclang's build of the fast path asks for it.
        return 2 * channels * _INT16_BYTES if core is Core.DSP else 0
    if core is Core.MVE:
        return _MVE_IM2COL_BUFFERS * -(-columns // _MVE_LANES) * _MVE_LANES
    return 2 * (-(-columns // 4) * 4) * _INT16_BYTES


def _depthwise(channels: int, out_channels: int, kernel: tuple[int, int], core: Core, *, wide: bool) -> int:
    if core is Core.SCALAR:
        return 0
    columns = channels * kernel[0] * kernel[1]
    if wide:
        return 4 * columns * _INT16_BYTES + 8 if core is Core.MVE else columns * _INT16_BYTES
    if channels != out_channels:
        return 0
    if core is Core.MVE:
        return 4 * _MVE_CHANNEL_BLOCK * kernel[0] * kernel[1]
    return 0 if kernel == _THREE_BY_THREE else columns * _INT16_BYTES


def _transposed(channels: int, out_shape: tuple[int, ...], kernel: tuple[int, int], core: Core) -> int:
    """The larger of the two ways: reversed convolution, or accumulators for a band of output rows."""
    band = (out_shape[2] + kernel[1]) * out_shape[3] * kernel[0] * _INT32_BYTES
    return max(band, _convolution(channels, kernel, core, wide=False))
