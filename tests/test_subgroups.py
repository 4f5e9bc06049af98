"""Levels by hand; the permutation against exact tests, under the null and with a planted difference."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from mammolib import bootstrap, subgroups
from mammolib.predictions import as_arrays


def made_up(patients=60, k=3, seed=0, right=0.6, kin=0.5):
    """Two views a patient, right with a probability of `right` (a number an image, or one for all), and kin."""
    rng, n = np.random.default_rng(seed), 2 * patients
    truth = np.repeat(np.arange(patients) % k, 2)
    together = np.repeat(rng.random(patients) < kin, 2)
    drawn = np.where(together, np.repeat(rng.random(patients), 2), rng.random(n))
    said = np.where(drawn < right, truth, (truth + 1) % k)
    classes = list("wxyz"[:k])
    table = pd.DataFrame({"image_id": [f"i{i}" for i in range(n)], "patient": [f"p{i // 2}" for i in range(n)]})
    table = table.assign(split="test", fold=-1, label=np.array(classes)[truth])
    table[[f"p_{name}" for name in classes]] = 0.1 + np.eye(k)[said] * (1 - 0.1 * k)
    return table, classes


def p_of(right, truth, patient, level, draws=4000, seed=0):
    return subgroups.difference_p(*map(np.asarray, (right, truth, patient, level)), draws, seed)


@pytest.fixture
def cohort():
    """Nine development images of areas 1 to 9 cm², three of the test part far above and on the cuts."""
    area = [*np.arange(1.0, 10.0), 99.0, 1.0, np.nan]
    table = pd.DataFrame({"image_id": [f"i{i}" for i in range(12)], "breast_area_mm2": np.array(area) * 100})
    words = {"ViewPosition": ["CC", "MLO"] * 6, "ImageLaterality": "L", "Manufacturer": [None] * 12}
    return table.assign(split=["development"] * 9 + ["test"] * 3, pixel_spacing_mm=0.5, **words)


def test_cuts_come_from_the_development_part_alone(cohort):
    tested = cohort[cohort["split"] == "test"]
    found = subgroups.subgroups(tested, cohort)
    assert found["breast area (cm²)"].cat.categories.tolist() == [
        "low, < 3.67",
        "middle, 3.67 to 6.33",
        "high, >= 6.33",
    ]
    assert found["breast area (cm²)"].tolist()[:2] == ["high, >= 6.33", "low, < 3.67"]
    assert found["breast area (cm²)"].isna().tolist() == [False, False, True]
    own = subgroups.subgroups(cohort[:9], cohort)["breast area (cm²)"]
    assert own.value_counts().tolist() == [3, 3, 3]
    assert found["view"].tolist() == ["MLO", "CC", "MLO"]
    assert subgroups.left_out(found) == {"side": "L", "vendor": "unknown"}
    turned = subgroups.subgroups(tested[::-1], cohort)
    assert turned["view"].tolist() == ["MLO", "CC", "MLO"][::-1]


def test_the_largest_lesion_counts_in_millimetres_and_others_are_unknown(cohort):
    marks = pd.DataFrame({"image_id": ["i0", "i0", "i1", "i2"], "radius": [3.0, 30.0, 20.0, 10.0]})
    found = subgroups.subgroups(cohort, cohort, marks)["lesion radius (mm)"]
    assert [str(level).split(",")[0] for level in found[:3]] == ["high", "middle", "low"]
    assert found[3:].isna().all()
    assert "low, < 8.33" in found.cat.categories  # of 5, 10 and 15 mm


def test_grey_is_that_of_the_breast_and_in_the_order_of_the_arrays(cohort):
    images = {"development": np.zeros((9, 2, 2), np.uint16), "test": np.zeros((3, 2, 2), np.uint16)}
    images["development"][4, 0] = 65535
    images["test"][1] = [[0, 13107], [39321, 0]]
    found = subgroups.mean_grey(cohort.sample(frac=1, random_state=0).sort_values("split", kind="stable"), images)
    assert found.notna().sum() == 2
    found = subgroups.mean_grey(cohort, images)
    assert found[["i4", "i10"]].tolist() == pytest.approx([1.0, 0.4])
    assert found.drop(["i4", "i10"]).isna().all(), "an empty image has no grey"
    with pytest.raises(ValueError, match=r"images of test: 2, but cohort\.csv has 3 test rows"):
        subgroups.mean_grey(cohort, images | {"test": images["test"][:2]})


def test_a_number_that_all_share_or_nobody_has_is_left_out(cohort):
    grey = pd.Series(0.5, cohort["image_id"])
    assert "mean grey (of 1)" in subgroups.left_out(subgroups.subgroups(cohort, cohort, None, grey))
    found = subgroups.subgroups(cohort, cohort, None, grey * np.nan)
    assert subgroups.left_out(found)["mean grey (of 1)"] == "not known"


@pytest.mark.parametrize(("only_first", "only_second"), [(9, 2), (5, 4), (0, 0)])
def test_views_of_the_same_patients_are_tested_as_mcnemar_does(only_first, only_second):
    pairs = [(1, 0)] * only_first + [(0, 1)] * only_second + [(1, 1)] * 8 + [(0, 0)] * 5
    right, patient = np.ravel(pairs), np.repeat(np.arange(len(pairs)), 2)
    found = p_of(right, patient % 3, patient, np.tile([0, 1], len(pairs)))
    changed = only_first + only_second
    exact = stats.binomtest(only_first, changed).pvalue if changed else 1.0
    assert found == pytest.approx(exact, abs=0.025)  # three standard errors of 4,000 draws


@pytest.mark.parametrize(("here", "there"), [(9, 3), (7, 6)])
def test_vendors_of_single_images_are_tested_as_fisher_does(here, there):
    right = np.r_[np.arange(12) < here, np.arange(12) < there]
    found = p_of(right, np.zeros(24, int), np.arange(24), np.repeat([0, 1], 12))
    exact = stats.fisher_exact([[here, 12 - here], [there, 12 - there]]).pvalue
    assert found == pytest.approx(exact, abs=0.025)


def test_a_patient_with_two_equal_views_counts_once():
    """Twins tell nothing new: the same p as with one image each, though there seem to be twice as many."""
    right, level, one = np.r_[np.arange(12) < 9, np.arange(12) < 5], np.repeat([0, 1], 12), np.zeros(24, int)
    alone = p_of(right, one, np.arange(24), level)
    twins = p_of(*(np.repeat(part, 2) for part in (right, one, np.arange(24), level)))
    assert twins == pytest.approx(alone, abs=0.03)
    assert p_of(*(np.repeat(part, 2) for part in (right, one)), np.arange(48), np.repeat(level, 2)) < alone / 2


def test_outcomes_move_only_between_patients_of_the_same_classes():
    """Patients with one image, with two, with two of two classes: hits of each kind stay what they are."""
    truth, patient = np.array([0, 0, 1, 0, 0, 1, 0, 0, 1, 0]), np.array([0, 1, 2, 3, 3, 4, 4, 5, 5, 6])
    right = np.array([1, 0, 1, 0, 1, 1, 0, 0, 1, 1])
    means = np.array(
        [2 / 3, 2 / 3, 1, 0.5, 0.5, 1, 0, 0, 1, 2 / 3]
    )  # two patients with an image of each class: class 0 never, class 1 always right
    dealt = subgroups._permuted(right, truth, patient, 500, 0) + means
    assert dealt[0] == pytest.approx(right)
    for rows in ([0, 1, 9], [2], [3, 4], [5, 8], [6, 7]):
        assert dealt[:, rows].sum(1) == pytest.approx(right[rows].sum())
    assert dealt[:, [0, 1, 9]].mean(0) == pytest.approx(2 / 3, abs=0.07)  # three standard errors of 500 draws
    assert dealt[:, 3].mean() == pytest.approx(0.5, abs=0.07)


@pytest.mark.parametrize("kind", ["patient", "image", "view"])
def test_p_is_uniform_where_nothing_differs(kind):
    """Levels of patients, of images and of views; classes differ in accuracy and in how often they have a level."""
    rng, found = np.random.default_rng(7), []
    for seed in range(200):
        truth = np.repeat(np.arange(80) % 2, 2)
        table, classes = made_up(80, 2, seed, right=np.where(truth == 0, 0.4, 0.8))
        truth, probabilities, patient = as_arrays(table, classes)
        level = {
            "patient": np.repeat(rng.integers(0, 3, 80), 2),
            "image": (rng.random(160) < np.where(truth == 0, 0.3, 0.7)).astype(int) + (rng.random(160) < 0.3),
            "view": np.tile([0, 1], 80),
        }[kind]
        found.append(p_of(probabilities.argmax(1) == truth, truth, patient, level, draws=199, seed=seed))
    for share in (0.1, 0.5):
        error = np.sqrt(share * (1 - share) / 200)
        below = np.mean(np.array(found) <= share)
        assert below < share + 3.3 * error
        assert below > share - 3.3 * error - (0.1 if kind == "view" else 0.02)  # few pairs differ: p comes in steps


def test_a_planted_difference_is_found_and_a_class_mix_is_none():
    level = np.repeat(np.arange(80) % 4 // 2, 2)
    table, classes = made_up(80, 2, right=np.where(level == 0, 0.85, 0.4))
    truth, probabilities, patient = as_arrays(table, classes)
    right = probabilities.argmax(1) == truth
    assert p_of(right, truth, patient, level, draws=999) < 0.01
    only_mix = p_of(truth == 0, truth, patient, np.where(np.arange(160) % 10 == 0, 1 - truth, truth), draws=999)
    assert only_mix == 1, "one class always right, the other never: the levels differ by their mix alone"


@pytest.mark.parametrize("k", [2, 3, 4])
def test_the_table_holds_the_estimates_of_each_level_and_holms_p(k):
    table, classes = made_up(60, k)
    groups = pd.DataFrame(
        {
            "view": np.tile(["CC", "MLO"], 60),
            "side": "L",
            "vendor": np.repeat(["a", "b", "c"], [60, 42, 18]),
            "rest": np.where(np.arange(120) < 100, "some", None),
            "size": np.repeat(["small", "large", None], [50, 50, 20]),
        }
    ).astype("category")
    before = groups.copy()
    found = subgroups.subgroup_table(table, groups, classes, 400, 3)
    pd.testing.assert_frame_equal(groups, before)
    assert subgroups.left_out(groups) == {"side": "L", "rest": "some"}
    assert found["variable"].tolist() == ["view"] * 2 + ["vendor"] * 3 + ["size"] * 2
    rows = found.set_index(["variable", "level"])
    truth, probabilities, patient = as_arrays(table, classes)
    right, inside = probabilities.argmax(1) == truth, groups["view"] == "CC"
    expected = bootstrap.mean_estimate(right[inside], patient[inside], 400, 3, within=truth[inside], proportion=True)
    assert {name: rows.loc[("view", "CC"), name] for name in ("value", "low", "high", "n", "patients")} == {
        name: expected[name] for name in ("value", "low", "high", "n", "patients")
    }
    few = rows.loc[("vendor", "c")]
    assert (few["n"], few["patients"], few["note"]) == (18, 9, "too few: 9 patients")
    assert np.isnan(few["value"])
    of_variable = found.drop_duplicates("variable")
    vendors = groups["vendor"] != "c"
    codes = groups["vendor"].cat.codes.to_numpy()[vendors].astype(int)
    assert rows.loc[("vendor", "a"), "p"] == p_of(right[vendors], truth[vendors], patient[vendors], codes, 400, 3)
    assert of_variable["p_holm"].tolist() == pytest.approx(multipletests(of_variable["p"], method="holm")[1].tolist())
    assert (of_variable["p_holm"] >= of_variable["p"]).all()


def test_nothing_to_compare_is_an_empty_table():
    table, classes = made_up(20)
    groups = pd.DataFrame({"side": ["L"] * 40}).astype("category")
    found = subgroups.subgroup_table(table, groups, classes, 100, 0)
    assert found.empty
    assert found.columns.tolist() == subgroups.COLUMNS
    one_large = pd.DataFrame({"side": ["L"] * 36 + ["R"] * 4}).astype("category")
    found = subgroups.subgroup_table(table, one_large, classes, 100, 0)
    assert found["p"].isna().all(), "one level of enough patients is compared with nothing"
