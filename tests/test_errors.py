"""Errors and hits in order of confidence, and patients by their number of hits: by hand."""

import pandas as pd
import pytest

from mammolib import errors

CLASSES = ["x", "y", "z"]


@pytest.fixture
def table():
    """Patient a: both views right; b: one of two; c: none of one; d: an image of each of two classes."""
    rows = [("x", 0.9, 0.1), ("x", 0.5, 0.3), ("x", 0.6, 0.2), ("x", 0.1, 0.8), ("y", 0.95, 0.05)]
    rows += [("y", 0.2, 0.7), ("x", 0.4, 0.55)]
    found = pd.DataFrame(rows, columns=["label", "p_x", "p_y"])
    found["p_z"] = 1 - found["p_x"] - found["p_y"]
    return found.assign(image_id=list("1234567"), patient=list("aabbcdd"), split="test", fold=-1)


def test_the_surest_errors_and_the_faintest_hits_come_first(table):
    before = table.copy()
    cases = errors.judged(table, CLASSES)
    pd.testing.assert_frame_equal(table, before)
    assert errors.surest_errors(cases, 2)["image_id"].tolist() == ["5", "4"]
    assert errors.surest_errors(cases, 9)["predicted"].tolist() == ["x", "y", "y"]
    assert errors.faintest_hits(cases, 2)["confidence"].tolist() == pytest.approx([0.5, 0.6])
    assert len(errors.faintest_hits(cases, 9)) + len(errors.surest_errors(cases, 9)) == len(table)
    assert errors.surest_errors(cases[cases["right"]], 2).empty


def test_patients_are_counted_by_their_hits(table):
    found = errors.patients_by_hits(errors.judged(table, CLASSES), CLASSES)
    expected = {("x", 1): [1, 0, 0], ("x", 2): [0, 1, 1], ("y", 1): [1, 1, 0]}
    assert {key: row.tolist() for key, row in found.iterrows()} == expected
    assert found.columns.tolist() == [0, 1, 2]


def test_a_case_knows_its_place_in_the_array(table):
    ids = ["d1", "7", "6", "d2", "5", "4", "3", "2", "1"]
    cohort = pd.DataFrame({"image_id": ids, "split": ["development" if i[0] == "d" else "test" for i in ids]})
    assert errors.judged(table, CLASSES, cohort)["row"].tolist() == [6, 5, 4, 3, 2, 1, 0]
