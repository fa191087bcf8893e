# SPDX-License-Identifier: Apache-2.0
"""edgepack: give it a trained model and a device, get the bundle that provably fits."""

import os

# What onnxruntime 1.29 and newer tells its makers of a model (its name, hashes of its graph and weights) stays here. It
# is asked for in the environment, before onnxruntime is loaded in whichever process that will be.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"
