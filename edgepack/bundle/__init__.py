# SPDX-License-Identifier: Apache-2.0
"""What goes out: the bundle, its manifest, firmware sources and device-side scripts."""
