# SPDX-License-Identifier: Apache-2.0
"""data.yaml: found beside or inside the source, strict, with the line of every mistake."""

import pytest
import yaml

from edgepack.data.settings import TEMPLATE, Settings, find_settings, read_settings
from edgepack.errors import DataError


def wrong(tmp_path, text):
    path = tmp_path / "data.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError) as caught:
        read_settings(path)
    assert caught.value.code == "EP-213"
    return caught.value.message


def test_the_template_is_valid_as_it_is_and_when_uncommented(tmp_path):
    path = tmp_path / "data.yaml"
    path.write_text(TEMPLATE)
    assert read_settings(path) == Settings()
    keys = ("preprocess", "metric", "label", "csv", "wav", "augmentation")
    lines = [line[2:] for line in TEMPLATE.splitlines() if line.startswith(("#   ", *(f"# {key}:" for key in keys)))]
    path.write_text("\n".join(lines))
    assert set(yaml.safe_load(path.read_text())) == set(keys)
    settings = read_settings(path)
    assert settings.csv.window == 128
    assert settings.preprocess.scale == pytest.approx(1 / 255)


def test_unknown_keys_name_line_and_nearest(tmp_path):
    message = wrong(tmp_path, "metric: mae\npreprocess:\n  resise: [2, 2]\n")
    assert "data.yaml:3" in message
    assert "'preprocess.resise'" in message
    assert "did you mean 'resize'" in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("metric: acuracy\n", ("'acuracy'", "did you mean 'accuracy'")),
        ("metric: mine:score\n", ("needs higher_is_better",)),
        ("metric: mae\nhigher_is_better: true\n", ("of your own",)),
        ("csv:\n  window: 0\n", ("data.yaml:2", "csv.window is 0; expected a number above 0")),
        ("csv:\n  delimiter: tab\n", ("csv.delimiter is 'tab'; expected one character",)),
        ("csv: 3\n", ("csv is 3; expected keys below it: label, group",)),
        ("csv: {label: [a]}\n", ("csv.label is ['a']; expected",)),
        ("csv: {header: maybe}\n", ("expected true or false",)),
        ("wav: {length: 1.5}\n", ("wav.length is 1.5; expected a whole number",)),
        ("preprocess: {resize: [2]}\n", ("preprocess.resize lacks a number; expected two numbers: [height, width]",)),
        ("preprocess: {resize: 3}\n", ("expected two numbers: [height, width]",)),
        ("preprocess: {color: gray}\n", ("preprocess.color is 'gray'; expected 'rgb' or 'grayscale'",)),
        ("preprocess: {inputs: image}\n", ("preprocess.inputs is 'image'; expected a list: [one, two]",)),
        ("preprocess: {scale: abc}\n", ("preprocess.scale is 'abc'; expected a number, such as 0.5 or 1/255",)),
        ("preprocess: {mean: []}\n", ("expected a list with one entry at least",)),
        ("augmentation: {mixup: 1.5}\n", ("augmentation.mixup is 1.5; expected a number of at most 1",)),
        ("augmentation: {shift: -1}\n", ("augmentation.shift is -1; expected a number of at least 0",)),
        ("augmentation: {cutout: 2.5}\n", ("augmentation.cutout is 2.5; expected a whole number",)),
        ("augmentation: {flip: true}\n", ("'augmentation.flip'", "flip_horizontal, flip_vertical")),
        ("metric: 3\n", ("metric is 3; expected text",)),
        ("wav: {length: 0}\nlable: y\n", ("data.yaml:1", "wav.length", "data.yaml:2", "did you mean 'label'")),
        ("a: &a [1]\nb: *a\n", ("aliases",)),
        ("metric: [\n", ("not valid YAML",)),
        (b"metric: \xff\n", ("data.yaml:1", "byte 0xff is not UTF-8")),
        ("- a\n", ("data.yaml:1", "mapping of keys")),
        ("metric: mae\nlabel: y\nmetric: mse\n", ("data.yaml:3 metric", "stands on line 1")),
        ("metric: !!python/name:os.system\n", ("data.yaml:1", "tags such as")),
        ("csv: " + "[" * 500, ("data.yaml:1", "levels of nesting")),
    ],
)
def test_mistakes_are_named(tmp_path, text, words):
    message = wrong(tmp_path, text)
    for word in words:
        assert word in message
    for word in ("Input should", "valid dictionary", "instance of", "unable to", "Field required"):
        assert word not in message


def test_a_yaml_bomb_is_refused_at_once(tmp_path):
    bomb = "a: &a [x,x]\n" + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)},*{chr(97 + n)}]\n" for n in range(20)
    )
    assert "aliases" in wrong(tmp_path, bomb)
    assert "larger than" in wrong(tmp_path, "#" * (1 << 21))


def test_an_empty_file_leaves_every_default(tmp_path):
    path = tmp_path / "data.yaml"
    path.touch()
    assert read_settings(path) == Settings()


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(DataError) as caught:
        read_settings(tmp_path)
    assert caught.value.code == "EP-201"


def test_where_settings_are_found(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    source = tmp_path / "a.npz"
    source.touch()
    assert find_settings(str(source)) is None
    (tmp_path / "data.yaml").touch()
    assert find_settings(str(source)) == tmp_path / "data.yaml"
    (tmp_path / "a.data.yaml").touch()
    assert find_settings(str(source)) == tmp_path / "a.data.yaml"
    (folder / "data.yaml").touch()
    assert find_settings(str(folder)) == folder / "data.yaml"


def test_a_metric_of_the_users_runs_its_own_way(tmp_path):
    path = tmp_path / "data.yaml"
    path.write_text("metric: mine:score\nhigher_is_better: false\n")
    metric = read_settings(path).chosen_metric()
    assert (metric.name, metric.higher_is_better) == ("mine:score", False)
