"""One exposure under several files, and several takes of one view: rules by hand, and an oracle of loops."""

import itertools

import numpy as np
import pandas as pd
import pytest

from mammolib.repeats import FACTS, exclude_repeats

DEFAULTS = {"patient_id": "p", "label": "solid", "ImageLaterality": "L", "ViewPosition": "CC", "reason": ""}


def rows_of(*given: dict) -> pd.DataFrame:
    """Rows of one patient and view, each file with a UID and pixels of its own unless it is given them."""
    own = [{"SOPInstanceUID": f"1.{k}", "digest": f"d{k}", "detail": ""} for k in range(len(given))]
    empty = {"StudyInstanceUID": "", "source_uid": "", "image_date": "", "acquisition_time": ""}
    return pd.DataFrame([DEFAULTS | empty | its | row for its, row in zip(own, given, strict=True)])


def reasons(*given: dict, repeated_takes: str = "last") -> list[str]:
    return exclude_repeats(rows_of(*given), repeated_takes)["reason"].tolist()


def test_equal_pixels_leave_alone_or_together():
    table = rows_of(*[{"digest": pixels} for pixels in "112233"])
    table["patient_id"], table["label"] = list("aabcdd"), ["solid"] * 5 + ["scirrhous"]
    found = exclude_repeats(table)["reason"].tolist()
    assert found == ["", "duplicate_same_patient", *["duplicate_other_patient"] * 4]
    assert (table["reason"] == "").all(), "what is passed in stays as it is"


def test_an_image_that_left_is_nobodys_duplicate():
    same = {"SOPInstanceUID": "1", "digest": "1", "source_uid": "1"}
    assert reasons(same | {"reason": "magnification_view"}, same) == ["magnification_view", ""]


def test_one_uid_with_equal_pixels_is_one_file_twice():
    assert reasons({"SOPInstanceUID": "1", "digest": "a"}, {"SOPInstanceUID": "1", "digest": "a"}) == [
        "",
        "duplicate_uid",
    ]


def test_one_uid_with_other_pixels_names_nothing():
    assert reasons(*[{"SOPInstanceUID": "1"}] * 2, {}) == ["duplicate_uid", "duplicate_uid", ""]


def test_one_file_under_two_patients_is_nobodys():
    file = {"SOPInstanceUID": "1", "digest": "a"}
    assert reasons(file, file | {"patient_id": "q"}) == ["duplicate_other_patient"] * 2
    assert reasons(file, file | {"label": "scirrhous"}) == ["duplicate_other_patient"] * 2


def test_pixels_whose_owner_is_unknown_leave_whatever_their_uid():
    a = {"SOPInstanceUID": "1", "digest": "a"}
    assert reasons(a, {"SOPInstanceUID": "1", "digest": "b"}, {"digest": "a", "patient_id": "q"}) == [
        "duplicate_uid",
        "duplicate_uid",
        "duplicate_other_patient",
    ]


@pytest.mark.parametrize(
    "same", [{"source_uid": "9"}, {"image_date": "2010-01-01", "acquisition_time": "101530.120000"}]
)
def test_an_exposure_processed_again_stays_once(same):
    assert reasons(same, same, same) == ["", "same_exposure", "same_exposure"]
    for other in ({"patient_id": "q"}, {"ImageLaterality": "R"}, {"ViewPosition": "MLO"}, {"ViewPosition": ""}):
        assert reasons(same, same | other) == ["", ""]
    assert reasons(same, same | {"label": "scirrhous"}) == ["same_exposure"] * 2, "nobody knows which label is right"


@pytest.mark.parametrize(
    ("one", "other", "reason"),
    [
        ("101530", "101530.0", "same_exposure"),
        ("101530.12", "101530.120000", "same_exposure"),
        ("101530.12", "101530.13", ""),
        ("101530", "101530.13", ""),
        ("1015", "1015", ""),
        ("", "", ""),
        ("000000", "000000", ""),
        ("000000.00", "000000.00", ""),
    ],
)
def test_times_are_one_to_their_fraction(one, other, reason):
    day = {"image_date": "2010-01-01"}
    pair = [day | {"acquisition_time": time} for time in (one, other)]
    assert reasons(*pair) == ["", reason]
    assert reasons(*[row | {"image_date": ""} for row in pair]) == ["", ""]
    assert reasons(pair[0], pair[1] | {"image_date": "2010-01-02"}) == ["", ""]


def test_of_repeated_takes_the_last_stays():
    takes = [
        {"StudyInstanceUID": "5", "image_date": "2010-01-01", "acquisition_time": time}
        for time in ("095959", "101530", "101530.5", "")
    ]
    assert reasons(*takes) == ["repeated_take", "repeated_take", "", ""], "a take without a time is not judged"
    assert reasons(*takes, repeated_takes="all") == [""] * 4
    assert reasons(*takes[::-1]) == ["", "", "repeated_take", "repeated_take"]
    for other in ({"StudyInstanceUID": "6"}, {"StudyInstanceUID": ""}, {"ViewPosition": "MLO"}, {"patient_id": "q"}):
        assert reasons(takes[0], takes[1] | other) == ["", ""]
    after_midnight = takes[0] | {"image_date": "2010-01-02", "acquisition_time": "000100"}
    assert reasons(takes[1], after_midnight) == ["repeated_take", ""]
    with pytest.raises(ValueError, match="repeated_takes: 'first' is unknown; allowed are last, all"):
        exclude_repeats(rows_of({}), "first")


def test_a_take_that_left_is_not_the_last():
    takes = [{"StudyInstanceUID": "5", "image_date": "2010-01-01", "acquisition_time": t} for t in ("095959", "101530")]
    assert reasons(takes[0], takes[1] | {"reason": "no_breast"}) == ["", "no_breast"]


def test_raster_files_are_judged_by_their_pixels_alone():
    table = rows_of(*[{"digest": pixels} for pixels in "112"]).drop(
        columns=[name for name in FACTS if name != "digest"]
    )
    assert exclude_repeats(table)["reason"].tolist() == ["", "duplicate_same_patient", ""]
    table = table.assign(SOPInstanceUID=np.nan, source_uid=None, acquisition_time=None, image_date=np.nan)
    found = exclude_repeats(table)
    assert found["reason"].tolist() == ["", "duplicate_same_patient", ""]
    assert found.columns.tolist() == table.columns.tolist()


def oracle(rows: list[dict], takes: str) -> list[str]:
    """The rules of `exclude_repeats`, image by image and pair by pair."""

    def clock(row):
        time = row["acquisition_time"]
        return float(time) if len(time.split(".")[0]) == 6 and float(time) > 0 else None

    def view(row):
        return row["patient_id"], row["ImageLaterality"], row["ViewPosition"]

    def owner(row):
        return row["patient_id"], row["label"]

    reasons = ["" for _ in rows]
    several_owners = [
        any(a["digest"] == b["digest"] and owner(a) != owner(b) for b in rows) if a["digest"] else False for a in rows
    ]

    def step(reason, same, differ=lambda a, b: False, but=()):
        left = [k for k, said in enumerate(reasons) if not said]
        out = set()
        for i, j in itertools.permutations(left, 2):
            if same(rows[i], rows[j]) and differ(rows[i], rows[j]):
                out.add(i)
        for i in out:
            reasons[i] = reason
        left = [k for k in left if k not in out]
        for place, i in enumerate(left):
            if i not in but and any(same(rows[i], rows[j]) for j in left[:place]):
                reasons[i] = reason

    def uid(a, b):
        return a["SOPInstanceUID"] == b["SOPInstanceUID"] != ""

    def source(a, b):
        return "" not in view(a) and view(a) == view(b) and a["source_uid"] == b["source_uid"] != ""

    def moment(a, b):
        known = "" not in view(a) and a["image_date"] and clock(a) is not None
        return known and (view(a), a["image_date"], clock(a)) == (view(b), b["image_date"], clock(b))

    nobodys = {k for k, said in enumerate(several_owners) if said}
    step("duplicate_uid", uid, lambda a, b: a["digest"] != b["digest"], but=nobodys)
    for k in nobodys:
        reasons[k] = reasons[k] or "duplicate_other_patient"
    step("duplicate_same_patient", lambda a, b: a["digest"] == b["digest"] != "")
    for same in (source, moment):
        step("same_exposure", same, lambda a, b: a["label"] != b["label"])
    if takes == "last":
        left = [k for k, said in enumerate(reasons) if not said and clock(rows[k]) is not None]
        for i, j in itertools.permutations(left, 2):
            a, b = rows[i], rows[j]
            same = "" not in view(a) and view(a) == view(b) and a["StudyInstanceUID"] == b["StudyInstanceUID"] != ""
            if same and (a["image_date"], clock(a)) < (b["image_date"], clock(b)):
                reasons[i] = "repeated_take"
    return reasons


def test_the_rules_agree_with_loops_on_random_tables():
    rng, met = np.random.default_rng(4), set()
    choices = {
        "patient_id": ["p", "p", "p", "q"],
        "label": ["solid", "solid", "solid", "scirrhous"],
        "ImageLaterality": ["L", "L", "L", "R", ""],
        "ViewPosition": ["CC", "CC", "CC", "MLO", ""],
        "SOPInstanceUID": [*map(str, range(60)), ""],
        "StudyInstanceUID": ["5", "5", "6", ""],
        "source_uid": ["", "", "", "", "8", "9"],
        "image_date": [*["2010-01-01"] * 4, "2010-01-02", ""],
        "acquisition_time": ["101530", "101530.0", "101530.5", "095900", "120000", "1015", "000000", ""],
        "digest": [*map(str, range(60))],
    }
    for _ in range(80):
        rows = [{name: str(rng.choice(values)) for name, values in choices.items()} for _ in range(rng.integers(1, 14))]
        for takes in ("last", "all"):
            table = pd.DataFrame(rows).assign(reason="", detail="")
            found = exclude_repeats(table, takes)["reason"].tolist()
            assert found == oracle(rows, takes), rows
            met |= set(found)
    assert met == {"", *[f"duplicate_{kind}" for kind in ("uid", "other_patient", "same_patient")]} | {
        "same_exposure",
        "repeated_take",
    }
