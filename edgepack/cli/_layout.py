# SPDX-License-Identifier: Apache-2.0
"""The option that says how samples for an ONNX model are given."""

import click

layout_option = click.option(
    "--layout",
    type=click.Choice(["source", "nhwc"]),
    default="source",
    show_default=True,
    help="How image samples for an ONNX model lie: as its inputs, or channels last.",
)
