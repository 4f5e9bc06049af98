"""The archive: its counts, its independence of the class, its files, and the join of list and files."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydicom import dcmread, uid

from mammolib.archive import scan_archive
from mammolib.dicom import read_dicom
from mammolib.headers import UnreadableImage
from mammolib.images import breast_mask
from mammolib.linkage import link
from mammolib.pathology import one_row_a_breast, read_pathology
from mammolib.phantom import Case, compose, draw_parts
from mammolib.phantom_archive import LIST_COLUMNS, plan_archive, write_archive
from mammolib.phantom_dicom import to_stored
from mammolib.phantom_lesion import SIGNS
from mammolib.phantom_objects import FILM_SYNTAXES, LOSSY, NO_DICOM, SYNTAXES, write_object
from mammolib.registry import classify
from mammolib.repeats import exclude_repeats
from mammolib.rooms import project_root
from mammolib.terms import REASONS
from mammolib.words import plain_id, read_label_map

SEED, PATIENTS, SPACING = 5, 47, 2.0
RULES = {
    "storage_classes": ["mammography", "computed_radiography", "secondary_capture"],
    "keep_burned_in": False,
    "spacing_range_mm": [0.01, 2.0],
}
# Kinds that stand for a fault of a header
INVALID = ("no_intent", "no_side", "two_sides", "cut_short", "spot_described", "generated_described")
# Terms of PS3.3 C.8.11.7.1.4 that dciodvfy of 2022 has for other objects, but not for mammography
TERMS_UNKNOWN = {
    "stereotactic": "STEREO_SCOUT",
    "generated": "TOMOSYNTHESIS",
    "low_energy": "POST_CONTRAST",
    "recombined": "POST_CONTRAST",
}


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """A small archive as it is written: folder, plan and lesions."""
    folder = tmp_path_factory.mktemp("hospital")
    plan, lesions = plan_archive(SEED, PATIENTS, [1, 1, 1])
    write_archive(folder, plan, lesions, SEED, SPACING, 1, 0.75, workers=2)
    return folder, plan, lesions


def test_120_patients_and_their_traps():
    plan, lesions = plan_archive(1, 120, [1, 1, 1])
    assert plan["reason"].value_counts().to_dict() == {
        # Twelve traps of the list for three patients each: two images of the listed breast, or four of both
        **{"patient_not_listed": 12, "id_ambiguous": 24, "two_types": 12, "other_histology": 6},
        **{"subtype_not_stated": 6, "no_diagnosis_date": 6, "outside_period": 6},
        # Six studies for five patients each, of two images of the listed breast
        **{"older_prior": 30, "after_biopsy": 10, "after_chemotherapy": 10, "after_surgery": 10},
        # Kinds of image for two patients each; "misfiled" stands there twice
        **dict.fromkeys(("spot_view", "synthesised", "contrast_enhanced", "duplicate_other_patient"), 4),
        **dict.fromkeys(("no_image_date", "laterality_unknown", "laterality_contradictory", "burned_in_annotation"), 2),
        **dict.fromkeys(("spacing_implausible", "unreadable", "no_breast", "for_processing", "multi_frame"), 2),
        **dict.fromkeys(("same_exposure", "repeated_take", "duplicate_uid", "duplicate_same_patient"), 2),
        **dict.fromkeys(("not_mammogram", "magnification_view", "specimen", "tangential_view", "biopsy_view"), 2),
        **{"implant_displaced": 2, "not_image": 8},
        # Two views, of all but four traps of the list in the usual study, of 30 patients in a second one
        "other_breast": 2 * (120 - 4 * 3) + 2 * 30,
        # Two views of all but nine traps of the list, and of 3 second breasts; without one of eight kinds
        "": 2 * (120 - 9 * 3 + 3) - 8 * 2,
    }
    kinds = plan["kind"].value_counts()
    assert kinds[["cr_plate", "cr_plate_as_cr", "film", "no_intent"]].tolist() == [8, 8, 8, 2]
    assert len(set(lesions["patient"]) - set(plan["patient_id"])) == 3
    assert len(set(plan["patient_id"]) - set(lesions["patient"])) == 6  # not listed, or a leading zero apart


def test_what_an_archive_can_do_wrong_is_planted():
    planted = set(plan_archive(1, PATIENTS, [1, 1, 1])[0]["reason"]) - {""}
    # These are a registry's, a parameter's, or a mixed cohort's
    assert set(REASONS) - planted == {
        *(
            "missing_file",
            "outside_folder",
            "storage_class",
            "contradictory_inversion",
            "quality_control_image",
            *("no_invasion", "partial_view"),
        )
    }


def test_nothing_but_sign_and_word_follows_from_the_classes():
    (plan, lesions), (other, others) = (plan_archive(3, 600, shares) for shares in ([1, 1, 1], [5, 1, 1]))
    assert (plan["sign"] != other["sign"]).mean() > 0.1
    pd.testing.assert_frame_equal(plan.drop(columns=["sign", "class"]), other.drop(columns=["sign", "class"]))
    pd.testing.assert_frame_equal(lesions.drop(columns="histology"), others.drop(columns="histology"))


def test_too_few_patients_are_refused():
    with pytest.raises(ValueError, match=f"patients is {PATIENTS - 1}; allowed: at least {PATIENTS}"):
        plan_archive(1, PATIENTS - 1, [1, 1, 1])
    with pytest.raises(ValueError, match="class_shares"):
        plan_archive(1, PATIENTS, [1, 1])


def test_the_truth_names_every_file(archive):
    folder, plan, _ = archive
    truth = pd.read_csv(folder / "truth.csv", dtype=str, keep_default_na=False)
    assert truth.columns.tolist() == ["image_path", "reason", "patient", "class"]
    files = {
        path.relative_to(folder / "archive").as_posix() for path in (folder / "archive").rglob("*") if path.is_file()
    }
    assert len(truth) == len(files) == len(plan)
    assert set(truth["image_path"]) == files
    assert any("." not in Path(name).name for name in files)
    assert sorted(path.name for path in folder.iterdir()) == ["archive", "pathology.csv", "truth.csv"]


def test_the_same_seed_gives_the_same_bytes(archive, tmp_path):
    folder, plan, lesions = archive
    again, same = plan_archive(SEED, PATIENTS, [1, 1, 1])
    pd.testing.assert_frame_equal(plan, again)
    pd.testing.assert_frame_equal(lesions, same)
    assert not plan.equals(plan_archive(SEED + 1, PATIENTS, [1, 1, 1])[0])
    sample = pd.concat([plan.drop_duplicates("kind"), plan.drop_duplicates("syntax")]).drop_duplicates("image_path")
    write_archive(tmp_path, sample, lesions, SEED, SPACING, 1, 0.75, workers=1)
    for name in [*("archive/" + sample["image_path"]), "pathology.csv"]:
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes(), name


def verdict(path: Path) -> list[str]:
    """What dciodvfy finds wrong with a file; the test is skipped where the tool is missing, unless it is asked for."""
    if shutil.which("dciodvfy") is None:
        if os.environ.get("REQUIRE_DCIODVFY"):
            pytest.fail("dciodvfy (Debian's dicom3tools) is missing though it was asked for")
        pytest.skip("dciodvfy (Debian's dicom3tools) is not installed")
    said = subprocess.run(["dciodvfy", "-new", path], capture_output=True, text=True).stderr
    assert said, path  # it names the object
    return [line for line in said.splitlines() if "Error" in line]


def test_every_kind_passes_dciodvfy_or_has_the_fault_it_stands_for(archive):
    folder, plan, _ = archive
    # dciodvfy inflates no file
    readable = plan[(plan["syntax"] != uid.DeflatedExplicitVRLittleEndian) & ~plan["kind"].isin(NO_DICOM)]
    for row in readable.drop_duplicates("kind").itertuples():
        errors = verdict(folder / "archive" / row.image_path)
        if row.kind in TERMS_UNKNOWN:
            errors = [error for error in errors if f"enumerated value = <{TERMS_UNKNOWN[row.kind]}>" not in error]
        assert bool(errors) == (row.kind in INVALID), (row.kind, errors)


@pytest.mark.parametrize("syntax", [*SYNTAXES, *FILM_SYNTAXES], ids=lambda syntax: uid.UID(syntax).keyword)
def test_every_syntax_holds_what_was_drawn(tmp_path, syntax):
    case, path = Case(3, 1, "MLO", "R", "solid"), tmp_path / "IM"
    drawn = compose(draw_parts(case, SPACING))
    row = {"kind": "film" if syntax in FILM_SYNTAXES else "", "unit": "lut", "syntax": syntax, "patient_id": "1"}
    row |= {"image_date": pd.Timestamp("2010-03-04"), "acquisition_time": "101500", "instance": 1}
    write_object(path, drawn, case, row | {"several_windows": False}, SPACING)
    ds = dcmread(path)
    assert ds.file_meta.TransferSyntaxUID == syntax
    expected = np.rint(255 * drawn) if row["kind"] else to_stored(drawn, "lut")
    # Lossy JPEG: letters and skin are sharp edges, so a few values are further off than most
    apart = np.abs(ds.pixel_array - expected)
    assert apart.mean() < 1 if syntax in LOSSY else apart.max() == 0
    if not row["kind"]:
        table = ds.VOILUTSequence[0].LUTData
        words = np.frombuffer(table, ">u2" if syntax == uid.ExplicitVRBigEndian else "<u2")
        assert words[[0, 1, 4095]].tolist() == [0, 12, 4095]  # 4095 x (1 / 4095) ** 0.7 = 12.1
    if syntax != uid.DeflatedExplicitVRLittleEndian:
        assert verdict(path) == []


def test_phantoms_mark_themselves(archive):
    folder, plan, _ = archive
    images = plan[~plan["kind"].isin([*NO_DICOM, "directory", "report"])]
    for row in images.drop_duplicates(["kind", "syntax"]).itertuples():
        ds = dcmread(folder / "archive" / row.image_path, stop_before_pixels=True)
        assert ds.QualityControlImage == "YES"
        assert str(ds.PatientName) == f"PHANTOM^{row.patient_id}"


def of_kind(archive, kind: str) -> tuple:
    """The dataset of the first file of a kind, and that of the plain image of the same moment; their rows."""
    folder, plan, _ = archive
    row = plan[plan["kind"] == kind].iloc[0]
    plain = plan[(plan["patient_id"] == row["patient_id"]) & (plan["kind"] == "")]
    view = (plain[["ImageLaterality", "ViewPosition"]] == row[["ImageLaterality", "ViewPosition"]]).all(axis=1)
    host = plain[view & (plain["image_date"] == row["image_date"])].iloc[0]
    return dcmread(folder / "archive" / row["image_path"]), dcmread(folder / "archive" / host["image_path"])


def test_copies_and_takes_differ_in_what_they_are_said_to_differ_in(archive):
    names = ("SOPInstanceUID", "AcquisitionTime", "StudyInstanceUID")

    def equal(kind: str) -> tuple:
        ds, host = of_kind(archive, kind)
        same_source = ds.SourceImageSequence == host.SourceImageSequence
        pixels = np.array_equal(ds.pixel_array, host.pixel_array)
        return *(ds[name] == host[name] for name in names), same_source, pixels

    assert equal("same_file") == (True, True, True, True, True)
    assert equal("other_uid") == (False, True, True, True, True)
    assert equal("processed_again") == (False, True, True, True, False)
    assert equal("earlier_take") == (False, False, True, False, False)
    raw, host = of_kind(archive, "raw")
    assert raw.SOPInstanceUID == host.SourceImageSequence[0].ReferencedSOPInstanceUID
    earlier, host = of_kind(archive, "earlier_take")
    assert earlier.AcquisitionTime < host.AcquisitionTime


def test_misfiled_images_have_two_owners_and_equal_pixels(archive):
    folder, plan, _ = archive
    one, other = (dcmread(folder / "archive" / path) for path in plan.loc[plan["kind"] == "misfiled", "image_path"])
    assert one.PatientID != other.PatientID
    assert one.SOPInstanceUID != other.SOPInstanceUID
    assert one.PixelData == other.PixelData


def test_the_other_breast_is_not_the_mirror_image(archive):
    folder, plan, _ = archive
    study = plan[(plan["kind"] == "") & (plan["ViewPosition"] == "CC")].groupby("patient_id").head(2)
    pair = study[study["patient_id"] == study["patient_id"].iloc[0]].set_index("ImageLaterality")["image_path"]
    left, right = (dcmread(folder / "archive" / pair[side]).pixel_array for side in "LR")
    assert (left != right[:, ::-1]).mean() > 0.5


@pytest.mark.parametrize("encoding", ["cp932", "utf-8"])
def test_the_list_is_written_as_people_write_it(archive, tmp_path, encoding):
    _, plan, lesions = archive
    write_archive(tmp_path, plan[plan["kind"] == "text"], lesions, SEED, SPACING, 1, 0.75, 1, encoding)
    table = pd.read_csv(tmp_path / "pathology.csv", encoding=encoding, dtype=str, keep_default_na=False)
    assert table.columns.tolist() == LIST_COLUMNS
    for form in (r"[0-9]{4}-\d\d-\d\d", r"[0-9]{4}/\d+/\d+", r"H\d+\.\d+\.\d+", r"平成\d+年\d+月\d+日", ""):
        assert table["diagnosis_date"].str.fullmatch(form).any(), form
    for form in (r"00[0-9]{7}", r"[1-9][0-9]{6}", r"[０-９]{9}", r" [0-9]{4} [0-9]{5}\u3000"):
        assert table["patient_id"].str.fullmatch(form).any(), form
    assert (table["patient_id"].map(plain_id) == lesions["patient"].map(plain_id)).all()
    assert set(table["laterality"]) == {"L", "R", "左", "右", "left", "right"}


def seen(path: Path) -> dict:
    """Digest of an image's pixels, or the reason why it has none or shows no breast."""
    try:
        pixels, facts = read_dicom(path, RULES)
        breast_mask(pixels)
    except UnreadableImage as error:
        return {"reason": error.reason, "digest": ""}
    return {"reason": "", "digest": facts["digest"]}


def test_list_and_files_are_read_to_the_truth(archive, tmp_path):
    folder, _, _ = archive
    truth = pd.read_csv(folder / "truth.csv", dtype=str, keep_default_na=False).sort_values("image_path")
    known = read_label_map(project_root() / "params" / "labels_idc.csv", list(SIGNS))
    breasts = one_row_a_breast(read_pathology(folder / "pathology.csv", "cp932"), known)
    rows = link(scan_archive(folder / "archive", tmp_path / "cache", RULES, workers=2), breasts)[0]
    rows = classify(rows, list(SIGNS), known, "2006-01-01", "2017-12-31")
    left = rows.index[rows["reason"] == ""]
    pixels = pd.DataFrame([seen(folder / "archive" / name) for name in rows.loc[left, "image_path"]], left)
    rows = exclude_repeats(rows.assign(digest=pixels["digest"], reason=pixels["reason"].combine_first(rows["reason"])))
    assert rows["image_path"].tolist() == truth["image_path"].tolist()
    wrong = rows["reason"].to_numpy() != truth["reason"].to_numpy()
    assert not wrong.any(), rows.loc[wrong, ["image_path", "reason"]].assign(truth=truth["reason"].to_numpy()[wrong])
    stays = rows["reason"] == ""
    assert rows.loc[stays, "label"].tolist() == truth["class"][truth["reason"] == ""].tolist()
    assert set(rows.loc[stays, "label"]) == set(SIGNS)
