# SPDX-License-Identifier: Apache-2.0
"""Who does the heavy work: warm processes here, or the workers of a cluster; no stage of its own."""
