# SPDX-License-Identifier: Apache-2.0
"""What comes in: the model, its loaders and a summary that needs no framework."""
