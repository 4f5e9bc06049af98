"""Baselines by hand, and a header-only model that finds what headers tell and nothing where they tell nothing."""

import numpy as np
import pandas as pd
import pytest

from mammolib import baselines

CLASSES = ["x", "y", "z"]


def cohort(patients=300, planted=0.0, test_share=0.3, seed=0):
    """Cohort of two views a patient; `planted` is how often the vendor gives the class away."""
    rng = np.random.default_rng(seed)
    label = rng.choice(CLASSES, patients)
    told = np.where(rng.random(patients) < planted, label, rng.choice(CLASSES, patients))
    one = pd.DataFrame({"patient": [f"p{i:03d}" for i in range(patients)], "label": label, "Manufacturer": told})
    one["split"] = np.where(np.arange(patients) < patients * test_share, "test", "development")
    one["ImageLaterality"] = rng.choice(["L", "R", None], patients)
    both = pd.concat([one.assign(ViewPosition=view) for view in ("CC", "MLO")])
    both["image_id"] = both["patient"] + both["ViewPosition"]
    both["rows"] = rng.integers(400, 500, len(both)).astype(float)
    both.loc[both["rows"] < 410, "rows"] = np.nan
    both["pixel_spacing_mm"] = 0.5
    return both.sort_values(["split", "image_id"]).reset_index(drop=True)


def predictions(table, truth=True):
    p = (
        np.eye(3)[pd.Categorical(table["label"], categories=CLASSES).codes]
        if truth
        else np.full((len(table), 3), 1 / 3)
    )
    found = table[["image_id", "patient", "label"]].assign(split="test", fold=-1)
    return pd.concat([found.reset_index(drop=True), pd.DataFrame(p, columns=[f"p_{c}" for c in CLASSES])], axis=1)


def test_constant_answers_by_hand():
    table = pd.DataFrame({"label": ["x"] * 5 + ["y"] * 3 + ["z"] * 2})
    found = baselines.constant_answers(table, CLASSES, "y")
    assert found["majority"]["accuracy"] == pytest.approx(0.3)  # the development part's, not the luckiest
    assert found["majority"]["mean_one_vs_rest_accuracy"] == pytest.approx((0.3 + 0.8 + 0.5) / 3)
    assert found["majority"]["balanced_accuracy"] == pytest.approx(1 / 3)
    assert found["always_no"]["mean_one_vs_rest_accuracy"] == pytest.approx(2 / 3)
    assert found["always_no"]["one_vs_rest"] == pytest.approx({"x": 0.5, "y": 0.7, "z": 0.8})
    assert found["chance"]["mean_one_vs_rest_accuracy"] == pytest.approx(5 / 9)


@pytest.mark.parametrize("test_share", [0.3, 0.0])
def test_headers_find_a_planted_vendor_and_only_that(test_share):
    for planted, beats_chance in ((0.9, True), (0.0, False)):
        table = cohort(planted=planted, test_share=test_share)
        evaluated = predictions(table[table["split"] == "test"] if test_share else table)
        found = baselines.all_baselines(evaluated, table, CLASSES, False, 200, 0)["header_only"]
        assert (found["balanced_accuracy"]["low"] > 1 / 3) == beats_chance
        assert (found["balanced_accuracy"]["value"] > 0.8) == beats_chance
        assert found["accuracy"]["n"] == len(evaluated)
        assert "pixel_spacing_mm" not in found["columns"]  # the same everywhere


def test_a_header_that_one_class_lacks_gives_it_away():
    table = cohort().drop(columns=["rows", "ImageLaterality", "ViewPosition", "Manufacturer"])
    table["pixel_spacing_mm"] = np.where(table["label"] == "x", np.nan, 0.1)  # nothing else differs
    table["Manufacturer"] = np.where(table["label"] == "y", None, "GE")
    evaluated = predictions(table[table["split"] == "test"])
    found = baselines.all_baselines(evaluated, table, CLASSES, False, 200, 0)["header_only"]
    assert found["columns"] == ["Manufacturer", "pixel_spacing_mm"]
    assert found["accuracy"]["value"] == 1


def test_development_images_are_predicted_without_their_patient():
    """A header value of its own for each patient must not help: 100 patients, 100 vendors."""
    table = cohort(patients=100, test_share=0).assign(rows=1.0)
    table["Manufacturer"] = table["patient"]
    found = baselines.header_only(table, predictions(table), CLASSES, 0)
    assert (found["fold"] >= 0).all()
    assert found.groupby("patient")["fold"].nunique().max() == 1
    right = found[[f"p_{c}" for c in CLASSES]].to_numpy().argmax(1) == pd.Categorical(found["label"]).codes
    assert right.mean() < 0.5


def test_test_rows_do_not_reach_the_fit():
    table = cohort(planted=0.9)
    evaluated = predictions(table[table["split"] == "test"])
    before = baselines.header_only(table, evaluated, CLASSES, 0)
    table.loc[table["split"] == "test", "label"] = "x"
    after = baselines.header_only(table, evaluated, CLASSES, 0)
    pd.testing.assert_frame_equal(before, after)


def test_what_cannot_be_fitted_says_why():
    table = cohort()
    evaluated = predictions(table[table["split"] == "test"])
    alone = baselines.all_baselines(evaluated, None, CLASSES, False, 100, 0)
    assert "no cohort.csv" in alone["header_only"]["note"]
    same = table.drop(columns=["Manufacturer", "ViewPosition", "ImageLaterality", "rows"])
    found = baselines.all_baselines(evaluated, same, CLASSES, False, 100, 0)
    assert "no header column differs" in found["header_only"]["note"]
