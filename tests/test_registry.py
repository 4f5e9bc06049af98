"""Registry to judged rows: what is wrong with it is told at once, words and dates become reasons, circles fit."""

import re

import pandas as pd
import pytest

from mammolib.pathology import DESCRIPTION
from mammolib.registry import check_lesions, classify, name_lesions, read_registry
from mammolib.words import folded

CLASSES = ["tubule_forming", "solid", "scirrhous"]


def registry(n=6, **columns) -> pd.DataFrame:
    """n images of n patients, labels the classes in turn; columns given replace these."""
    table = pd.DataFrame({"patient_id": [f"p{k}" for k in range(n)], "image_path": [f"{k}.png" for k in range(n)]})
    table = table.assign(label=[CLASSES[k % 3] for k in range(n)], diagnosis_date="2010-05-01", split="")
    table = table.assign(ImageLaterality="L", ViewPosition="CC", pixel_spacing_mm="0.2")
    return table.assign(**columns)


WORDS = {folded(word): meaning for word, meaning in (("硬癌", "scirrhous"), ("充実腺管癌", "solid"))}
WORDS |= {folded("粘液癌"): "other_histology", folded("NST"): "subtype_not_stated"}


def test_a_word_gives_a_class_or_a_reason():
    said = ["硬がん", "充実腺管ｶﾞﾝ", "粘液癌", "NST", "硬癌 + 充実腺管癌", "NST(硬癌)"]
    rows = classify(registry(6, label=said), CLASSES, WORDS)
    assert rows["label"].tolist() == ["scirrhous", "solid", "", "", "", "scirrhous"]
    assert rows["reason"].tolist() == ["", "", "other_histology", "subtype_not_stated", "two_types", ""]
    assert set(rows["detail"]) == {"", "by the label's word"}


def test_unknown_words_are_listed_with_their_counts():
    with pytest.raises(ValueError, match="label") as caught:
        classify(registry(4, label=["硬癌", "謎", "謎", "x"]), CLASSES, WORDS)
    assert "'謎' (2), 'x' (1)" in str(caught.value)
    with pytest.raises(ValueError, match=r"'硬癌' \(1\); known are words for tubule_forming, solid, scirrhous"):
        classify(registry(2, label=["solid", "硬癌"]), CLASSES)


def test_a_row_keeps_the_reason_it_comes_with_and_is_asked_nothing():
    given = {"reason": ["not_image", "", "other_breast", ""], "detail": ["SOP Class UID (0008,0016)", "", "d", ""]}
    table = registry(4, label=["", "充実腺管癌", "謎", "粘液癌"], patient_id=["", "b", "c", "d"], **given)
    table["diagnosis_date"] = ["never", "2010-01-01", "2030-01-01", "2030-01-01"]
    rows = classify(table, CLASSES, WORDS, "2006-01-01", "2017-12-31")
    assert rows["reason"].tolist() == ["not_image", "", "other_breast", "outside_period"]
    assert rows["detail"][:3].tolist() == ["SOP Class UID (0008,0016)", "", "d"]
    assert rows["label"].tolist() == ["", "solid", "", ""]
    with pytest.raises(ValueError, match="'謎' \\(1\\)"):
        classify(table.assign(reason=""), CLASSES, WORDS)
    everything_out = classify(table.assign(reason="not_image", label=""), CLASSES, WORDS)
    assert (everything_out["reason"] == "not_image").all()


def test_descriptions_are_read_into_closed_lists():
    rows = classify(registry(2, age=["50", ""], specimen=["生検", "core"], breast_density=["C", ""]), CLASSES)
    assert rows[list(DESCRIPTION)].to_numpy().tolist() == [["50", "c", "", "core"], ["", "", "", "core"]]
    assert (classify(registry(2), CLASSES)[list(DESCRIPTION)] == "").all(axis=None)
    with pytest.raises(ValueError, match="specimen: 1 values are unknown in row 2; allowed: core") as caught:
        classify(registry(2, age=["50", "Ann Lee"], specimen=["Ann Lee", ""]), CLASSES)
    assert "column age: 1 values are unknown in row 3" in str(caught.value)
    assert "Ann" not in str(caught.value)


def test_a_path_under_two_labels_is_a_contradiction_but_two_dates_of_a_patient_are_none():
    table = registry(4, patient_id=["a", "a", "b", "b"], label="solid", image_path=["1", "1", "2", "2"])
    table["diagnosis_date"] = ["2010-01-01", "2012-01-01"] * 2
    with pytest.raises(ValueError, match="2 rows repeat a path, 0 paths with another patient or label"):
        classify(table, CLASSES)
    with pytest.raises(ValueError, match="2 rows repeat a path, 1 paths with another"):
        classify(table.assign(label=["solid", "scirrhous", "solid", "solid"]), CLASSES)
    with pytest.raises(ValueError, match="2 rows repeat a path, 2 paths with another"):
        classify(table.assign(patient_id=["a", "b", "c", "d"]), CLASSES)
    assert (classify(table.assign(image_path=["1", "2", "3", "4"]), CLASSES)["reason"] == "").all()


def test_an_empty_registry_is_refused():
    with pytest.raises(ValueError, match="registry: no row; at least one image is needed"):
        classify(registry(0), CLASSES)


@pytest.mark.parametrize(
    ("date", "reason"),
    [
        ("2005-12-31", "outside_period"),
        ("2006-01-01", ""),
        ("2006/1/5", ""),
        ("2017-12-31", ""),
        ("2018-01-01", "outside_period"),
        ("", "no_diagnosis_date"),
    ],
)
def test_the_period_has_both_its_ends(date, reason):
    rows = classify(registry(1, diagnosis_date=date), CLASSES, None, "2006-01-01", "2017-12-31")
    assert rows["reason"].tolist() == [reason]
    assert classify(registry(1, diagnosis_date=date), CLASSES)["reason"].tolist() == [""]


@pytest.mark.parametrize(
    ("first", "last", "date", "period"),
    [
        ("2006-01-01", "2017-12-31", "2018-01-01", "2006-01-01 to 2017-12-31"),
        ("2006-01-01", None, "2005-01-01", "2006-01-01 to no limit"),
        (None, "2017-12-31", "2018-01-01", "from the first to 2017-12-31"),
    ],
)
def test_a_period_with_one_end_is_told_in_words(first, last, date, period):
    rows = classify(registry(1, diagnosis_date=date), CLASSES, None, first, last)
    assert rows[["reason", "detail"]].to_numpy().tolist() == [["outside_period", period]]


@pytest.mark.parametrize(
    "date", ["now", "2011", "2011-05", "2011-05-30T10:00+09:00", "2011-02-30", "2011-150", "18.1.5", "H32.1.5"]
)
def test_only_whole_days_are_dates(date):
    with pytest.raises(ValueError, match="diagnosis_date: 1 values are unknown in row 2; allowed: 2006-01-05"):
        classify(registry(2, diagnosis_date=[date, "2011-05-30T10:00Z"[:10]]), CLASSES)
    with pytest.raises(ValueError, match=f"diagnosed_to is '{re.escape(date)}'; allowed: a day"):
        classify(registry(1), CLASSES, None, None, date)


def test_all_faults_of_a_registry_come_together_and_name_no_patient():
    faulty = registry(
        patient_id=["p0", "", "p2", "p3", "p4", "p5"],
        image_path=["0.png", "0.png", "2.png", "3.png", "4.png", "5.png"],
        diagnosis_date=["2010-01-01", "31.5.2010", "", "", "", ""],
        pixel_spacing_mm=["0.2", "wide", "-1", "", "", ""],
        split=["test", "train", "development", "", "test", "test"],
        ImageLaterality=["L", "Ann Lee", "left", "", "R", "右"],
        ViewPosition=["CC", "cc", "AP", "Ann Lee", "", "MLO"],
    )
    with pytest.raises(ValueError, match="registry") as caught:
        classify(faulty, CLASSES)
    text = str(caught.value)
    assert len(text.splitlines()) == 8
    for part in (
        "patient_id: empty in row 3; ",
        "image_path: 1 rows repeat",
        "date: 1 values",
        "spacing_mm: 2 ",
        "ImageLaterality: 1 values are unknown in row 3; allowed: L, R, left",
        "ViewPosition: 2 values are unknown in rows 4, 5; allowed: CC, MLO",
        "split: 1 values are unknown in row 3; allowed: development, test",
        "empty in 1 rows; given",
    ):
        assert part in text
    assert not any(secret in text for secret in ("31.5", "0.png", "p3", "Ann"))


def test_ids_that_are_written_in_two_ways_are_refused():
    with pytest.raises(ValueError, match="patient_id: in rows 2, 4 ids differ in zeros, width or spaces alone"):
        classify(registry(3, patient_id=["0017", "2", "１７"]), CLASSES)


def test_rows_keep_their_numbers_where_lines_are_empty(tmp_path):
    path = tmp_path / "registry.csv"
    path.write_text("patient_id,image_path,label,split\na,1.png,solid,test\n\n,,,\nb,2.png,solid,x\n")
    rows = read_registry(path)
    with pytest.raises(ValueError, match="column split: 1 values are unknown in row 5"):
        classify(rows, CLASSES)
    assert classify(rows.assign(split="test"), CLASSES).index.tolist() == [0, 1]


def test_words_for_sides_become_the_codes_of_the_header():
    rows = classify(registry(4, ImageLaterality=["left", "右", "", "r"], ViewPosition=["cc", "MLO", "", "ml"]), CLASSES)
    assert rows["ImageLaterality"].tolist() == ["L", "R", "", "R"]
    assert rows["ViewPosition"].tolist() == ["CC", "MLO", "", "ML"]


def test_a_registry_is_read_in_its_encoding_or_says_what_is_wrong(tmp_path):
    path = tmp_path / "registry.csv"
    path.write_bytes("patient_id,image_path,label\n001, a.dcm ,硬癌\n".encode("cp932"))
    row = read_registry(path, "cp932").loc[0]
    assert (row["patient_id"], row["image_path"], row["label"], row["split"]) == ("001", "a.dcm", "硬癌", "")
    with pytest.raises(ValueError, match=r"registry\.csv: not utf-8-sig; set `encoding`"):
        read_registry(path)
    with pytest.raises(ValueError, match="encoding 'klingon'"):
        read_registry(path, "klingon")
    path.write_text("patient_id,path\n1,a\n")
    with pytest.raises(ValueError, match="no column image_path, label among 2; is row 1 the header"):
        read_registry(path)
    with pytest.raises(FileNotFoundError, match=r"none\.csv"):
        read_registry(tmp_path / "none.csv")


def judged(n=6, **columns) -> pd.DataFrame:
    given = {"digest": [f"d{k}" for k in range(n)], "QualityControlImage": "NO", "reason": "", "detail": ""}
    return registry(n).assign(**(given | columns))


def patients_of_six(n=600) -> pd.DataFrame:
    rows = registry(n, patient_id=[f"p{k // 6:03d}" for k in range(n)])
    return rows.assign(label=[CLASSES[k // 6 % 3] for k in range(n)])


def test_lesions_keep_to_the_images_that_stay_and_to_the_registry():
    rows = judged(2, reason=["", "unreadable"]).assign(image_id=["I2", "I1"], rows=20, columns=10)
    lesions = pd.DataFrame({"image_path": ["1.png", "0.png"], "x": ["1", "2.5"], "y": "3", "radius": "4"})
    assert name_lesions(lesions, rows).to_numpy().tolist() == [["I2", 2.5, 3, 4]]
    assert name_lesions(lesions[:0], rows).empty
    with pytest.raises(ValueError, match="in 1 rows; image_path is not among the images in 1 rows"):
        check_lesions(lesions.assign(image_path=["9.png", "0.png"], radius=["4", "0"]), rows)
    with pytest.raises(ValueError, match=r"no numbers .* in 2 rows"):
        check_lesions(lesions.assign(x="inf"), rows)
    name_lesions(lesions.assign(x="9", y="19"), rows)
    for wrong in ({"x": "10"}, {"y": "20"}, {"x": "-1"}, {"radius": "21"}):
        with pytest.raises(ValueError, match="1 circles have their centre outside"):
            name_lesions(lesions.assign(**wrong), rows)


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ("patient_id,image_path,label,Split", "column 'Split' is not read; allowed is split"),
        ("patient_id,image_path,label ,split", "column 'label ' is not read; allowed is label"),
        ("patient_id,image_path,label,imagelaterality", "'imagelaterality' is not read; allowed is ImageLaterality"),
        ("patient_id,image_path,label,label", "column label stands there twice"),
    ],
)
def test_a_column_of_the_registry_is_never_passed_over_for_its_spelling(tmp_path, header, says):
    (tmp_path / "registry.csv").write_text(f"{header}\na,1.png,x,test\n")
    with pytest.raises(ValueError, match=says):
        read_registry(tmp_path / "registry.csv")
    (tmp_path / "registry.csv").write_text("patient_id,image_path,label,split,remark\na,1.png,x,test,none\n")
    assert read_registry(tmp_path / "registry.csv")["split"].tolist() == ["test"]
