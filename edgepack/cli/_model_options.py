# SPDX-License-Identifier: Apache-2.0
"""Options that several commands share: which files, what an open input becomes, how samples for an ONNX model are."""

import click

format_option = click.option(
    "--format",
    "formats",
    type=click.Choice(["tflite", "onnx"]),
    multiple=True,
    help="Of the bundle's model: any that the device's runtimes take where it is left out; may be repeated.",
)

shape_option = click.option(
    "--shape", "shapes", multiple=True, metavar="NAME=1x128", help="Fix an input that the model leaves open."
)

layout_option = click.option(
    "--layout",
    type=click.Choice(["source", "nhwc"]),
    default="source",
    show_default=True,
    help="How image samples for an ONNX model lie: as its inputs, or channels last.",
)
