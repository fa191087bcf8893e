# SPDX-License-Identifier: Apache-2.0
"""Students: smaller relatives that keep the interface and what they can of the weights, or a precise refusal."""

import numpy as np
import pytest

from edgepack.compress._student_separable import fitted
from edgepack.compress.recipe import Recipe
from edgepack.compress.step import Gap
from edgepack.compress.student import Student
from edgepack.graph.probe import Moments, unknown

# What a net has nothing for: GRU layers count no work in these tests, so a shorter series saves none.
REFUSED = {
    "plain/one block": "EP-670",
    "plain/fewer blocks": "EP-670",
    "series/one block": "EP-670",
    "series/fewer blocks": "EP-670",
    "series/odd size": "EP-671",
    "recurrent/separable": "EP-670",
    "recurrent/one block": "EP-670",
    "recurrent/fewer blocks": "EP-670",
    "recurrent/half size": "EP-673",
    "recurrent/odd size": "EP-671",
    "recurrent/all": "EP-670",
    "two/one block": "EP-670",
    "two/fewer blocks": "EP-670",
}
NETS = ("plain", "residual", "series", "recurrent", "two")
OPTIONS = ("width", "macs", "separable", "one block", "fewer blocks", "half size", "odd size", "fitting size", "all")
MADE = [f"{net}/{option}" for net in NETS for option in OPTIONS if f"{net}/{option}" not in REFUSED]


@pytest.fixture(scope="module")
def students(checked):
    """What came of the script beside this file."""
    return checked("compress/check_student.py")


@pytest.mark.tf
@pytest.mark.parametrize("case", MADE)
def test_a_student_keeps_the_interface_and_works_less(students, case):
    found = students["nets"][case]
    assert found["edges"]
    assert found["untouched"], "the source is as it was"
    assert found["again"], "the same twice"
    assert found["share"] < 0.9
    assert found["far"] > 0
    assert "multiply-accumulates" in found["sentences"][0]
    assert len(found["sentences"]) > 1, "what was done is said"


@pytest.mark.tf
@pytest.mark.parametrize(("case", "code"), REFUSED.items())
def test_what_a_net_has_nothing_for_is_refused(students, case, code):
    assert students["nets"][case]["code"] == code
    assert students["nets"][case]["untouched"]


@pytest.mark.tf
@pytest.mark.parametrize("net", NETS)
def test_a_target_chooses_the_widest_student_that_meets_it(students, net):
    assert 0.5 < students["nets"][f"{net}/macs"]["share"] <= 0.6


@pytest.mark.tf
@pytest.mark.parametrize("net", ["residual", "series", "two"])
def test_a_coarser_student_keeps_every_weight(students, net):
    assert students["nets"][f"{net}/half size"]["params"] == 1.0


@pytest.mark.tf
def test_options_add_up(students):
    found = students["nets"]["residual/all"]
    assert found["share"] <= 0.1
    assert {"image_resized", "stem_depthwise", "stem_pointwise", "left_depthwise"} <= set(found["names"])
    assert "image looked at as 6x6" in " ".join(found["sentences"])
    assert "of each layer's channels" in found["sentences"][-1]


@pytest.mark.tf
def test_layers_keep_their_names_and_new_ones_have_their_source_s(students):
    names = students["nets"]["plain/separable"]["names"]
    assert [name for name in names if "first" in name] == [
        "first_depthwise",
        "first_pointwise",
        "first_norm",
        "first_relu",
    ]


@pytest.mark.tf
def test_the_branch_that_says_nothing_goes_first(students):
    found = students["branches"]
    assert set(found["blocks"]) >= {"the branch 1 of loud_add", "the branch 1 of silent_add", "loud", "silent", "first"}
    assert found["far"] == 0
    assert not {"silent", "silent_add"} & set(found["names"])
    assert "silent" in found["sentences"][1]


@pytest.mark.tf
def test_a_kernel_that_is_separable_already_stays_the_same_function(students):
    found = students["separable"]
    assert found["far"] < 1e-5
    assert set(found["errors"]) == {"strided", "dilated", "valid", "along"}
    assert found["kinds"].count("DepthwiseConv2D") == 3
    assert found["kinds"].count("DepthwiseConv1D") == 1


@pytest.mark.tf
def test_a_coarser_student_says_the_same_of_images_without_detail(students):
    assert len(students["even"]) == 6
    assert max(students["even"].values()) < 1e-5


def test_the_separable_fit_uses_what_the_layer_reads():
    draw = np.random.default_rng(0)
    kernel = draw.normal(size=(9, 4, 6))
    mixing = draw.normal(size=(36, 36)) * np.geomspace(1, 0.05, 36)
    moments = Moments(draw.normal(size=36), mixing @ mixing.T)

    def lost(parts):
        change = (kernel - parts.depthwise[:, :, None] * parts.pointwise).reshape(36, 6)
        rows = kernel.reshape(36, 6)
        return np.trace(change.T @ moments.covariance @ change) / np.trace(rows.T @ moments.covariance @ rows)

    knowing, blind = fitted(kernel, moments), fitted(kernel, unknown(36))
    assert lost(knowing) == pytest.approx(knowing.error, rel=1e-3)
    assert lost(knowing) < 0.5 * lost(blind)
    change = (kernel - knowing.depthwise[:, :, None] * knowing.pointwise).reshape(36, 6)
    np.testing.assert_allclose(knowing.shift, moments.mean @ change)


@pytest.mark.tf
@pytest.mark.parametrize(
    ("case", "code", "words"),
    [
        ("fake", "EP-670", "ranges belong to them"),
        ("no samples", "EP-670", "there are no samples to see that on"),
        ("no figure", "EP-672", "nothing predicts it on this device"),
        ("too much", "EP-672", "MACs of 33 even at"),
        ("met", "EP-672", "meets the student's target as it is"),
        ("fixed", "EP-671", "layer reshape of fixed needs the input's full size: The total size"),
        ("same", "EP-671", "an output of same follows the input"),
        ("broken", "EP-673", "works as much and is as large"),
    ],
)
def test_what_cannot_be_had_is_refused(students, case, code, words):
    found = students["refused"][case]
    assert found["code"] == code
    assert words in found["message"]
    assert found.get("untouched", True)


@pytest.mark.tf
def test_lowered_to_int8_students_have_plain_operators_and_run(checked):
    recipes = {
        "narrow": ("student", {"width": 0.5}),
        "separable": ("student", {"separable": True}),
        "shallow": ("student", {"depth": 1}),
        "pooled": ("student", {"resolution": 0.5}),
        "resized": ("student", {"resolution": 0.75}),
    }
    found = checked("compress/check_lowered.py", RECIPES=recipes, SKIPPED=[("shallow", "plain")])
    base = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}
    own = {
        "plain": {"MAX_POOL_2D", "RESHAPE", "SOFTMAX"},
        "residual": {"MEAN", "LOGISTIC", "MUL", "ADD", "CONCATENATION"},
    }
    more = {"pooled": {"AVERAGE_POOL_2D"}, "resized": {"RESIZE_BILINEAR"}}
    assert len(found) == 9
    for case, lowered in found.items():
        title, _, net = case.partition("/")
        assert set(lowered["ops"]) <= base | own[net] | more.get(title, set()), case
        assert set(lowered["ops"]) >= more.get(title, set()), case
        assert lowered["inputs"] == [[1, 12, 12, 3]]
        assert lowered["outputs"] == [[1, 4]]
        assert lowered["correlation"] > 0.8, case


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "needs width, depth, resolution, separable, or a target"),
        ({"width": 0.5, "macs": 0.5}, "give one or the other"),
        ({"width": 1.5}, "less than 1"),
        ({"depth": 0}, "depth"),
        ({"resolution": 2}, "less than 1"),
        ({"resolution": "fit"}, "resolution: fit needs a target"),
        ({"alpha": 1}, "Extra inputs"),
    ],
)
def test_wrong_options_are_told(options, words):
    with pytest.raises(ValueError, match=words):
        Student.model_validate(options)


@pytest.mark.parametrize("options", [{"depth": 2}, {"depth": 0.5}, {"width": 0.25, "separable": True}])
def test_a_recipe_reads_back(options):
    recipe = Recipe.model_validate({"precision": {"default": "w8a8"}, "steps": [{"kind": "student", **options}]})
    assert Recipe.from_yaml(recipe.as_yaml()) == recipe
    assert recipe.steps == (Student(**options),)


def test_proposals_aim_at_the_limits_that_bind_mild_first():
    assert Student.propose(Gap(drop=2.0)) == ()
    size = Student.propose(Gap(size=0.5, size_bytes=16384))
    assert size[0] == Student(size_bytes=16384)
    assert Student(size_bytes=16384, separable=True) in size
    ram = Student.propose(Gap(ram=0.5, ram_bytes=40000, latency=0.9, latency_ms=3.0))
    assert all(step.ram_bytes == 40000 and step.latency_ms == 3.0 for step in ram)
    assert ram[0].resolution == "fit"
    assert not any(step.resolution for step in size), "a coarser input takes no byte off the file"


def test_its_control_is_uniform_width_at_the_same_target():
    assert Student(macs=0.5, separable=True).control() == (Student(macs=0.5),)
    assert Student(macs=0.5).control() is None
    assert Student(separable=True).control() is None
