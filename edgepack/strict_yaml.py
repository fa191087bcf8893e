# SPDX-License-Identifier: Apache-2.0
"""Strict YAML for files that people write: plain data, a line for everything, nothing clever.

Anchors, aliases, tags and merge keys are refused (an alias bomb is 200 bytes), and so are duplicate keys. Plain
scalars follow YAML 1.2's core schema: ``on`` is text, ``1e3`` is a number, ``1:30`` is not ninety, dates are text.
The reader of each kind of file gives the problems found here their error codes.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import TypeAlias, get_args

import yaml
from pydantic import BaseModel
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

Plain: TypeAlias = "str | int | float | bool | list[Plain] | dict[str, Plain] | None"
Where: TypeAlias = tuple[str | int, ...]

_MAX_DEPTH = 12
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_FLOAT = re.compile(r"[+-]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+)([eE][+-]?[0-9]{1,3})?")
_WORDS: Mapping[str, bool | None] = {"true": True, "false": False, "null": None, "~": None, "": None}


class Fault(Enum):
    """What is wrong with a file before its keys are looked at."""

    SYNTAX = auto()  # not YAML, not UTF-8, too large, no mapping
    FEATURE = auto()  # anchors, aliases, tags, deep nesting
    REPEATED = auto()  # a key twice


class StrictYamlError(Exception):
    """A file is not the plain YAML that it should be.

    Args:
        fault: The kind of problem.
        message: File, line and what is wrong there.
    """

    def __init__(self, fault: Fault, message: str) -> None:
        super().__init__(message)
        self.fault = fault


@dataclass(frozen=True, slots=True)
class FileKind:
    """A kind of file that people write.

    Attributes:
        noun: What messages call it: ``device profile``.
        max_bytes: Size from which it is not read.
        may_be_empty: An empty file means an empty mapping.
    """

    noun: str
    max_bytes: int
    may_be_empty: bool = False


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


def allowed_keys(root: type[BaseModel], path: Where) -> list[str]:
    """Return the keys that a file of the shape ``root`` may have at ``path``."""
    model = root
    for part in path:
        if isinstance(part, int):
            continue
        fields = {field.alias or name: field for name, field in model.model_fields.items()}
        if part not in fields:  # a name of the user's own, such as a key of sources
            continue
        models = list(_models(fields[part].annotation))
        if not models:
            return []
        model = models[0]
    return [field.alias or name for name, field in model.model_fields.items()]


def _models(annotation: object) -> list[type[BaseModel]]:
    """Return the models that a type holds: in an optional, a tuple, a dict or an ``Annotated``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]


def read_yaml(path: Path, kind: FileKind) -> Document:
    """Read a file of ``kind``.

    Raises:
        OSError: It cannot be read.
        StrictYamlError: It is not plain YAML; the message names file and line.
    """
    with path.open("rb") as stream:
        raw = stream.read(kind.max_bytes + 1)
    return parse_yaml(raw, str(path), kind)


def parse_yaml(raw: bytes, label: str, kind: FileKind) -> Document:
    """Parse the bytes of a file of ``kind``; ``label`` names it in messages.

    Raises:
        StrictYamlError: They are not plain YAML.
    """
    if len(raw) > kind.max_bytes:
        raise _syntax(f"{label}:1", f"larger than {kind.max_bytes // 1024} KiB: that is no {kind.noun}")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise _syntax(f"{label}:{line}", f"byte 0x{raw[error.start]:02x} is not UTF-8") from None
    node = _compose(text, label, kind)
    if node is None and kind.may_be_empty:
        return Document(label, {}, {(): 1})
    if not isinstance(node, MappingNode):
        raise _syntax(f"{label}:1", f"a {kind.noun} is a mapping of keys to values, and this is not")
    lines: dict[Where, int] = {(): 1}
    return Document(label, _mapping(node, (), lines, label), lines)


def _syntax(where: str, what: str) -> StrictYamlError:
    return StrictYamlError(Fault.SYNTAX, f"{where}: {what}")


class _Loader(yaml.SafeLoader):
    """Composes nodes, but neither anchors nor aliases, tags or endless nesting."""

    def __init__(self, text: str, label: str, kind: FileKind) -> None:
        super().__init__(text)
        self._label = label
        self._kind = kind
        self._depth = 0

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise self._clever(line, "anchors and aliases")
        if getattr(event, "tag", None) is not None:
            raise self._clever(line, f"tags such as {event.tag}")
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise self._clever(line, f"more than {_MAX_DEPTH} levels of nesting")
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node if isinstance(node, Node) else None

    def _clever(self, line: int, what: str) -> StrictYamlError:
        return StrictYamlError(Fault.FEATURE, f"{self._label}:{line}: {what} are not allowed in a {self._kind.noun}")


def _compose(text: str, label: str, kind: FileKind) -> Node | None:
    try:
        loader = _Loader(text, label, kind)
        try:
            node = loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise _syntax(f"{label}:{line}", f"not valid YAML: {error.problem or error.context}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise _syntax(f"{label}:{line}", f"not valid YAML: {error.reason}") from None
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
    return _mapping(node, path, lines, label)


def _mapping(node: Node, path: Where, lines: dict[Where, int], label: str) -> dict[str, Plain]:
    found: dict[str, Plain] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        key = key_node.value if isinstance(key_node, ScalarNode) else None
        if key is None:
            raise _syntax(f"{label}:{line}", "a key must be a word")
        if key in found:
            first = lines[*path, key]
            where = f"{label}:{line} {dotted((*path, key))}"
            raise StrictYamlError(Fault.REPEATED, f"{where}: this key stands on line {first} already")
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
