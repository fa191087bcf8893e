# SPDX-License-Identifier: Apache-2.0
"""edgepack: give it a trained model and a device, get the bundle that provably fits."""

__version__ = "0.1.0"
