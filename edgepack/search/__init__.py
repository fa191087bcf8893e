# SPDX-License-Identifier: Apache-2.0
"""Which candidates to try and which to keep."""
