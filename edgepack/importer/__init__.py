# SPDX-License-Identifier: Apache-2.0
"""From an ONNX graph to a Keras 3 functional graph that computes the same, and the proof that it does."""
