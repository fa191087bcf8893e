# SPDX-License-Identifier: Apache-2.0
"""The one training loop: samples, signal, loss, score, checkpoints."""
