# SPDX-License-Identifier: Apache-2.0
"""Strict YAML for files that people write: plain data, a line for everything, nothing clever.

Anchors, aliases, tags and merge keys are refused (an alias bomb is 200 bytes), and so are duplicate keys. Plain
scalars follow YAML 1.2's core schema: ``on`` is text, ``1e3`` is a number, ``1:30`` is not ninety, dates are text.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from edgepack.errors import ProfileError

Plain: TypeAlias = "str | int | float | bool | list[Plain] | dict[str, Plain] | None"
Where: TypeAlias = tuple[str | int, ...]

_MAX_FILE_BYTES = 64 * 1024
_MAX_DEPTH = 12
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_FLOAT = re.compile(r"[+-]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+)([eE][+-]?[0-9]{1,3})?")
_WORDS: Mapping[str, bool | None] = {"true": True, "false": False, "null": None, "~": None, "": None}


@dataclass(frozen=True, slots=True)
class Document:
    """What a file says, and the line of each part.

    Attributes:
        label: The file as a person names it.
        content: The top-level mapping.
        lines: Line number (from 1) of each path of keys and indices.
    """

    label: str
    content: dict[str, Plain]
    lines: Mapping[Where, int]

    def line(self, path: Where) -> int:
        """Return the line of ``path``, or of its nearest parent that is in the file."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def place(self, path: Where) -> str:
        """Return ``rpi4.yaml:7 memory.ram`` for messages."""
        return f"{self.label}:{self.line(path)} {dotted(path)}".rstrip()


def dotted(path: Where) -> str:
    """Return ``runtimes[0].version`` for ``("runtimes", 0, "version")``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


class _StrictLoader(yaml.SafeLoader):
    """Composes nodes, but neither anchors nor aliases, tags or endless nesting."""

    def __init__(self, stream: str, label: str) -> None:
        super().__init__(stream)
        self._label = label
        self._depth = 0

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise _clever(self._label, line, "anchors and aliases")
        if getattr(event, "tag", None) is not None:
            raise _clever(self._label, line, f"tags such as {event.tag}")
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise _clever(self._label, line, f"more than {_MAX_DEPTH} levels of nesting")
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node if isinstance(node, Node) else None


def _clever(label: str, line: int, what: str) -> ProfileError:
    return ProfileError(
        "EP-303", f"{label}:{line}: {what} are not allowed in a device profile", hint="write the values out"
    )


def read_document(path: Path) -> Document:
    """Read a YAML file.

    Raises:
        ProfileError: EP-301 unreadable, EP-302 not YAML, not UTF-8, too large or not a mapping, EP-303 anchors, tags
            or deep nesting, EP-304 a key twice.
    """
    label = str(path)
    try:
        with path.open("rb") as stream:
            raw = stream.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ProfileError(
            "EP-301", f"cannot read the device profile {label}: {reason}", hint="edgepack devices list shows the names"
        ) from error
    return parse_document(raw, label)


def parse_document(raw: bytes, label: str) -> Document:
    """Parse the bytes of a YAML file; ``label`` names it in messages. Raises as ``read_document``."""
    if len(raw) > _MAX_FILE_BYTES:
        raise _not_yaml(f"{label}:1", f"larger than {_MAX_FILE_BYTES // 1024} KiB: that is no device profile")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise _not_yaml(f"{label}:{line}", f"byte 0x{raw[error.start]:02x} is not UTF-8") from None
    node = _compose(text, label)
    if not isinstance(node, MappingNode):
        raise _not_yaml(f"{label}:1", "a device profile is a mapping of keys to values, and this is not")
    lines: dict[Where, int] = {(): 1}
    content = _plain(node, (), lines, label)
    if not isinstance(content, dict):
        raise _not_yaml(f"{label}:1", "a device profile is a mapping of keys to values, and this is not")
    return Document(label, content, lines)


def _not_yaml(where: str, what: str) -> ProfileError:
    return ProfileError("EP-302", f"{where}: {what}", hint="edgepack devices new NAME --from rpi4 writes a valid one")


def _compose(text: str, label: str) -> Node | None:
    try:
        loader = _StrictLoader(text, label)
        try:
            node = loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise _not_yaml(f"{label}:{line}", f"not valid YAML: {error.problem or error.context}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise _not_yaml(f"{label}:{line}", f"not valid YAML: {error.reason}") from None
    return node if isinstance(node, Node) else None


def _plain(node: Node, path: Where, lines: dict[Where, int], label: str) -> Plain:
    """Return a node's value, noting the line of every part below ``path``."""
    if isinstance(node, ScalarNode):
        return _scalar(node)
    if isinstance(node, SequenceNode):
        values: list[Plain] = []
        for index, item in enumerate(node.value):
            lines[*path, index] = item.start_mark.line + 1
            values.append(_plain(item, (*path, index), lines, label))
        return values
    found: dict[str, Plain] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        key = key_node.value if isinstance(key_node, ScalarNode) else None
        if key is None:
            raise _not_yaml(f"{label}:{line}", "a key must be a word")
        if key in found:
            first = lines[*path, key]
            raise ProfileError(
                "EP-304",
                f"{label}:{line} {dotted((*path, key))}: this key stands on line {first} already",
                hint="keep one of the two",
            )
        lines[*path, key] = line
        found[key] = _plain(value_node, (*path, key), lines, label)
    return found


def _scalar(node: ScalarNode) -> Plain:
    text: str = node.value
    if node.style is not None:  # quoted or a block: text, whatever it looks like
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text
