# SPDX-License-Identifier: Apache-2.0
"""From a SavedModel to TFLite with TensorFlow's own converter."""

from typing import TYPE_CHECKING

from edgepack.errors import CandidateError
from edgepack.extras import not_importable
from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.lower._calibration import CalibrationSet
from edgepack.model.model import Model
from edgepack.model.precision import Precision

if TYPE_CHECKING:
    import tensorflow as tf

_SIGNATURE = "serving_default"
_MESSAGE_CHARACTERS = 400


def convert(model: Model, plan: PrecisionPlan, samples: CalibrationSet | None) -> bytes:
    """Return the bytes of ``model``, a SavedModel with the signature ``serving_default``, at ``plan``'s precision.

    Post-training quantization as in https://ai.google.dev/edge/litert/models/post_training_quantization; a graph that
    is fake-quantized carries its ranges, and is written as it rounds.

    Raises:
        CandidateError: The converter refuses, in its own words (EP-605).
        HostError: TensorFlow is not installed (EP-504).
    """
    try:
        import tensorflow as tf
        from tensorflow.lite.python.convert_phase import ConverterError
    except ImportError as error:
        raise not_importable("lowering", "TensorFlow", error) from error
    try:
        converter = tf.lite.TFLiteConverter.from_saved_model(str(model.path), signature_keys=[_SIGNATURE])
        if model.fake_quantized:
            _configure_fake_quantized(converter, plan)
        else:
            _configure(converter, plan, samples)
        content = converter.convert()
    except (ConverterError, ValueError, RuntimeError, TypeError, tf.errors.OpError) as error:
        raise CandidateError(
            "EP-605",
            f"the TFLite converter refuses {model.source} at {plan.default.value}: {_telling(str(error))}",
            hint="try another precision, or replace the layer in the model",
        ) from error
    return bytes(content)


def _configure(converter: "tf.lite.TFLiteConverter", plan: PrecisionPlan, samples: CalibrationSet | None) -> None:
    import tensorflow as tf

    precision = plan.default
    if precision is Precision.F32:
        # Which weights are sparse enough to gain by it, the converter finds out by itself.
        converter.optimizations = [tf.lite.Optimize.EXPERIMENTAL_SPARSITY] if plan.sparse else []
        return
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision is Precision.W16:
        converter.target_spec.supported_types = [tf.float16]
    if samples is None:
        return
    converter.representative_dataset = lambda: iter(samples)
    # Only integer kernels: what has none is an error here, not a float operator that nobody asked for.
    converter.target_spec.supported_ops = [
        tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        if precision is Precision.W8A16
        else tf.lite.OpsSet.TFLITE_BUILTINS_INT8
    ]
    # The converter has no public switch for this; that it took effect is checked on the file.
    converter._experimental_disable_per_channel = precision is Precision.W8A8_PER_TENSOR  # noqa: SLF001
    if plan.io == "int8" and precision.integer_io is not None:
        converter.inference_input_type = converter.inference_output_type = getattr(tf, precision.integer_io)


def _configure_fake_quantized(converter: "tf.lite.TFLiteConverter", plan: PrecisionPlan) -> None:
    import tensorflow as tf

    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if plan.io == "int8":
        converter.inference_input_type = converter.inference_output_type = tf.int8
    # Without it 4-bit weights are stored in 8; there is no public switch.
    converter._experimental_low_bit_qat = Precision.W4A8 in {plan.default, *plan.layers.values()}  # noqa: SLF001


def _telling(message: str) -> str:
    """Return the line of a converter's message that names the cause, cut to a readable length."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    causes = [line for line in lines if "error:" in line or "not supported" in line]
    chosen = (causes or lines or ["it gave no reason"])[0]
    return chosen if len(chosen) <= _MESSAGE_CHARACTERS else chosen[:_MESSAGE_CHARACTERS] + "..."
