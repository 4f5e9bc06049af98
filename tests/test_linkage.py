"""Files joined to breasts: ids, sides, dates and the last study, against a slow loop; the registry and the dry run."""

import json
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from mammolib import linkage, pathology, words
from mammolib.registry import OPTIONAL, REQUIRED, classify, read_registry

CLASSES = ["tubule_forming", "solid", "scirrhous"]
DIAGNOSIS = date(2010, 7, 1)
FULL_WIDTH = str.maketrans("０１２３４５６７８９　", "0123456789 ")


def before(days: int) -> str:
    """The day so many days before the diagnosis, in ISO's form."""
    return (DIAGNOSIS - timedelta(days=days)).isoformat()


def headers(*files: dict) -> pd.DataFrame:
    """A row a file: by default an admitted image of patient 1's left breast, ten days before the diagnosis."""
    usual = {"reason": "", "detail": "", "PatientID": "1", "StudyInstanceUID": "", "SOPInstanceUID": ""}
    usual |= {"image_date": before(10), "ImageLaterality": "L", "ViewPosition": "CC", "pixel_spacing_mm": 0.07}
    return pd.DataFrame([{"image_path": f"{k}.dcm"} | usual | file for k, file in enumerate(files)])


def breasts(*rows: dict) -> pd.DataFrame:
    """A row a breast: by default patient 1's left one, scirrhous."""
    usual = dict.fromkeys((*linkage.FROM_LIST, "surgery_date", "neoadjuvant", "reason", "detail"), "")
    usual |= {"patient_id": "1", "laterality": "L", "diagnosis_date": DIAGNOSIS.isoformat(), "label": "硬癌"}
    usual |= {"list_rows": 1, "other_rows": 0, "types": 1, "core_differs": False, "dated_by_surgery": False}
    return pd.DataFrame([usual | row for row in rows])


def reasons(files: pd.DataFrame, listed: pd.DataFrame, window=(0, 180)) -> list[str]:
    rows, _ = linkage.link(files, listed, window)
    assert (rows["detail"] != "").equals(rows["reason"] != "")
    return rows["reason"].tolist()


def test_the_other_breast_and_an_unknown_side_never_inherit_a_label():
    rows, report = linkage.link(
        headers({}, {"ImageLaterality": "R"}, {"ImageLaterality": ""}, {"PatientID": "2"}), breasts({"age": "50"})
    )
    assert rows["reason"].tolist() == ["", "other_breast", "laterality_unknown", "patient_not_listed"]
    for name, value in {"label": "硬癌", "diagnosis_date": "2010-07-01", "age": "50"}.items():
        assert rows[name].tolist() == [value, "", "", ""]
    assert (report["left"], report["files"], report["breasts_without_image"]) == (1, 4, 0)


def test_each_side_of_a_bilateral_cancer_keeps_its_own_type_and_day():
    listed = breasts({}, {"laterality": "R", "label": "a2", "diagnosis_date": before(-90)})
    files = headers({}, {"ImageLaterality": "R"}, {"ImageLaterality": "R", "image_date": before(-5)})
    rows, report = linkage.link(files, listed)
    assert rows["label"].tolist() == ["硬癌", "a2", "a2"]
    assert rows["reason"].tolist() == ["", "older_prior", ""]
    assert report["bilateral"] == 1


@pytest.mark.parametrize(
    ("days", "listed", "reason"),
    [
        (0, {}, ""),
        (180, {}, ""),
        (181, {}, "older_prior"),
        (-1, {}, "after_biopsy"),
        (-1, {"surgery_date": before(-2)}, "after_biopsy"),
        (-2, {"surgery_date": before(-2)}, "after_surgery"),
        (-1, {"neoadjuvant": "yes", "surgery_date": before(-2)}, "after_chemotherapy"),
        (-2, {"neoadjuvant": "yes", "surgery_date": before(-2)}, "after_surgery"),
        (-1, {"neoadjuvant": "no"}, "after_biopsy"),
        (0, {"surgery_date": before(0)}, ""),
        (10, {"diagnosis_date": "", "reason": "no_diagnosis_date", "detail": "x"}, "no_diagnosis_date"),
        (10, {"label": "", "reason": "two_types", "detail": "x"}, "two_types"),
        (10, {"label": "", "reason": "subtype_not_stated", "detail": "x"}, "subtype_not_stated"),
    ],
)
def test_the_date_of_the_image_against_the_diagnosis(days, listed, reason):
    assert reasons(headers({"image_date": before(days)}), breasts(listed)) == [reason]


def test_the_window_is_a_parameter_with_both_ends():
    files = headers(*({"image_date": before(days)} for days in (0, 1, 30, 31)))
    assert reasons(files[:1], breasts({}), [1, 30]) == ["after_biopsy"]
    assert reasons(files[1:2], breasts({}), [1, 30]) == [""]
    assert reasons(files[2:3], breasts({}), [1, 30]) == [""]
    assert reasons(files[3:], breasts({}), [1, 30]) == ["older_prior"]
    for wrong in ([2, 180], [-1, 180], [1, 0]):
        with pytest.raises(ValueError, match=r"image_window_days is \[.*allowed: \[0 or 1"):
            linkage.link(files, breasts({}), wrong)


def test_an_image_of_the_day_of_the_biopsy_stays_where_there_is_no_earlier_one():
    files = headers(*({"image_date": before(days)} for days in (0, 14, 200)))
    assert reasons(files, breasts({})) == ["after_biopsy", "", "older_prior"]
    assert reasons(files.iloc[[0, 2]], breasts({})) == ["", "older_prior"]
    other = headers({"image_date": before(0)}, {"image_date": before(14), "ImageLaterality": "R"})
    assert reasons(other, breasts({}, {"laterality": "R"})) == ["", ""]


def test_an_image_without_a_date_leaves():
    assert reasons(headers({"image_date": ""}, {}), breasts({})) == ["no_image_date", ""]


def test_the_last_study_of_each_breast_stays():
    listed = breasts({}, {"laterality": "R"})
    files = headers(
        {"image_date": before(90), "StudyInstanceUID": "a"},
        {"image_date": before(20), "StudyInstanceUID": "b"},
        {"image_date": before(20), "StudyInstanceUID": "c", "ViewPosition": "MLO"},  # of the same day
        {"image_date": before(21), "StudyInstanceUID": "c"},  # begun the day before
        {"image_date": before(90), "StudyInstanceUID": "a", "ImageLaterality": "R"},  # the right one's last
    )
    assert reasons(files, listed) == ["older_prior", "", "", "", ""]
    assert reasons(files.assign(StudyInstanceUID=""), listed) == ["older_prior", "", "", "older_prior", ""]


def test_a_refused_file_keeps_its_reason_and_is_no_last_study():
    files = headers({"image_date": before(90)}, {"image_date": before(20), "reason": "spot_view", "detail": "x"})
    rows, report = linkage.link(files, breasts({}))
    assert rows["reason"].tolist() == ["", "spot_view"]
    assert report["excluded"] == {"spot_view": 1}
    unread = headers({"reason": "unreadable", "detail": "x"}, {})
    unread.loc[0, ["PatientID", "StudyInstanceUID", "ImageLaterality", "ViewPosition", "image_date"]] = np.nan
    rows, _ = linkage.link(unread, breasts({}))
    assert rows["reason"].tolist() == ["unreadable", ""]
    assert rows.loc[0, ["patient_id", "label", "ViewPosition"]].tolist() == ["", "", ""]


def test_ids_are_matched_as_written_then_by_spelling_and_counted():
    listed = breasts(*({"patient_id": patient} for patient in ("1", "0022", "３３", "44 ", "55", "A6", "77")))
    owners = ["1", "1", "22", "33", "44", "００５５", "a6", "8", ""]
    rows, report = linkage.link(headers(*({"PatientID": owner} for owner in owners)), listed)
    assert rows["patient_id"].tolist() == ["1", "1", "0022", "３３", "44 ", "55", "a6", "8", ""]
    assert rows["reason"].tolist() == [""] * 6 + ["patient_not_listed"] * 3
    assert report["ids"] == {
        **{"not_listed": 2, "exact": 1, "leading_zeros": 1, "full_width": 1, "spaces": 1},
        "full_width+leading_zeros": 1,
    }
    assert (report["patients"], report["patients_without_file"], report["breasts_without_image"]) == (7, 2, 2)


@pytest.mark.parametrize(
    ("listed", "owners", "expected"),
    [
        (["7", "007"], ["7", "007", "07"], ["id_ambiguous"] * 3),
        (["7"], ["07", "007"], ["id_ambiguous", "id_ambiguous"]),
        (["7"], ["7", "007"], ["", "id_ambiguous"]),
        (["7", "7 "], ["７"], ["id_ambiguous"]),
        (["7"], ["007", "007"], ["", ""]),
    ],
)
def test_an_id_that_fits_several_patients_is_ambiguous(listed, owners, expected):
    table = breasts(*({"patient_id": patient} for patient in listed))
    files = headers(*({"PatientID": owner} for owner in owners))
    assert reasons(files, table) == expected
    assert linkage.link(files, table)[1]["ids_alike_in_list"] == (len(listed) if len(listed) > 1 else 0)


def slow_plain(text: str) -> str:
    text = text.translate(FULL_WIDTH).replace(" ", "")
    while len(text) > 1 and text[0] == "0":
        text = text[1:]
    return text


def slow_link(files: list[dict], listed: list[dict], most: int) -> list[tuple[str, str]]:
    """The patient and reason of each file, by loops over files and breasts."""
    found = []
    for file in files:
        own = file["PatientID"]
        alike = {row["patient_id"] for row in listed if slow_plain(row["patient_id"]) == slow_plain(own)}
        others = {other["PatientID"] for other in files if slow_plain(other["PatientID"]) == slow_plain(own)}
        sure = next(iter(alike)) if len(alike) == 1 and (own in alike or len(others) == 1) else ""
        rows = [row for row in listed if row["patient_id"] == sure and row["laterality"] == file["ImageLaterality"]]
        reason = file["reason"]
        if reason:
            pass
        elif not alike:
            reason = "patient_not_listed"
        elif not sure:
            reason = "id_ambiguous"
        elif not file["ImageLaterality"]:
            reason = "laterality_unknown"
        elif not rows:
            reason = "other_breast"
        elif rows[0]["reason"]:
            reason = rows[0]["reason"]
        elif not file["image_date"]:
            reason = "no_image_date"
        else:
            taken, diagnosed = file["image_date"], rows[0]["diagnosis_date"]
            if taken > diagnosed and rows[0]["surgery_date"] and taken >= rows[0]["surgery_date"]:
                reason = "after_surgery"
            elif taken > diagnosed:
                reason = "after_chemotherapy" if rows[0]["neoadjuvant"] == "yes" else "after_biopsy"
            elif (date.fromisoformat(diagnosed) - date.fromisoformat(taken)).days > most:
                reason = "older_prior"
        found.append((sure or own, reason, rows[0]["diagnosis_date"] if rows else ""))

    def rivals(number: int) -> list[dict]:
        """Images that stay so far, of the breast of a file."""
        owner, side = found[number][0], files[number]["ImageLaterality"]
        same = [k for k, one in enumerate(found) if one[:2] == (owner, "") and files[k]["ImageLaterality"] == side]
        return [files[k] for k in same]

    def earlier(number: int) -> bool:
        return any(other["image_date"] < files[number]["image_date"] for other in rivals(number))

    same_day = [one[1] == "" and files[k]["image_date"] == one[2] and earlier(k) for k, one in enumerate(found)]
    found = [(one[0], "after_biopsy" if late else one[1], one[2]) for one, late in zip(found, same_day, strict=True)]
    stays = []
    for k, (patient, reason, _) in enumerate(found):
        last = [other for other in rivals(k) if other["image_date"] == max(rival["image_date"] for rival in rivals(k))]
        studies = {other["StudyInstanceUID"] or other["image_date"] for other in last}
        late = reason == "" and (files[k]["StudyInstanceUID"] or files[k]["image_date"]) not in studies
        stays.append((patient, "older_prior" if late else reason))
    return stays


def test_small_random_archives_are_joined_as_by_a_slow_loop():
    rng = np.random.default_rng(20260)
    seen = {}
    for _ in range(150):
        patients = rng.choice(["7", "007", "８", "9 ", "10", "011", "A1"], rng.integers(2, 4), replace=False)
        listed = [
            {
                "patient_id": patient,
                "laterality": side,
                "diagnosis_date": before(int(rng.integers(0, 3))),
                "surgery_date": str(rng.choice(["", before(-2), before(-4)])),
                "neoadjuvant": str(rng.choice(["", "no", "yes"])),
                "reason": reason,
                "detail": reason,
                "label": "" if reason == "two_types" else str(rng.choice(["硬癌", "a1", "a2"])),
            }
            for patient in map(str, patients)
            for side in ("L", "R")
            if rng.random() < 0.7
            for reason in [str(rng.choice(["", "", "", "two_types"]))]
        ]
        if not listed:
            continue
        owners = [*patients, *rng.choice(["7", "07", "007", "8", "9", "０9", "0010", "11", "1 1", "12", ""], 2)]
        files = headers(
            *(
                {
                    "PatientID": str(rng.choice(owners)),
                    "ImageLaterality": str(rng.choice(["L", "R", "L", "R", ""])),
                    "image_date": str(rng.choice(["", *(before(days) for days in range(-6, 12))])),
                    "StudyInstanceUID": str(rng.choice(["", "a", "b", "c"])),
                    "reason": reason,
                    "detail": reason,
                }
                for reason in map(str, rng.choice(["", "", "", "", "for_processing"], rng.integers(1, 40)))
            )
        )
        untouched = files.copy()
        rows, report = linkage.link(files, breasts(*listed), [0, 8])
        pd.testing.assert_frame_equal(files, untouched)
        expected = slow_link(files.to_dict("records"), listed, 8)
        assert list(zip(rows["patient_id"], rows["reason"], strict=True)) == expected
        labels = {(row["patient_id"], row["laterality"]): row["label"] for row in listed}
        left = rows[rows["reason"] == ""]
        assert left["label"].tolist() == [
            labels[key] for key in zip(left["patient_id"], left["ImageLaterality"], strict=True)
        ]
        assert report["left"] + sum(report["excluded"].values()) == report["files"] == len(files)
        json.dumps(report)
        for reason in rows["reason"]:
            seen[reason] = seen.get(reason, 0) + 1
    wanted = {"", "for_processing", "patient_not_listed", "id_ambiguous", "laterality_unknown", "other_breast"}
    wanted |= {"two_types", "no_image_date", "after_surgery", "after_chemotherapy", "after_biopsy", "older_prior"}
    assert set(seen) == wanted
    assert min(seen.values()) >= 10, seen


@pytest.fixture
def linked(request):
    """A list of four breasts, by its own reader's rules, and seven files."""
    known = words.read_label_map(request.config.rootpath / "params/labels_idc.csv", CLASSES)
    lesion = dict.fromkeys(words.COLUMN_NAMES, "") | {"diagnosis_date": DIAGNOSIS.isoformat()}
    lesions = [
        {"patient_id": "1", "laterality": "L", "histology": "硬がん", "age": "50", "lesion_size_mm": "12"},
        {"patient_id": "1", "laterality": "R", "histology": "硬癌+充実型"},
        {"patient_id": "002", "laterality": "L", "histology": "充実型", "specimen": "core"},
        {"patient_id": "3", "laterality": "R", "histology": "髄様癌"},
        {"patient_id": "3", "laterality": "R", "histology": "粘液癌"},
    ]
    listed = pathology.one_row_a_breast(pd.DataFrame([lesion | row for row in lesions]), known)
    files = headers(
        *({"ViewPosition": view, "ImageLaterality": side} for side in "LR" for view in ("CC", "MLO")),
        {"PatientID": "2", "pixel_spacing_mm": 5.0},
        {"PatientID": "3", "ImageLaterality": "R"},
        {"PatientID": "3", "ImageLaterality": "R", "image_date": before(200)},
    )
    return *linkage.link(files, listed), known


def test_the_result_is_a_registry_that_reads_to_the_same_cohort(linked, tmp_path):
    rows, _, known = linked
    registry = linkage.registry_columns(rows)
    registry.to_csv(tmp_path / "registry.csv", index=False)
    read = read_registry(tmp_path / "registry.csv")
    again = classify(read, CLASSES, known, "2006-01-01", "2017-12-31")
    direct = classify(rows[rows["reason"] == ""], CLASSES, known, "2006-01-01", "2017-12-31")
    columns = [*REQUIRED, *OPTIONAL, "reason"]
    pd.testing.assert_frame_equal(again[columns], direct[columns].reset_index(drop=True), check_dtype=False)
    assert again["label"].tolist() == ["scirrhous", "scirrhous", "solid", ""]
    assert again["reason"].tolist() == ["", "", "", "other_histology"]
    assert registry[list(pathology.DESCRIPTION)].to_numpy().tolist()[0] == ["50", "", "12", ""]


def test_each_breast_of_the_list_has_its_images_counted():
    listed = breasts({}, {"laterality": "R"}, {"patient_id": "2"})
    rows, _ = linkage.link(headers({}, {"image_date": before(300)}, {"ImageLaterality": "R"}), listed)
    found = linkage.images_of_breasts(listed, rows)
    assert found[["images", "left"]].to_numpy().tolist() == [[2, 1], [1, 1], [0, 0]]


def test_the_report_counts_the_list_the_ids_and_the_reasons(linked):
    _, report, _ = linked
    assert report == {
        **{"list_rows": 5, "breasts": 4, "patients": 3, "bilateral": 1, "other_rows": 0, "core_differs": 0},
        **{"core_differs_treatment_unknown": 0, "dated_by_surgery": 0},
        "two_types": {"larger_counts": 0, "excluded": 1},
        "not_in_list": ["neoadjuvant"],
        "ids": {"exact": 2, "leading_zeros": 1},
        **{"ids_alike_in_list": 0, "patients_without_file": 0, "breasts_without_image": 1},
        **{"files": 7, "left": 4, "excluded": {"two_types": 2, "older_prior": 1}},
    }


def test_the_dry_run_tells_what_is_left_and_how_exact_an_accuracy_would_be(linked):
    rows, report, known = linked
    lines = linkage.dry_run_lines(classify(rows, CLASSES, known), report, CLASSES, 0.3)
    assert lines[0] == "5 rows of the list: 4 breasts of 3 patients, 1 of them with both"
    assert (
        "7 files; this would leave at most 3 images of 2 patients (tubule forming 0, solid 1, scirrhous 2), "
        "for no pixel was read"
    ) in lines
    assert "  2 out: two types in one breast, the larger not known (two_types)" in lines
    assert "patients' ids in the files: exact 2, leading_zeros 1" in lines
    assert "0 breasts with several types have that of the larger lesion, 1 leave" in lines
    assert any(line.startswith("no neoadjuvant in the list") for line in lines)
    assert lines[-1].startswith("an accuracy known to +-44.5 points: Wilson's 95 % interval at 0.5 with 1 patients")
    assert linkage.dry_run_lines(rows, report, CLASSES, 0)[-1] == "no test part, so no accuracy"
    none = rows.assign(reason="other_histology")
    assert any("at most 0 images of 0 patients" in line for line in linkage.dry_run_lines(none, report, CLASSES, 0.3))
    assert not any(secret in "".join(lines) for secret in ("002", "2010", ".dcm"))


@pytest.mark.parametrize(("patients", "accuracy", "points"), [(131, 62 / 131, 8.4), (131, 0.5, 8.4), (400, 0.5, 4.9)])
def test_the_points_are_half_of_wilsons_interval_over_patients(patients, accuracy, points):
    rows = pd.DataFrame({"patient_id": [f"p{k // 2}" for k in range(2 * patients)], "reason": "", "label": "solid"})
    report = dict.fromkeys(("list_rows", "breasts", "patients", "bilateral", "patients_without_file"), 0)
    report |= dict.fromkeys(("breasts_without_image", "ids_alike_in_list", "other_rows", "core_differs"), 0)
    report |= {
        "core_differs_treatment_unknown": 0,
        "dated_by_surgery": 0,
        "two_types": {"larger_counts": 0, "excluded": 0},
    }
    line = linkage.dry_run_lines(rows, report | {"ids": {}, "not_in_list": []}, CLASSES, 1.0, accuracy)[-1]
    assert f"+-{points} points" in line
    assert f"with {patients} patients" in line
