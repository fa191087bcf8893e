# SPDX-License-Identifier: Apache-2.0
"""The nouns that everything needs: digests, figures, errors, registry, recipe."""

import pickle

import pytest

from edgepack.compress.recipe import Recipe
from edgepack.digest import canonical_json, digest_bytes, digest_file, digest_json
from edgepack.errors import EdgepackError, HostError
from edgepack.figure import Evidence, Figure
from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.model.precision import Precision
from edgepack.registry import nearest


def test_equal_values_have_equal_digests_whatever_their_order():
    assert digest_json({"a": 1, "b": [1, 2]}) == digest_json({"b": [1, 2], "a": 1})
    assert digest_json({"a": [1, 2]}) != digest_json({"a": [2, 1]})


def test_nan_has_no_canonical_form():
    with pytest.raises(ValueError, match=r"NaN|JSON"):
        canonical_json({"a": float("nan")})


def test_a_file_and_its_bytes_have_one_digest(tmp_path):
    (tmp_path / "file").write_bytes(b"abc" * 1_000_000)
    assert digest_file(tmp_path / "file") == digest_bytes([b"abc" * 1_000_000])


def test_the_upper_end_of_an_exact_figure_is_its_value():
    assert Figure(3.0, "ms", Evidence.HOST).upper == 3.0
    assert Figure(3.0, "ms", Evidence.PREDICTED, 1.0, 9.0).upper == 9.0


def test_a_figure_in_full_bears_interval_samples_and_evidence():
    def told(**more):
        return Figure(3.0, "ms", Evidence.PREDICTED, **more).in_full("{:g}ms".format)

    assert told() == "3ms, predicted"
    assert told(ci_low=3.0, ci_high=3.0) == "3ms, predicted"
    assert told(ci_high=9.0) == "3ms (up to 9ms), predicted"
    assert told(ci_low=1.0, ci_high=9.0) == "3ms (band 1ms to 9ms), predicted"
    assert told(ci_low=1.0, ci_high=9.0, ci_level=0.95, n=600) == "3ms (95% interval 1ms to 9ms), n=600, predicted"


def test_an_error_survives_the_trip_between_processes():
    error = pickle.loads(pickle.dumps(HostError("EP-501", "disk full", hint="free space")))  # noqa: S301
    assert isinstance(error, HostError)
    assert (error.code, str(error), error.hint, error.exit_code) == ("EP-501", "disk full", "free space", 5)
    assert isinstance(error, EdgepackError)


def test_near_names_are_offered_else_all_are_listed():
    assert nearest("rpi-4", ["rpi4", "rpi5", "nrf52840"]).startswith("did you mean 'rpi4'")
    assert nearest("zzz", ["b", "a"]) == "known: a, b"


@pytest.mark.parametrize("precision", Precision)
def test_a_recipe_round_trips_through_yaml_with_its_digest(precision):
    recipe = Recipe(precision=PrecisionPlan(default=precision))
    again = Recipe.from_yaml(recipe.as_yaml())
    assert again == recipe
    assert again.digest == recipe.digest


def test_recipes_that_differ_have_different_digests():
    found = {
        Recipe(precision=PrecisionPlan(default=precision, io=io)).digest
        for precision in Precision
        for io in ("float", "int8")
    }
    assert len(found) == 2 * len(Precision)
