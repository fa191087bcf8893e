# SPDX-License-Identifier: Apache-2.0
"""How it becomes a file: a ``.tflite`` or an ``.onnx``, held against its source and what its precision promises."""
