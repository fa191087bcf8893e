# SPDX-License-Identifier: Apache-2.0
"""The scores against scikit-learn and by hand, and the stop where a model does no better than chance."""

import os

import numpy as np
import pytest
from sklearn import metrics as sk

from edgepack.data.metric import BUILT_IN, Metric, answers, chance_level, check_baseline, wilson
from edgepack.errors import DataError


def metric(name):
    return Metric(name, higher_is_better=BUILT_IN[name])


@pytest.fixture
def scores():
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 5, 400)
    raw = rng.normal(size=(400, 5)) + 1.5 * np.eye(5)[labels]
    return np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True), labels


def test_accuracy_of_numbers_and_of_one_hot_labels(scores):
    output, labels = scores
    expected = sk.accuracy_score(labels, output.argmax(axis=1))
    for form in (labels, labels[:, np.newaxis], labels.astype(np.float32), np.eye(5)[labels]):
        assert metric("accuracy").score([output], form) == pytest.approx(expected)
    assert metric("accuracy").per_sample([output], labels).tolist() == (output.argmax(axis=1) == labels).tolist()


def test_binary_answers_of_a_sigmoid_and_of_logits():
    assert answers(np.array([[0.2], [0.6], [0.5]])).tolist() == [0, 1, 0]
    assert answers(np.array([[-2.0], [0.1], [3.0]])).tolist() == [0, 1, 1]
    assert metric("accuracy").score([np.array([[0.2], [0.6]])], np.array([0, 0])) == 0.5


def test_accuracy_of_every_pixel():
    labels = np.array([[[0, 1], [1, 1]]])
    output = np.eye(2)[np.array([[[0, 1], [1, 0]]])]
    assert metric("accuracy").score([output], labels) == 0.75
    assert metric("accuracy").per_sample([output], labels).tolist() == [0.75]


def test_macro_f1_agrees_with_scikit_learn(scores):
    output, labels = scores
    expected = sk.f1_score(labels, output.argmax(axis=1), average="macro")
    assert metric("macro-f1").score([output], labels) == pytest.approx(expected)
    rare = np.where(labels == 4, 3, labels)
    expected = sk.f1_score(rare, output.argmax(axis=1), average="macro", zero_division=0)
    assert metric("macro-f1").score([output], rare) == pytest.approx(expected)


def test_auc_agrees_with_scikit_learn(scores):
    output, labels = scores
    expected = sk.roc_auc_score(labels, output, multi_class="ovr", average="macro")
    assert metric("auc").score([output], labels) == pytest.approx(expected)
    binary = (labels == 1).astype(int)
    assert metric("auc").score([output[:, 1:2]], binary) == pytest.approx(sk.roc_auc_score(binary, output[:, 1]))
    pair = np.stack([1 - output[:, 1], output[:, 1]], axis=1)
    assert metric("auc").score([pair], binary) == pytest.approx(sk.roc_auc_score(binary, output[:, 1]))


def test_map_agrees_with_scikit_learn(scores):
    output, labels = scores
    hot = np.eye(5, dtype=int)[labels]
    expected = sk.average_precision_score(hot, output, average="macro")
    assert metric("map").score([output], labels) == pytest.approx(expected)
    assert metric("map").score([output], hot) == pytest.approx(expected)


def test_ties_are_ranked_as_scikit_learn_ranks_them():
    rng = np.random.default_rng(8)
    scores, labels = rng.integers(0, 6, (200, 1)) / 5, rng.integers(0, 2, 200)
    assert metric("auc").score([scores], labels) == pytest.approx(sk.roc_auc_score(labels, scores[:, 0]))
    expected = sk.average_precision_score(labels, scores[:, 0])
    assert metric("map").score([scores], labels) == pytest.approx(expected)


def test_errors_of_numbers():
    output, labels = np.array([[1.0], [2.0], [5.0]]), np.array([1.0, 4.0, 1.0])
    assert metric("mae").score([output], labels) == pytest.approx(2.0)
    assert metric("mse").score([output], labels) == pytest.approx(20 / 3)
    assert metric("mse").per_sample([output], labels).tolist() == [0.0, 4.0, 16.0]


def test_a_function_of_the_users(tmp_path, monkeypatch):
    (tmp_path / "my_score.py").write_text("def half(outputs, labels):\n    return len(outputs) + len(labels) / 2\n")
    monkeypatch.chdir(tmp_path)
    own = Metric("my_score:half", higher_is_better=True)
    assert own.score([np.zeros((4, 1)), np.zeros((4, 2))], np.zeros(4)) == 4.0
    assert own.per_sample([np.zeros((4, 1))], np.zeros(4)) is None


@pytest.mark.parametrize(
    ("module", "body", "word"),
    [
        ("score_none", "", "no attribute 'f'"),
        ("score_divides", "def f(o, l):\n    return 1 / 0\n", "ZeroDivisionError"),
        ("score_nan", "def f(o, l):\n    return float('nan')\n", "returned nan"),
        ("score_narrow", "def f(o):\n    return 1\n", "TypeError"),
        ("score_asserts", "def f(o, l):\n    assert not len(l), 'no labels'\n", "AssertionError: no labels"),
        ("score_own", "class Odd(Exception): pass\ndef f(o, l):\n    raise Odd('mine')\n", "Odd: mine"),
        ("score_exits", "import sys\ndef f(o, l):\n    sys.exit(0)\n", "SystemExit: 0"),
        ("score_dies", "import os\ndef f(o, l):\n    os._exit(7)\n", "ended with code 7"),
        ("score_words", "def f(o, l):\n    return 'high'\n", "ValueError"),
    ],
)
def test_a_function_that_fails_is_named(tmp_path, monkeypatch, module, body, word):
    (tmp_path / f"{module}.py").write_text(body)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=word) as caught:
        Metric(f"{module}:f", higher_is_better=True).score([np.zeros((2, 1))], np.zeros(2))
    assert caught.value.code == "EP-216"


def test_a_function_that_prints_keeps_to_standard_error_and_stays_warm(tmp_path, monkeypatch, capfd):
    body = (
        "import os\n"
        "def f(outputs, labels):\n    print('{}'); os.system('echo deep')\n    return os.getpid()\n"
        "def g(outputs, labels):\n    import numpy as np\n    return np.array([outputs[1][labels == 2].sum()])\n"
    )
    (tmp_path / "score_prints.py").write_text(body)
    monkeypatch.chdir(tmp_path)
    own = Metric("score_prints:f", higher_is_better=True)
    first = own.score([np.zeros((2, 1))], np.zeros(2))
    assert own.score([np.zeros((2, 1))], np.zeros(2)) == first != os.getpid()
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err.count("{}") == 1
    assert said.err.count("deep") == 1
    outputs = [np.zeros((3, 1)), np.asfortranarray(np.arange(6.0).reshape(3, 2))]
    assert Metric("score_prints:g", higher_is_better=True).score(outputs, np.array([0, 2, 2])) == 14


def test_a_function_that_died_is_started_again(tmp_path, monkeypatch):
    body = "import os\ndef f(o, l):\n    if l[0]: os._exit(3)\n    return 5\n"
    (tmp_path / "score_phoenix.py").write_text(body)
    monkeypatch.chdir(tmp_path)
    own = Metric("score_phoenix:f", higher_is_better=True)
    with pytest.raises(DataError, match="code 3"):
        own.score([np.zeros((200_000, 9))], np.ones(200_000))
    assert own.score([np.zeros((2, 1))], np.zeros(2)) == 5


@pytest.mark.parametrize(
    ("name", "outputs", "labels", "word"),
    [
        ("accuracy", [np.zeros((4, 3)), np.zeros((4, 2))], np.zeros(4, int), "one output, and the model has 2"),
        ("accuracy", [np.zeros((4, 3))], np.zeros(3, int), "4 outputs for 3 labels"),
        ("accuracy", [np.zeros((4, 3))], np.array([0.5, 1, 2, 1]), "cannot be scored as a class"),
        ("mae", [np.zeros((4, 3))], np.zeros(4), r"\(3,\) with labels of shape \(\)"),
        ("auc", [np.zeros((4, 2))], np.ones(4, int), "at least two classes"),
        ("map", [np.zeros((4, 3))], np.full((4, 3), 2), "0/1 labels"),
    ],
)
def test_outputs_that_do_not_suit(name, outputs, labels, word):
    with pytest.raises(DataError, match=word) as caught:
        metric(name).score(outputs, labels)
    assert caught.value.code == "EP-214"


def test_chance_is_the_best_constant_answer():
    labels = np.array([0] * 6 + [1] * 3 + [2])
    assert chance_level(metric("accuracy"), labels) == 0.6
    constant = sk.f1_score(labels, np.zeros(10, int), average="macro", zero_division=0)
    assert chance_level(metric("macro-f1"), labels) == pytest.approx(constant)
    assert chance_level(metric("auc"), labels) == 0.5
    assert chance_level(metric("mse"), np.array([0.0, 2.0])) == 1.0
    assert chance_level(metric("map"), labels) is None
    assert chance_level(Metric("a:b", higher_is_better=True), labels) is None


@pytest.mark.parametrize(
    ("name", "score", "stops"),
    [
        ("accuracy", 0.10, True),
        ("accuracy", 0.11, True),
        ("accuracy", 0.15, False),
        ("auc", 0.5, True),
        ("auc", 0.8, False),
        ("mae", 9.0, True),
        ("mae", 0.5, False),
    ],
)
def test_a_baseline_no_better_than_chance_stops(name, score, stops):
    labels = np.arange(1000) % 10
    if not stops:
        check_baseline(metric(name), score, labels)
        return
    with pytest.raises(DataError, match=r"no better than chance|not significantly above chance") as caught:
        check_baseline(metric(name), score, labels)
    assert caught.value.code == "EP-215"


def test_few_samples_are_told_apart_from_wrong_ones():
    labels = np.array([0] * 5 + [1 + number % 8 for number in range(22)])
    with pytest.raises(DataError, match=r"0\.296 on 27 samples, which is not significantly above chance") as caught:
        check_baseline(metric("accuracy"), 8 / 27, labels)
    assert "lower 95% bound, 0." in caught.value.message
    assert "give more samples" in caught.value.hint


def test_labels_of_one_class_say_nothing():
    with pytest.raises(DataError, match="the same class"):
        check_baseline(metric("accuracy"), 1.0, np.zeros(50, int))


def test_wilson_at_known_points():
    low, high = wilson(0.9, 10)
    assert (low, high) == pytest.approx((0.5958, 0.9821), abs=1e-4)
    assert wilson(1.0, 10)[1] == 1.0
    assert wilson(0.0, 10)[0] == 0.0
