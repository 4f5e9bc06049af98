"""Registry to cohort: words, exclusions, duplicates, split, pseudonyms, leakage gate; then files through the intake."""

import re
import stat

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mammolib import cohort, intake
from mammolib.cohort_plots import draw_examples
from mammolib.dicom import UnreadableImage

CLASSES = ["tubule_forming", "solid", "scirrhous"]
LABELS = "params/labels_idc.csv"


def registry(n=6, **columns) -> pd.DataFrame:
    """n images of n patients, labels the classes in turn; columns given replace these."""
    table = pd.DataFrame({"patient_id": [f"p{k}" for k in range(n)], "image_path": [f"{k}.png" for k in range(n)]})
    table = table.assign(label=[CLASSES[k % 3] for k in range(n)], diagnosis_date="2010-05-01", split="")
    table = table.assign(ImageLaterality="L", ViewPosition="CC", pixel_spacing_mm="0.2")
    return table.assign(**columns)


@pytest.fixture(scope="module")
def words(request):
    return cohort.read_label_map(request.config.rootpath / LABELS, CLASSES)


@pytest.mark.parametrize(
    ("word", "meaning"),
    [
        ("乳頭腺管癌", "tubule_forming"),
        ("乳頭腺管がん", "tubule_forming"),
        ("乳頭腺管ガン", "tubule_forming"),
        ("乳頭腺管ｶﾞﾝ", "tubule_forming"),
        ("ａ１", "tubule_forming"),
        ("Pap-Tub", "tubule_forming"),
        ("充実腺管癌", "solid"),
        ("充実型", "solid"),
        ("硬がん", "scirrhous"),
        ("硬性型", "scirrhous"),
        ("invasive carcinoma NST", "subtype_not_stated"),
        ("Invasive  Ductal Carcinoma", "subtype_not_stated"),
        ("管状癌", "other_histology"),
        ("充実乳頭癌", "other_histology"),
        ("浸潤性微小乳頭癌", "other_histology"),
        ("浸潤性小葉がん", "other_histology"),
        ("その他", "other_histology"),
    ],
)
def test_japanese_words_of_both_editions(words, word, meaning):
    rows = cohort.classify(registry(1, label=word), CLASSES, words)
    assert (rows["label"][0] or rows["reason"][0]) == meaning


def test_unknown_words_are_listed_with_their_counts(words):
    with pytest.raises(ValueError, match="label") as caught:
        cohort.classify(registry(4, label=["硬癌", "謎", "謎", "x"]), CLASSES, words)
    assert "'謎' (2), 'x' (1)" in str(caught.value)
    with pytest.raises(ValueError, match=r"'硬癌' \(1\); known: tubule_forming, solid, scirrhous"):
        cohort.classify(registry(2, label=["solid", "硬癌"]), CLASSES)


def test_a_wrong_label_map_is_named(tmp_path):
    (tmp_path / "map.csv").write_text("word,class\n硬癌,scirrhous\n硬がん,solid\nx,lobular\ny,no_breast\n")
    with pytest.raises(
        ValueError,
        match=r"map\.csv: words with two classes: 硬癌; class lobular, no_breast; allowed: .*subtype_not_stated$",
    ):
        cohort.read_label_map(tmp_path / "map.csv", CLASSES)


def test_the_flow_counts_reasons_in_the_order_in_which_they_are_looked_for():
    dated = cohort.classify(registry(2, diagnosis_date=["", "2018-01-01"]), CLASSES, None, "2006-01-01", "2017-12-31")
    table = registry(5).assign(reason="", detail="", digest=["a", "a", "b", "b", "c"], patient_id=list("ppqrs"))
    table = table.assign(QualityControlImage=["", "", "", "", "YES"])
    table["patient_id"], table["label"] = ["p", "p", "q", "r", "s"], "solid"
    rows, _ = cohort.judge_quality_control(cohort.exclude_duplicates(table))
    looked_for = ["no_diagnosis_date", "outside_period", "duplicate_other_patient", "duplicate_same_patient"]
    looked_for.append("quality_control_image")
    rows = pd.concat([rows, dated])
    flow = cohort.flow_counts(rows, pd.DataFrame({"split": [], "patient": []}))
    assert list(flow["excluded"]) == looked_for == [name for name in cohort.REASONS if name in looked_for]


def test_a_reason_outside_the_closed_list_is_refused():
    rows = registry(1).assign(reason="", detail="")
    with pytest.raises(ValueError, match="reason: 'lost' is unknown; allowed are no_diagnosis_date"):
        cohort.exclude(rows, rows["reason"] == "", "lost", "")
    with pytest.raises(ValueError, match="reason: 'lost' is unknown"):
        UnreadableImage("lost", "")


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
    rows = cohort.classify(registry(1, diagnosis_date=date), CLASSES, None, "2006-01-01", "2017-12-31")
    assert rows["reason"].tolist() == [reason]
    assert cohort.classify(registry(1, diagnosis_date=date), CLASSES)["reason"].tolist() == [""]


@pytest.mark.parametrize(
    ("first", "last", "date", "period"),
    [
        ("2006-01-01", "2017-12-31", "2018-01-01", "2006-01-01 to 2017-12-31"),
        ("2006-01-01", None, "2005-01-01", "2006-01-01 to no limit"),
        (None, "2017-12-31", "2018-01-01", "from the first to 2017-12-31"),
    ],
)
def test_a_period_with_one_end_is_told_in_words(first, last, date, period):
    rows = cohort.classify(registry(1, diagnosis_date=date), CLASSES, None, first, last)
    assert rows[["reason", "detail"]].to_numpy().tolist() == [["outside_period", period]]


@pytest.mark.parametrize(
    "date", ["now", "2011", "2011-05", "2011-05-30T10:00+09:00", "2011-02-30", "2011-150", "20110530", "２０１１/5/30"]
)
def test_only_whole_days_are_dates(date):
    with pytest.raises(ValueError, match="diagnosis_date: 1 values are no dates"):
        cohort.classify(registry(2, diagnosis_date=[date, "2011-05-30T10:00Z"[:10]]), CLASSES)
    with pytest.raises(ValueError, match=f"diagnosed_to is '{re.escape(date)}'; allowed: a day"):
        cohort.classify(registry(1), CLASSES, None, None, date)


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
        cohort.classify(faulty, CLASSES)
    text = str(caught.value)
    assert len(text.splitlines()) == 8
    for part in (
        "patient_id: empty in 1 ",
        "image_path: 1 rows repeat",
        "date: 1 values",
        "spacing_mm: 2 ",
        "ImageLaterality: 1 values are unknown; allowed: L, R, left",
        "ViewPosition: 2 values are unknown; allowed: CC, MLO",
        "split: train",
        "empty in 1 rows; given",
    ):
        assert part in text
    assert not any(secret in text for secret in ("31.5", "0.png", "p3", "Ann"))


def test_words_for_sides_become_the_codes_of_the_header():
    rows = cohort.classify(
        registry(4, ImageLaterality=["left", "右", "", "r"], ViewPosition=["cc", "MLO", "", "ml"]), CLASSES
    )
    assert rows["ImageLaterality"].tolist() == ["L", "R", "", "R"]
    assert rows["ViewPosition"].tolist() == ["CC", "MLO", "", "ML"]


def test_a_registry_is_read_in_its_encoding_or_says_what_is_wrong(tmp_path):
    path = tmp_path / "registry.csv"
    path.write_bytes("patient_id,image_path,label\n001, a.dcm ,硬癌\n".encode("cp932"))
    row = cohort.read_registry(path, "cp932").loc[0]
    assert (row["patient_id"], row["image_path"], row["label"], row["split"]) == ("001", "a.dcm", "硬癌", "")
    with pytest.raises(ValueError, match=r"registry\.csv: not utf-8-sig; set `encoding`"):
        cohort.read_registry(path)
    with pytest.raises(ValueError, match="encoding 'klingon'"):
        cohort.read_registry(path, "klingon")
    path.write_text("patient_id,path\n1,a\n")
    with pytest.raises(ValueError, match="no column image_path, label; it has patient_id, path"):
        cohort.read_registry(path)
    with pytest.raises(FileNotFoundError, match=r"none\.csv"):
        cohort.read_registry(tmp_path / "none.csv")


def judged(n=6, **columns) -> pd.DataFrame:
    given = {"digest": [f"d{k}" for k in range(n)], "QualityControlImage": "NO", "reason": "", "detail": ""}
    return registry(n).assign(**(given | columns))


def test_duplicates_leave_alone_or_together():
    rows = judged(
        patient_id=["a", "a", "b", "c", "d", "d"],
        label=["solid", "solid", "solid", "solid", "solid", "scirrhous"],
        digest=["1", "1", "2", "2", "3", "3"],
    )
    reasons = cohort.exclude_duplicates(rows)["reason"].tolist()
    assert reasons == ["", "duplicate_same_patient", *["duplicate_other_patient"] * 4]
    assert (rows["reason"] == "").all(), "what is passed in stays as it is"


def test_an_image_that_left_is_nobodys_duplicate():
    rows = judged(2, digest="1", reason=["magnification_view", ""])
    assert cohort.exclude_duplicates(rows)["reason"].tolist() == ["magnification_view", ""]


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


def test_the_split_is_by_patient_and_by_class():
    rows = registry(600, patient_id=[f"p{k // 6}" for k in range(600)])
    rows = rows.assign(label=[CLASSES[k // 6 % 3] for k in range(600)])
    parts = cohort.split_patients(rows, 0.2, seed=1)
    assert parts.groupby(rows["patient_id"]).nunique().eq(1).all()
    shares = (parts == "test").groupby(rows["label"]).mean()
    np.testing.assert_allclose(shares, 0.2, atol=0.02)  # 33 or 34 patients a class
    assert not parts.equals(cohort.split_patients(rows, 0.2, seed=2))
    assert (cohort.split_patients(rows, 0.0, seed=1) == "development").all()
    given = rows.assign(split=["test", "development"] * 300)
    assert cohort.split_patients(given, 0.2, seed=1).equals(given["split"])
    with pytest.raises(ValueError, match="3 patients can't be split by class"):
        cohort.split_patients(registry(3), 0.2, seed=1)


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


def test_hashes_are_keyed(tmp_path):
    digests, key = pd.Series(["a", "b", "a"]), tmp_path / "private" / "hash_key.txt"
    hospital = cohort.keyed(digests, key, 1)
    assert hospital[0] == hospital[2] != hospital[1]
    assert hospital.equals(cohort.keyed(digests, key, 2)), "the key is continued"
    assert not hospital.equals(cohort.keyed(digests, tmp_path / "other.txt", 1))
    assert cohort.keyed(digests, None, 1).equals(cohort.keyed(digests, None, 1))
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def textures(n: int, seed: int) -> np.ndarray:
    """Breasts of one outline and different fine structure, (n, 64, 64) uint16."""
    y, x = np.mgrid[:64, :64]
    inside = ((y - 32) / 30) ** 2 + (x / 45) ** 2 < 1
    noise = np.random.default_rng(seed).normal(0, 3000, (n, 64, 64))
    return np.where(inside, 30000 - 200 * x + noise, 0).clip(0, 65535).astype(np.uint16)


def test_the_gate_finds_what_is_shared_and_nothing_else():
    images = textures(6, 0)
    table = pd.DataFrame({"patient": list("abcdef"), "image_id": list("123456"), "sha256": list("uvwxyz")})
    table["split"] = ["development"] * 4 + ["test"] * 2
    assert intake.find_leaks(table, images, 0.95) == {"shared_patients": [], "shared_pixels": [], "near_duplicates": []}
    rng = np.random.default_rng(1)
    darker = images[0] * 0.6 + (images[0] > 0) * rng.normal(0, 200, images[0].shape)  # another window, other noise
    images[5] = darker.clip(0, 65535).astype(np.uint16)
    leaky = table.assign(patient=list("abcdea"), sha256=list("uvwxvz"))
    leaks = intake.find_leaks(leaky, images, 0.95)
    assert leaks == {"shared_patients": ["a"], "shared_pixels": ["v"], "near_duplicates": ["1 and 6"]}
    with pytest.raises(ValueError, match=r"shared_patients: a \(1 in all\).*near_duplicates: 1 and 6"):
        intake.require_no_leaks(leaks)
    intake.require_no_leaks({"shared_patients": []})


def test_lesions_keep_to_the_images_that_stay_and_to_the_registry():
    rows = judged(2, reason=["", "unreadable"]).assign(image_id=["I2", "I1"], rows=20, columns=10)
    lesions = pd.DataFrame({"image_path": ["1.png", "0.png"], "x": ["1", "2.5"], "y": "3", "radius": "4"})
    assert cohort.name_lesions(lesions, rows).to_numpy().tolist() == [["I2", 2.5, 3, 4]]
    assert cohort.name_lesions(lesions[:0], rows).empty
    with pytest.raises(ValueError, match="in 1 rows; image_path is not in the registry in 1 rows"):
        cohort.name_lesions(lesions.assign(image_path=["9.png", "0.png"], radius=["4", "0"]), rows)
    with pytest.raises(ValueError, match=r"no numbers .* in 2 rows"):
        cohort.name_lesions(lesions.assign(x="inf"), rows)
    cohort.name_lesions(lesions.assign(x="9", y="19"), rows)
    for wrong in ({"x": "10"}, {"y": "20"}, {"x": "-1"}, {"radius": "21"}):
        with pytest.raises(ValueError, match="1 circles have their centre outside"):
            cohort.name_lesions(lesions.assign(**wrong), rows)


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
        cohort.read_registry(tmp_path / "registry.csv")
    (tmp_path / "registry.csv").write_text("patient_id,image_path,label,split,remark\na,1.png,x,test,none\n")
    assert cohort.read_registry(tmp_path / "registry.csv")["split"].tolist() == ["test"]


@pytest.mark.parametrize("text", ["", "patient,a,P0001\npatient,b,P0002\n"])
def test_a_key_without_its_first_line_is_not_taken_for_a_new_one(tmp_path, text):
    (tmp_path / "key.csv").write_text(text)
    with pytest.raises(ValueError, match=r"key\.csv: line 1 is damaged"):
        cohort.name_rows(registry(3), tmp_path / "key.csv", seed=1)
    assert (tmp_path / "key.csv").read_text() == text


@pytest.fixture
def archive(tmp_path):
    """Nine pictures of breasts on both sides, two of them bad, with their registry."""
    for k, breast in enumerate(textures(9, 3)):
        Image.fromarray(breast if k % 2 else breast[:, ::-1].copy()).save(tmp_path / f"{k}.png")
    (tmp_path / "4.png").write_bytes((tmp_path / "4.png").read_bytes()[:300])
    (tmp_path / "7.png").unlink()
    return tmp_path


@pytest.mark.parametrize("workers", [1, 2])
def test_files_become_a_cohort(archive, capsys, workers):
    rows = cohort.name_rows(cohort.classify(registry(9), CLASSES), archive / "private" / "key.csv", 1)
    rows = intake.prepare_images(rows, archive, archive / "all.npy", 24, 16, workers=workers)
    assert rows["reason"].tolist() == ["", "", "", "", "unreadable", "", "", "missing_file", ""]
    assert "9 of 9 files" in capsys.readouterr().out
    table = cohort.cohort_table(cohort.judge_quality_control(cohort.exclude_duplicates(rows))[0], None, 0.0, 1)
    assert tuple(table.columns) == (*cohort.COLUMNS, "slot")
    assert table["image_id"].is_monotonic_increasing
    assert table["pixel_spacing_source"].eq("registry").all()
    assert table["breast_area_mm2"].between(1000 * 0.04, 3500 * 0.04).all()
    assert table["flipped"].sum() == 4  # 0, 2, 6, 8
    images = np.load(archive / "all.npy")[table["slot"]]
    assert images.shape == (7, 24, 16)
    assert (images[:, 12, 0] > 0).all(), "every breast stands at the left edge"
    flow = cohort.flow_counts(rows, table)
    assert flow == {
        "registry_rows": 9,
        "included": 7,
        "patients": 7,
        "development_images": 7,
        "test_images": 0,
        "excluded": {"missing_file": 1, "unreadable": 1},
    }
    assert [len(chosen) for chosen in draw_examples(table, CLASSES, 2, 1)] == [2, 1, 2]


def test_no_detail_holds_a_name_of_the_archive(archive):
    rows = intake.prepare_images(cohort.classify(registry(9), CLASSES), archive, archive / "all.npy", 8, 8, workers=1)
    details = rows.loc[rows["reason"] != "", "detail"]
    assert details.str.len().gt(5).all()
    assert not details.str.contains("png|p4|p7", regex=True).any()
    assert set(rows["reason"]) - {""} <= set(cohort.REASONS)
