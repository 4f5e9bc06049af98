"""A pathology list: read in its encodings and words, its faults told together, and a row made of each breast."""

import numpy as np
import pandas as pd
import pytest

from mammolib import pathology, words

CLASSES = ["tubule_forming", "solid", "scirrhous"]
HEADER = "patient_id,laterality,diagnosis_date,histology,specimen,neoadjuvant,age,lesion_size_mm,area_mm2\n"
JAPANESE = "患者ID,左右,診断日,組織型,検体,術前化学療法,年齢,腫瘍径,乳腺濃度,備考\n"


@pytest.fixture(scope="module")
def known(request):
    return words.read_label_map(request.config.rootpath / "params/labels_idc.csv", CLASSES)


@pytest.fixture
def read(tmp_path):
    def read(text: str, written: str = "utf-8", encoding: str = "utf-8-sig") -> pd.DataFrame:
        (tmp_path / "pathology.csv").write_bytes(text.encode(written))
        return pathology.read_pathology(tmp_path / "pathology.csv", encoding)

    return read


def lesion(histology="硬癌", date="2010-05-01", specimen="", **columns) -> dict:
    """One row of a list, of the left breast of patient 1; columns given replace these."""
    row = dict.fromkeys(words.COLUMN_NAMES, "")
    row |= {"patient_id": "1", "laterality": "L", "diagnosis_date": date, "histology": histology, "specimen": specimen}
    return row | columns


def breast(known, *lesions: dict) -> dict:
    """The row of one breast."""
    (row,) = pathology.one_row_a_breast(pd.DataFrame(lesions), known).to_dict("records")
    return row


@pytest.mark.parametrize(
    ("written", "encoding"),
    [("utf-8", "utf-8-sig"), ("utf-8-sig", "utf-8-sig"), ("utf-8-sig", "utf-8"), ("cp932", "cp932")],
)
def test_a_japanese_list_is_read_in_its_encodings_words_and_eras(read, written, encoding):
    text = JAPANESE + "００７ ,左,H18.1.5, 硬がん ,針生検,無,５３歳,15.50mm,不均一高濃度,\n\n"
    text += "8,Rt.,平成元年1月8日,a1,手術,有り,,,,x\n,,,,,,,,,\n"
    rows = read(text, written, encoding)
    assert list(rows.columns) == list(words.COLUMN_NAMES)
    assert rows.to_numpy().tolist() == [
        ["００７ ", "L", "2006-01-05", "硬がん", "core", "no", "53", "15.5", "", "c"],
        ["8", "R", "1989-01-08", "a1", "surgical", "yes", "", "", "", ""],
    ]


@pytest.mark.parametrize(("written", "named"), [("cp932", "utf-8-sig"), ("utf-8", "ascii")])
def test_a_wrong_encoding_is_named(read, written, named):
    with pytest.raises(ValueError, match=rf"pathology\.csv: not {named}; set `encoding`"):
        read(JAPANESE + "1,左,H18.1.5,硬癌,,,,,,\n", written, named)


def test_a_list_without_optional_columns_and_values_is_read(read):
    rows = read("patient_id,laterality,diagnosis_date,histology\n1,R,,硬癌\n2,L,不明,不明\n")
    assert rows["diagnosis_date"].tolist() == ["", ""]
    assert rows["histology"].tolist() == ["硬癌", "不明"]
    assert (
        (rows[["specimen", "neoadjuvant", "age", "lesion_size_mm", "area_mm2", "breast_density"]] == "")
        .to_numpy()
        .all()
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "Suzuki,L,2010-01-01,硬癌\n1,L,2010-01-01,硬癌\n",
            r"no column patient_id \(or patientid,患者id.*among 4; is row 1",
        ),
        ("patient_id,laterality,histology\n1,L,x\n", r"no column diagnosis_date \(or biopsy_date,生検日"),
        (
            "カルテ番号,患者ID,laterality,diagnosis_date,histology\n",
            r"columns カルテ番号, 患者ID are read as patient_id",
        ),
        (HEADER[:-1] + ",age\n", r"columns age, age\.1 are read as age; allowed is one"),
        (HEADER, "no row; at least one lesion"),
        (HEADER + "\n,,,,,,,,\n", "no row; at least one lesion"),
        (HEADER + "1,L,2010-01-01,x,,,,,,,\n", "more values than the header"),
    ],
)
def test_a_list_that_is_none_is_refused_without_a_value(read, text, says):
    with pytest.raises(ValueError, match=says) as caught:
        read(text)
    assert "Suzuki" not in str(caught.value)


def test_a_column_of_our_own_name_is_read_and_others_that_could_be_meant_are_not(read, tmp_path):
    text = "patient_id,患者ID,左右,diagnosis_date,病理診断日,histology,病理診断,備考\n1,9,L,2010-01-01,x,硬癌,y,z\n"
    rows = read(text)
    assert rows.loc[0, ["patient_id", "diagnosis_date", "histology"]].tolist() == ["1", "2010-01-01", "硬癌"]
    assert pathology.columns_line(tmp_path / "pathology.csv") == (
        "columns read: patient_id, 左右 as laterality, diagnosis_date, histology; "
        "not read: 患者ID, 病理診断日, 病理診断, 備考"
    )


def test_ids_that_a_spreadsheet_changed_are_refused(read):
    text = "patient_id,laterality,diagnosis_date,histology\n"
    for changed in ("17.0", "3.42E+08", '"=""17"""'):
        with pytest.raises(ValueError, match="column patient_id: no value that is allowed in row 2"):
            read(text + f"{changed},L,2010-01-01,硬癌\n")
    assert read(text + "E17.5,L,2010-01-01,硬癌\n")["patient_id"].tolist() == ["E17.5"]


def test_a_lesion_without_a_word_has_no_subtype_and_leaves_the_word_to_others(known):
    assert breast(known, lesion("", specimen="core"))["reason"] == "subtype_not_stated"
    row = breast(known, lesion("", "2010-09-01", "surgical"), lesion("硬癌", specimen="core"))
    assert (row["label"], row["reason"]) == ("硬癌", "")


def test_all_faults_of_a_list_come_together_by_row_and_column_and_show_no_value(read):
    text = HEADER + (
        "1001,L,2010-05-01,硬癌,core,no,50,10,\n"  # row 2
        "1001,L,2010-05-01,充実型,core,yes,51,20,\n"  # 3: contradicts 2
        "\n"
        " ,両側,2010-13-09,,Suzuki,Suzuki,150,2in,wide\n"  # 5
        "1002,R,18.5.31,硬癌,,,,,\n"  # 6
        "1003,R,2011-07-08,硬癌,,,,,\n"
        "1003,R,2011-07-08,硬癌,,,,,\n"  # 8
        "1003,R,H23.7.8,硬癌,,,,,\n"  # 9
    )
    with pytest.raises(ValueError, match="patient_id") as caught:
        read(text)
    lines = str(caught.value).split("pathology.csv: ")[1].splitlines()
    assert [line.split(";")[0] for line in lines] == [
        "column patient_id: no value that is allowed in row 5",
        "column laterality: no value that is allowed in row 5",
        "column diagnosis_date: no value that is allowed in rows 5, 6",
        "column specimen: no value that is allowed in row 5",
        "column neoadjuvant: no value that is allowed in row 5",
        "column age: no value that is allowed in row 5",
        "column lesion_size_mm: no value that is allowed in row 5",
        "column area_mm2: no value that is allowed in row 5",
        "column age: rows 2, 3 contradict each other",
        "column neoadjuvant: rows 2, 3 contradict each other",
        "rows 8, 9: equal to an earlier row",
    ]
    assert all("allowed" in line.split("; ", 1)[1] for line in lines)
    assert not any(secret in str(caught.value) for secret in ("100", "Suzuki", "2010", "18.5.31", "2011"))


def test_many_faulty_rows_are_counted_after_the_tenth(read):
    with pytest.raises(ValueError, match=r"column laterality: .* in rows 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 5 more;"):
        read(HEADER + "".join(f"{k},x,2010-01-01,硬癌,,,,,\n" for k in range(15)))


def test_rows_that_differ_in_any_column_are_lesions_of_their_own(read):
    text = "patient_id,laterality,diagnosis_date,histology,No\n1,L,2010-01-01,硬癌,{}\n1,L,2010-01-01,硬癌,{}\n"
    assert len(read(text.format("A", "B"))) == 2
    with pytest.raises(ValueError, match=r"row 3: equal to an earlier row"):
        read(text.format("A", "A"))


def test_the_surgical_type_counts_unless_treatment_came_between(known):
    core, surgery = lesion("硬癌", "2010-05-01", "core", age="50"), lesion("充実型", "2010-09-01", "surgical", age="51")
    row = breast(known, surgery, core)
    assert (row["label"], row["specimen"], row["diagnosis_date"]) == ("充実型", "surgical", "2010-05-01")
    assert (row["surgery_date"], row["age"], row["list_rows"], row["core_differs"]) == ("2010-09-01", "50", 2, True)
    for where in ({"neoadjuvant": "yes"}, {"neoadjuvant": "no"}):
        row = breast(known, core | {"neoadjuvant": "no"}, surgery | where)
        treated = where["neoadjuvant"] == "yes"
        assert (row["label"], row["neoadjuvant"]) == (("硬癌", "yes") if treated else ("充実型", "no"))
    assert not breast(known, core, surgery | {"histology": "scirrhous"})["core_differs"]


def test_a_specimen_without_a_subtype_leaves_the_word_to_the_other_but_not_after_treatment(known):
    core, surgery = lesion("硬癌", "2010-05-01", "core"), lesion("IDC", "2010-09-01", "surgical")
    assert breast(known, core, surgery)["label"] == "硬癌"
    core, surgery = core | {"histology": "IDC"}, surgery | {"histology": "硬癌"}
    assert breast(known, core, surgery)["label"] == "硬癌"
    assert breast(known, core, surgery | {"neoadjuvant": "yes"})["label"] == "IDC"
    assert breast(known, core, surgery | {"histology": "NST"})["label"] == "NST"
    assert breast(known, core | {"histology": "a1"}, surgery | {"histology": "粘液癌"})["label"] == "粘液癌"


@pytest.mark.parametrize(
    ("first", "second", "label"),
    [
        ({"lesion_size_mm": "10"}, {"lesion_size_mm": "9.5"}, "硬癌"),
        ({"lesion_size_mm": "9"}, {"lesion_size_mm": "10"}, "充実型"),
        ({"lesion_size_mm": "9", "area_mm2": "50"}, {"lesion_size_mm": "10", "area_mm2": "40"}, "硬癌"),
        ({"lesion_size_mm": "9", "area_mm2": "50"}, {"lesion_size_mm": "10"}, "充実型"),
        ({"lesion_size_mm": "10"}, {"lesion_size_mm": "10"}, ""),
        ({"lesion_size_mm": "9", "area_mm2": "50"}, {"lesion_size_mm": "10", "area_mm2": "50"}, ""),
        ({"lesion_size_mm": "10"}, {}, ""),
        ({}, {}, ""),
    ],
)
def test_of_two_types_the_larger_counts_where_it_is_known(known, first, second, label):
    row = breast(known, lesion("硬癌", **first), lesion("充実型", **second))
    assert (row["label"], row["types"]) == (label, 2)
    assert row["reason"] == ("" if label else "two_types")
    assert bool(row["detail"]) == (not label)


def test_a_lesion_without_invasion_counts_where_it_is_the_only_one(known):
    beside, large = lesion("硬癌", lesion_size_mm="8"), lesion("線維腺腫", lesion_size_mm="30")
    assert breast(known, beside, large)["label"] == "硬癌"
    assert breast(known, lesion("硬癌"), lesion("DCIS"))["label"] == "硬癌"
    assert breast(known, lesion("硬癌"), lesion("DCIS"))["types"] == 1
    assert breast(known, lesion("DCIS"), large)["reason"] == ""
    core, left = lesion("IDC", "2010-05-01", "core"), lesion("DCIS", "2010-09-01", "surgical")
    assert breast(known, core, left)["label"] == "IDC"
    assert breast(known, core | {"histology": "DCIS"}, left | {"histology": "硬癌"})["label"] == "硬癌"


def test_lesions_of_one_type_are_one_and_the_largest_describes_it(known):
    row = breast(known, lesion("硬癌", lesion_size_mm="8"), lesion("a3", lesion_size_mm="12"))
    assert (row["label"], row["lesion_size_mm"], row["types"], row["reason"]) == ("a3", "12", 1, "")
    assert breast(known, lesion("硬癌"), lesion("a3", lesion_size_mm="12"))["reason"] == ""


def test_a_mixed_word_counts_by_its_own_rule(known):
    assert breast(known, lesion("硬癌＋充実型"))["reason"] == "two_types"
    assert breast(known, lesion("硬癌＞充実型"))["label"] == "硬癌＞充実型"
    mixed = lesion("硬癌＋充実型", lesion_size_mm="5")
    assert breast(known, mixed, lesion("a1", lesion_size_mm="6"))["label"] == "a1"


def test_the_other_side_and_the_other_patient_are_other_breasts(known):
    lesions = [lesion("硬癌"), lesion("充実型", laterality="R"), lesion("a1", patient_id="01")]
    rows = pathology.one_row_a_breast(pd.DataFrame(lesions), known)
    assert rows[["patient_id", "laterality", "label", "reason"]].to_numpy().tolist() == [
        ["1", "L", "硬癌", ""],
        ["1", "R", "充実型", ""],
        ["01", "L", "a1", ""],
    ]


def test_a_cancer_of_later_years_is_counted_and_not_used(known):
    first, later = (
        lesion("硬癌", "2008-03-01", "surgical"),
        lesion("充実型", "2009-03-02", "surgical", neoadjuvant="yes"),
    )
    row = breast(known, later | {"lesion_size_mm": "99"}, first)
    assert (row["label"], row["diagnosis_date"], row["neoadjuvant"]) == ("硬癌", "2008-03-01", "")
    assert (row["list_rows"], row["other_rows"]) == (2, 1)
    assert breast(known, first, later | {"diagnosis_date": "2009-03-01"})["other_rows"] == 0
    assert breast(known, lesion("硬癌", ""), first, later)["other_rows"] == 1


@pytest.mark.parametrize(("earlier", "date"), [("2008-01-05", "2010-01-05"), ("2009-03-01", "2010-01-05")])
def test_an_earlier_benign_biopsy_is_no_part_of_the_cancers_diagnosis(known, earlier, date):
    benign, cancer = lesion("線維腺腫", earlier, "core"), lesion("硬癌", "2010-01-05", "core")
    row = breast(known, benign, cancer)
    assert (row["label"], row["diagnosis_date"], row["other_rows"]) == ("硬癌", date, 1)


def test_a_biopsy_that_missed_the_invasion_is_the_first_biopsy(known):
    missed, cancer = lesion("DCIS", "2010-01-05", "core"), lesion("硬癌", "2010-02-01", "core")
    row = breast(known, missed, cancer)
    assert (row["label"], row["diagnosis_date"], row["other_rows"]) == ("硬癌", "2010-01-05", 0)
    late = lesion("硬癌", "2010-05-20", "surgical")
    row = breast(known, missed, late)
    assert (row["label"], row["diagnosis_date"], row["surgery_date"]) == ("硬癌", "2010-01-05", "2010-05-20")
    assert (row["dated_by_surgery"], breast(known, late)["dated_by_surgery"]) == (False, True)


@pytest.mark.parametrize(
    ("lesions", "date"),
    [
        ([lesion(date="")], ""),
        ([lesion(date=""), lesion("a3", "2010-05-01")], "2010-05-01"),
        ([lesion(date="", specimen="core"), lesion(date="2010-09-01", specimen="surgical")], ""),
        ([lesion(date="2010-09-01", specimen="surgical")], "2010-09-01"),
        ([lesion(date="2010-09-01", specimen="surgical", neoadjuvant="yes")], ""),
        ([lesion(neoadjuvant="yes")], "2010-05-01"),
        ([lesion(date="2010-09-01", specimen="core"), lesion(date="2010-05-01", specimen="surgical")], "2010-05-01"),
    ],
)
def test_the_day_of_the_diagnosis_is_the_first_biopsys_or_unknown(known, lesions, date):
    row = breast(known, *lesions)
    assert (row["diagnosis_date"], row["reason"]) == (date, "" if date else "no_diagnosis_date")


def test_unknown_words_come_with_their_counts_beside_the_other_faults(read, tmp_path, known):
    read(text := "patient_id,laterality,diagnosis_date,histology\n1,L,,謎\n1,R,,謎\n2,L,,x\n2,R,,硬癌\n")
    with pytest.raises(ValueError, match=r"column histology: unknown words '謎' \(2\), 'x' \(1\); allowed"):
        pathology.read_pathology(tmp_path / "pathology.csv", known=known)
    with pytest.raises(ValueError, match="column laterality"):
        read(text.replace("1,L", "1,S"))
    with pytest.raises(ValueError, match=r"column laterality.*\n.*column histology|column histology") as caught:
        pathology.read_pathology(tmp_path / "pathology.csv", known=known)
    assert len(str(caught.value).splitlines()) == 2
    assert breast(words.read_label_map(None, CLASSES), lesion("Tubule-forming"))["label"] == "Tubule-forming"


def test_the_order_of_the_rows_means_nothing(known):
    rng = np.random.default_rng(5)
    choices = {
        "histology": ["硬癌", "充実型", "IDC", "硬癌+a2", "粘液癌", "DCIS", "線維腺腫"],
        "diagnosis_date": ["", "2010-05-01", "2010-05-20", "2010-08-01", "2013-01-01"],
        "specimen": ["", "core", "surgical"],
        "neoadjuvant": ["", "", "no", "yes"],
        "lesion_size_mm": ["", "8", "12"],
    }
    seen = set()
    for _ in range(300):
        lesions = [
            lesion(laterality=str(rng.choice(["L", "R"]))) | {name: str(rng.choice(of)) for name, of in choices.items()}
            for _ in range(4)
        ]
        tables = [pd.DataFrame([lesions[k] for k in order]) for order in ([0, 1, 2, 3], rng.permutation(4))]
        one, other = (
            pathology.one_row_a_breast(table, known).sort_values("laterality", ignore_index=True) for table in tables
        )
        same = ["laterality", "diagnosis_date", "surgery_date", "list_rows", "other_rows", "types", "reason"]
        pd.testing.assert_frame_equal(one[same], other[same])
        assert (
            one["label"]
            .map(lambda word: word and words.meaning(word, known))
            .equals(other["label"].map(lambda word: word and words.meaning(word, known)))
        )
        seen |= set(one["reason"])
    assert seen == {"", "two_types", "no_diagnosis_date"}
