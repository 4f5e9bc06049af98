"""Judged rows to a cohort: exclusions, split, pseudonyms, the table and its counts."""

import stat

import numpy as np
import pandas as pd
import pytest
from test_registry import CLASSES, registry

from mammolib import cohort, repeats
from mammolib.pathology import DESCRIPTION
from mammolib.registry import classify


def test_the_flow_counts_reasons_in_the_order_in_which_they_are_looked_for():
    dated = classify(registry(2, diagnosis_date=["", "2018-01-01"]), CLASSES, None, "2006-01-01", "2017-12-31")
    table = registry(5).assign(reason="", detail="", digest=["a", "a", "b", "b", "c"], patient_id=list("ppqrs"))
    table = table.assign(QualityControlImage=["", "", "", "", "YES"])
    table["patient_id"], table["label"] = ["p", "p", "q", "r", "s"], "solid"
    rows, _ = cohort.judge_quality_control(repeats.exclude_repeats(table))
    looked_for = ["no_diagnosis_date", "outside_period", "duplicate_other_patient", "duplicate_same_patient"]
    looked_for.append("quality_control_image")
    rows = pd.concat([rows, dated])
    flow = cohort.flow_counts(rows, pd.DataFrame({"split": [], "patient": []}))
    assert list(flow["excluded"]) == looked_for == [name for name in cohort.REASONS if name in looked_for]


def test_a_reason_outside_the_closed_list_is_refused():
    rows = registry(1).assign(reason="", detail="")
    with pytest.raises(ValueError, match="reason: 'lost' is unknown; allowed are patient_not_listed"):
        cohort.exclude(rows, rows["reason"] == "", "lost", "")


def judged(n=6, **columns) -> pd.DataFrame:
    given = {"digest": [f"d{k}" for k in range(n)], "QualityControlImage": "NO", "reason": "", "detail": ""}
    return registry(n).assign(**(given | columns))


def test_an_image_without_a_side_leaves_where_it_must_have_one():
    rows = cohort.exclude_without_side(judged(3, ImageLaterality=["L", "", ""], reason=["", "", "no_breast"]))
    assert rows["reason"].tolist() == ["", "laterality_unknown", "no_breast"]


def test_quality_control_images_make_a_cohort_synthetic_or_leave_it():
    _, synthetic = cohort.judge_quality_control(judged(2, QualityControlImage=["YES", "YES"]))
    assert synthetic
    unread = judged(2, QualityControlImage=["YES", None], reason=["", "missing_file"])
    assert cohort.judge_quality_control(unread)[1]
    rows, synthetic = cohort.judge_quality_control(judged(2, QualityControlImage=["YES", "NO"]))
    assert rows["reason"].tolist() == ["quality_control_image", ""]
    assert not synthetic


def test_an_empty_cohort_and_a_class_without_image_are_named():
    rows = judged(3, reason=["unreadable", "no_breast", "unreadable"])
    with pytest.raises(ValueError, match="none of 3 images is left; excluded: unreadable 2, no_breast 1"):
        cohort.require_images(rows, CLASSES)
    with pytest.raises(ValueError, match="no image of class scirrhous among 2"):
        cohort.require_images(judged(2), CLASSES)
    cohort.require_images(judged(3), CLASSES)


def patients_of_six(n=600) -> pd.DataFrame:
    rows = registry(n, patient_id=[f"p{k // 6:03d}" for k in range(n)])
    return rows.assign(label=[CLASSES[k // 6 % 3] for k in range(n)])


def test_the_split_is_by_patient_and_by_class():
    rows = patients_of_six()
    parts = cohort.split_images(rows, 0.2, seed=1)
    assert parts.groupby(rows["patient_id"]).nunique().eq(1).all()
    shares = (parts == "test").groupby(rows["label"]).mean()
    np.testing.assert_allclose(shares, 0.2, atol=0.02)  # 33 or 34 patients a class
    assert parts.equals(cohort.split_images(rows, 0.2, 1, "by_patient"))
    assert not parts.equals(cohort.split_images(rows, 0.2, seed=2))
    assert (cohort.split_images(rows, 0.0, seed=1) == "development").all()
    with pytest.raises(ValueError, match="3 patients can't be split by class"):
        cohort.split_images(registry(3), 0.2, seed=1)


def test_the_registrys_split_counts_unless_another_is_asked_for():
    rows = patients_of_six()
    given = rows.assign(split=["test", "development"] * 300)
    for split in (None, "from_registry"):
        assert cohort.split_images(given, 0.2, 1, split).equals(given["split"])
    assert cohort.split_images(given, 0.2, 1, "by_patient").equals(cohort.split_images(rows, 0.2, 1))
    with pytest.raises(ValueError, match="from_registry, but the registry's column split is empty"):
        cohort.split_images(rows, 0.2, 1, "from_registry")
    with pytest.raises(ValueError, match="split: 'by_moon' is unknown; allowed are by_patient, by_date"):
        cohort.split_images(rows, 0.2, 1, "by_moon")


def test_by_date_the_patients_diagnosed_last_are_the_test_part():
    rows = patients_of_six(60)  # p000 to p009
    days = [f"2010-01-{1 + k // 6:02d}" for k in range(60)]
    rows["diagnosis_date"] = days
    assert set(rows["patient_id"][cohort.split_images(rows, 0.2, 1, "by_date") == "test"]) == {"p008", "p009"}
    later = rows.assign(diagnosis_date=["2030-01-01", *days[1:]])  # a second cancer of p000: the first date counts
    assert cohort.split_images(later, 0.2, 1, "by_date").equals(cohort.split_images(rows, 0.2, 1, "by_date"))
    one_day = rows.assign(diagnosis_date=[day if day < "2010-01-08" else "2010-01-08" for day in days])
    test = cohort.split_images(one_day, 0.2, 1, "by_date") == "test"
    assert set(rows["patient_id"][test]) == {"p007", "p008", "p009"}, "patients of one day stay together"
    with pytest.raises(ValueError, match="by_date, but 2 of 10 patients have no diagnosis_date"):
        cohort.split_images(rows.assign(diagnosis_date=["", *days[1:48], *[""] * 12]), 0.2, 1, "by_date")
    with pytest.raises(ValueError, match="by_date leaves no development image of class scirrhous; allowed: a smaller"):
        cohort.split_images(rows.assign(label=["solid"] * 54 + ["scirrhous"] * 6), 0.1, 1, "by_date")
    with pytest.raises(ValueError, match="by_date leaves no development image of class scirrhous, solid, tubule"):
        cohort.split_images(rows.assign(diagnosis_date="2010-01-01"), 0.1, 1, "by_date")


def test_by_image_a_patient_can_be_in_both_parts():
    rows = patients_of_six()
    parts = cohort.split_images(rows, 0.2, 1, "by_image")
    assert (parts == "test").sum() == 120
    np.testing.assert_allclose((parts == "test").groupby(rows["label"]).mean(), 0.2, atol=0.005)
    assert parts.groupby(rows["patient_id"]).nunique().gt(1).sum() > 60  # 1 - 0.8^6 - 0.2^6 = 0.74 of 100 are expected
    with pytest.raises(ValueError, match="6 images can't be split by class"):
        cohort.split_images(registry(6), 0.2, 1, "by_image")


def test_pseudonyms_are_sequential_seeded_continued_and_private(tmp_path):
    key = tmp_path / "private" / "key.csv"
    first = cohort.name_rows(registry(4, patient_id=["a", "a", "b", "c"]), key, seed=5)
    assert sorted(first["image_id"]) == ["I0001", "I0002", "I0003", "I0004"]
    assert sorted(set(first["patient"])) == ["P0001", "P0002", "P0003"]
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(key.parent.stat().st_mode) == 0o700
    grown = cohort.name_rows(registry(6, patient_id=["z", "a", "a", "b", "c", "c"]), key, seed=99)
    again = dict(zip(first["image_path"], first["image_id"], strict=True))
    assert grown["image_id"][:4].tolist() == [again[path] for path in grown["image_path"][:4]]
    assert set(grown["image_id"][4:]) == {"I0005", "I0006"}
    assert grown["patient"][0] == "P0004"
    lines = key.read_text().splitlines(keepends=True)
    key.write_text("".join(line for line in lines if not line.startswith("patient,b,")))  # withdrew consent
    later = cohort.name_rows(registry(4, patient_id=["a", "c", "z", "new"]), key, seed=5)["patient"]
    assert later[3] == "P0005", "no name is given twice"
    orders = [cohort.name_rows(registry(40), tmp_path / str(seed) / "key.csv", seed)["image_id"] for seed in (1, 1, 2)]
    assert orders[0].equals(orders[1])
    assert not orders[0].equals(orders[2])


@pytest.mark.parametrize(
    "lines",
    [
        "patient,a",
        "doctor,a,P0001",
        "patient,a,P0001\npatient,b,P0001",
        "patient,a,P0001\npatient,b,I0009",
        "patient,a,P0001\npatient,b,P-3",
        "patient,a,P1\npatient,a,P2",
        "image,a,",
        "\x00",
    ],
)
def test_a_damaged_key_is_refused_without_its_content(tmp_path, lines):
    (tmp_path / "key.csv").write_text(f"kind,original,pseudonym\n{lines}\n")
    with pytest.raises(ValueError, match=r"key\.csv: .*put back a copy$") as caught:
        cohort.name_rows(registry(2), tmp_path / "key.csv", 1)
    assert "P0001" not in str(caught.value)


ODD = [
    "a,b",
    'a"b"',
    "a\rb",
    "a\nb",
    "a\r\nb",
    "\n",
    "a\u2028b",
    "a\x85b",
    "a\x1cb",
    "a\x0cb",
    " a ",
    "'a'",
    "硬",
    "",
    "x",
]


def test_names_with_ends_of_lines_and_commas_keep_their_pseudonyms(tmp_path):
    rows = registry(len(ODD), patient_id=ODD, image_path=ODD[::-1])
    first = cohort.name_rows(rows, tmp_path / "key.csv", seed=1)
    content = (tmp_path / "key.csv").read_bytes()
    again = cohort.name_rows(rows, tmp_path / "key.csv", seed=2)
    pd.testing.assert_frame_equal(again, first)
    assert (tmp_path / "key.csv").read_bytes() == content
    assert first["image_id"].nunique() == first["patient"].nunique() == len(ODD)


def test_an_older_key_is_continued(tmp_path):
    table = pd.DataFrame([("patient", name, f"P{k:04d}") for k, name in enumerate(ODD, start=1) if "\r" not in name])
    table.to_csv(tmp_path / "key.csv", index=False, header=["kind", "original", "pseudonym"])  # as it was written
    rows = cohort.name_rows(registry(len(table), patient_id=table[1]), tmp_path / "key.csv", seed=1)
    assert rows["patient"].tolist() == table[2].tolist()


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ('"patient","a\nb","P0001"\n"patient","c","P1"\n', 4),
        ('"patient","a\nb","P0001"\n"patient","a\nb","P0002"\n', 4),
        ('patient,a,P0001\npatient,"b,P0002\npatient,c,P0003\n', 3),
        ('patient,a,P0001\npatient,"b"b,P0002\n', 3),
        ("patient,a,P0001\n\n", 3),
        ("patient,a,P0001\npatient,a\rb,P0002\n", 3),
    ],
)
def test_the_line_at_which_a_key_is_damaged_is_named(tmp_path, text, number):
    (tmp_path / "key.csv").write_bytes(b"kind,original,pseudonym\n" + text.encode())
    with pytest.raises(ValueError, match=rf"key\.csv: line {number} (is damaged|has an original).*; put back a copy$"):
        cohort.name_rows(registry(2), tmp_path / "key.csv", 1)


def test_hashes_are_keyed(tmp_path):
    digests, key = pd.Series(["a", "b", "a"]), tmp_path / "private" / "hash_key.txt"
    hospital = cohort.keyed(digests, key, 1)
    assert hospital[0] == hospital[2] != hospital[1]
    assert hospital.equals(cohort.keyed(digests, key, 2)), "the key is continued"
    assert not hospital.equals(cohort.keyed(digests, tmp_path / "other.txt", 1))
    assert cohort.keyed(digests, None, 1).equals(cohort.keyed(digests, None, 1))
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    for damaged in ("", "0" * 63, "0" * 64 + "\n"):
        key.write_text(damaged)
        with pytest.raises(ValueError, match=r"hash_key\.txt: not the key of the hashes"):
            cohort.keyed(digests, key, 1)


@pytest.mark.parametrize("text", ["", "patient,a,P0001\npatient,b,P0002\n"])
def test_a_key_without_its_first_line_is_not_taken_for_a_new_one(tmp_path, text):
    (tmp_path / "key.csv").write_text(text)
    with pytest.raises(ValueError, match=r"key\.csv: line 1 is damaged"):
        cohort.name_rows(registry(3), tmp_path / "key.csv", seed=1)
    assert (tmp_path / "key.csv").read_text() == text


def read_rows(n=9, **columns) -> pd.DataFrame:
    """Rows as they are once their files have been read."""
    rows = classify(judged(n), CLASSES).assign(patient=[f"P{k}" for k in range(n)], Manufacturer="GE")
    rows = rows.assign(image_id=[f"I{n - k}" for k in range(n)], rows=20.0, columns=10.0, slot=np.arange(n) + 0.0)
    rows = rows.assign(**dict.fromkeys(cohort.CROP, 1.0), flipped=False, breast_area_mm2=5.0)
    rows = rows.assign(pixel_spacing_mm=0.1, pixel_spacing_source="PixelSpacing")
    return rows.assign(StudyInstanceUID=[f"1.2.{k // 2}" for k in range(n)], image_date="2009-04-30", **columns)


def test_the_table_holds_what_stays_in_order_and_no_identity():
    rows = read_rows(reason=["", "no_breast", *[""] * 7], split=["test", *["development"] * 8], age="50")
    rows.loc[3, ["StudyInstanceUID", "image_date"]] = None
    table = cohort.cohort_table(rows, None, 0.2, 1)
    assert table.columns.tolist() == [*cohort.COLUMNS, "slot", "study", "year", *DESCRIPTION]
    assert table["image_id"].tolist() == ["I1", "I2", "I3", "I4", "I5", "I6", "I7", "I9"]
    assert table["slot"].tolist() == [8, 7, 6, 5, 4, 3, 2, 0]
    assert table["split"].tolist() == ["development"] * 7 + ["test"]
    assert table["study"].tolist() == ["S0000", "S0001", "S0001", "S0002", "S0002", "", "S0004", "S0005"]
    assert table["year"].tolist() == ["2009"] * 5 + ["2010"] + ["2009"] * 2
    assert not table.astype(str).apply(lambda column: column.str.contains(r"p\d|1\.2\.|png|04-30")).any(axis=None)
    raster = rows.drop(columns=["StudyInstanceUID", "image_date"])
    table = cohort.cohort_table(raster, None, 0.2, 1)
    assert set(table["study"]) == {""}
    assert set(table["year"]) == {"2010"}
    assert set(cohort.cohort_table(raster.assign(diagnosis_date=""), None, 0.2, 1)["year"]) == {""}


def test_the_flow_counts_what_came_and_what_stays():
    rows = read_rows(reason=["", "no_breast", "missing_file", *[""] * 6], split=["test", *["development"] * 8])
    assert cohort.flow_counts(rows, cohort.cohort_table(rows, None, 0.2, 1)) == {
        "registry_rows": 9,
        "included": 7,
        "patients": 7,
        **{"development_images": 6, "test_images": 1, "development_patients": 6, "test_patients": 1},
        "excluded": {"missing_file": 1, "no_breast": 1},
    }
