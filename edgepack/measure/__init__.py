# SPDX-License-Identifier: Apache-2.0
"""What was measured: accuracy, memory, latency, and the verdict over them."""
