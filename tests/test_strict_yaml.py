# SPDX-License-Identifier: Apache-2.0
"""Strict YAML: what a scalar means, where each part stands, and what is refused before anything is built of it."""

import pytest
from pydantic import BaseModel

from edgepack.strict_yaml import Fault, FileKind, StrictYamlError, allowed_keys, dotted, parse_yaml, read_yaml

KIND = FileKind("shopping list", max_bytes=2048)


class Pear(BaseModel):
    colour: str


class List(BaseModel):
    pears: tuple[Pear, ...] = ()
    count: int = 0


def parse(text, kind=KIND):
    return parse_yaml(text.encode(), "list.yaml", kind)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"), ("true", True), ("~", None), ("", None), ("'true'", "true"), ("1e3", 1000.0), ("-7", -7),
        ("1:30", "1:30"), ("2024-01-31", "2024-01-31"), ("0x10", "0x10"), (".5", 0.5), ("[1, a]", [1, "a"]),
    ],
)  # fmt: skip
def test_scalars_follow_yaml_1_2(text, value):
    found = parse(f"key: {text}\n").content["key"]
    assert (found, type(found)) == (value, type(value))


def test_every_part_has_its_line_and_what_is_absent_its_parent_s():
    document = parse("# first\na: 1\nb:\n  - c: 2\n  - d: 3\n")
    assert [document.line(path) for path in (("a",), ("b",), ("b", 1), ("b", 1, "d"))] == [2, 3, 5, 5]
    assert document.line(("b", 1, "none")) == 5
    assert document.line(("none",)) == 1
    assert document.place(("b", 1, "d")) == "list.yaml:5 b[1].d"
    assert dotted(()) == ""


@pytest.mark.parametrize(
    ("text", "fault", "words"),
    [
        ("a: &x [1]\n", Fault.FEATURE, "list.yaml:1: anchors and aliases are not allowed in a shopping list"),
        ("a: 1\nb: !!str 2\n", Fault.FEATURE, "list.yaml:2: tags such as"),
        ("a: " + "[" * 100, Fault.FEATURE, "more than 12 levels of nesting"),
        ("a: 1\nb:\n  c: 1\n  c: 2\n", Fault.REPEATED, "list.yaml:4 b.c: this key stands on line 3 already"),
        ("a: [\n", Fault.SYNTAX, "not valid YAML"),
        ("- a\n", Fault.SYNTAX, "list.yaml:1: a shopping list is a mapping of keys to values, and this is not"),
        ("", Fault.SYNTAX, "mapping"),
        ("#" * 2049, Fault.SYNTAX, "larger than 2 KiB: that is no shopping list"),
    ],
)
def test_anything_else_is_refused_with_its_line(text, fault, words):
    with pytest.raises(StrictYamlError) as caught:
        parse(text)
    assert (caught.value.fault, words in str(caught.value)) == (fault, True), str(caught.value)


def test_an_empty_file_is_an_empty_mapping_where_its_kind_says_so(tmp_path):
    kind = FileKind("shopping list", max_bytes=2048, may_be_empty=True)
    assert parse("# nothing but a comment\n", kind).content == {}
    path = tmp_path / "list.yaml"
    path.write_text("a: 1\n")
    assert read_yaml(path, kind).label == str(path)
    with pytest.raises(FileNotFoundError):
        read_yaml(tmp_path / "none.yaml", kind)


def test_the_keys_that_a_shape_allows():
    assert allowed_keys(List, ()) == ["pears", "count"]
    assert allowed_keys(List, ("pears", 0)) == ["colour"]
    assert allowed_keys(List, ("count",)) == []
