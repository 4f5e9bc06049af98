"""Nothing that names a patient leaves notebook 01: texts of header, path and list are marked, then looked for."""

import itertools
import subprocess
import sys

import pandas as pd
import pytest
from pydicom import dcmread
from pydicom.datadict import DicomDictionary

from mammolib.pathology import DESCRIPTION, read_pathology
from mammolib.phantom_cohort import plan_cohort, write_cohort
from mammolib.rooms import project_root, read_result
from mammolib.words import COLUMN_NAMES

MARK, UID, DAY = "zqMARKEDqz", "1.2.826.0.1.3680043.99.4711", "20110307"
WIDE = "ｚｑＭＡＲＫＥＤｑｚ"
DAYS = ("20110307", "2011-03-07", "2011/03/07", "20110320", "2011-03-20", "2011/3/20")
TEXTS = ("PN", "LO", "SH", "ST", "LT", "UT", "UC", "AE")
NEEDED = ("Manufacturer",)  # from a closed list, so that it stays itself
GROUPS = (0x0008, 0x0010, 0x0018, 0x0020, 0x0032, 0x0038, 0x0040, 0x4008)  # who, where and how: all that is text is set
NOTEBOOK = "01_data_curation"


def mark(dataset, numbers) -> int:
    """Put the mark into every text, UID and day of a header, sequences included; returns how many."""
    count = 0
    for element in list(dataset):
        if element.VR == "SQ":
            count += sum(mark(item, numbers) for item in element.value)
        elif element.VR in TEXTS and element.keyword not in NEEDED:
            element.value, count = MARK, count + 1
        elif element.VR == "UI" and element.keyword not in ("SOPClassUID", "ReferencedSOPClassUID"):
            element.value, count = f"{UID}.{next(numbers)}", count + 1
        elif element.VR == "DA":
            element.value, count = DAY, count + 1
    return count


@pytest.fixture(scope="module")
def hospital(tmp_path_factory):
    """Files of a hospital, all marked, with a registry and a pathology list; returns the folder."""
    folder, numbers = tmp_path_factory.mktemp("hospital") / MARK, itertools.count(1)
    plan = plan_cohort(3, 16, 6, [1, 1, 1])
    plan = plan[plan["trap"].isin(["", "magnification_view", "cut_short"])].reset_index(drop=True)
    write_cohort(folder, plan, 3, 2.0, 1, 1, workers=1)
    (folder / "source" / MARK).mkdir(parents=True)
    (folder / "source" / MARK / f"{MARK}.txt").write_text(MARK)
    registry = plan.loc[:, "patient_id":"split"].assign(
        patient_id=MARK + plan["patient_id"], diagnosis_date="2011-03-07", age="41", specimen="core"
    )
    registry["image_path"] = [f"source/{MARK}/{MARK}{k}.dcm" for k in registry.index]
    for source, target, owner, trap in zip(
        plan["image_path"], registry["image_path"], registry["patient_id"], plan["trap"], strict=True
    ):
        if trap == "cut_short":
            (folder / source).rename(folder / target)
            continue
        dataset = dcmread(folder / source)
        for tag, (vr, _, _, retired, keyword) in DicomDictionary.items():
            usual = tag >> 16 in GROUPS and not retired and not keyword.startswith("Contrast")  # which would exclude it
            if vr in TEXTS and usual and keyword not in dataset:
                setattr(dataset, keyword, "x")
        dataset.PatientBirthDate = DAY
        dataset.private_block(0x0099, MARK, create=True).add_new(1, "LO", MARK)
        assert mark(dataset, numbers) > 200
        dataset.QualityControlImage, dataset.PatientID = "NO", owner
        dataset.save_as(folder / target)
    registry.assign(**{"氏名": MARK, MARK: MARK}).to_csv(folder / "registry.csv", index=False)
    lesions = registry.drop_duplicates("patient_id").rename(columns={"ImageLaterality": "laterality"})
    lesions = lesions.assign(diagnosis_date="2011-03-20", histology=lesions["label"], **{"氏名": MARK})
    lesions["patient_id"] = lesions["patient_id"].mask(lesions.index % 4 < 2, lesions["patient_id"] + " ")
    lesions["patient_id"] = lesions["patient_id"].str.replace(f"{MARK}SYN00009", f"{WIDE}SYN00009")
    lesions = pd.concat([lesions, lesions[:1].assign(patient_id=f"{MARK} of no file")])
    listed = [name for name in COLUMN_NAMES if name in lesions]
    lesions[[*listed, "氏名"]].to_csv(folder / "list.csv", index=False)
    return folder


def command(verb: str, folder, layout: str) -> list[str]:
    """Run or preview notebook 01 on the files of a hospital."""
    chosen = {"image_height": 64, "image_width": 64, "layout": layout, "test_share": 0.3}
    lists = {"registry": {"registry": folder / "registry.csv"}}
    lists["archive"] = {"registry": "null", "pathology": folder / "list.csv", "source": folder / "source"}
    words = [sys.executable, "-m", "mammolib", verb, "report", "--outputs", str(folder.parent / f"{layout}_outputs")]
    for name, value in (chosen | lists[layout]).items():
        words += ["-p", f"{NOTEBOOK}.{name}={value}"]
    return words + ["--to", NOTEBOOK] * (verb == "run")


@pytest.fixture(scope="module", params=["registry", "archive"])
def marked(hospital, request):
    """Run notebook 01, after its preview where there is one; returns the outputs' folder and what was printed."""
    printed = ""
    for verb in ("preview", "run")[request.param == "registry" :]:
        words = command(verb, hospital, request.param)
        done = subprocess.run(words, cwd=project_root(), capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-1500:]
        printed += done.stdout + done.stderr
    return hospital.parent / f"{request.param}_outputs", printed


def test_no_mark_is_in_any_byte_of_what_is_written_or_printed(marked):
    outputs, printed = marked
    result = read_result(outputs / f"{NOTEBOOK}.json")
    assert result["cohort"]["kind"] == "hospital"
    assert result["results"]["flow"]["included"] >= 20
    assert ("would leave" in printed) == (outputs.name == "archive_outputs")
    files = [path for path in outputs.rglob("*") if path.is_file() and "private" not in path.parts]
    assert {path.name for path in files} >= {f"{NOTEBOOK}.ipynb", f"{NOTEBOOK}.json", "cohort.csv"}
    for text in (MARK, MARK.lower(), WIDE, UID, *DAYS, "PHANTOM^", "SYN000", "of no file"):
        assert text not in printed
        for path in files:
            assert text.encode() not in path.read_bytes(), f"{text} in {path.name}"
            assert text not in str(path.relative_to(outputs))


@pytest.mark.parametrize("column", ["laterality", "diagnosis_date", "specimen", "neoadjuvant", *DESCRIPTION[:3]])
def test_a_list_with_text_where_none_is_allowed_is_refused_without_it(hospital, column):
    lesions = pd.read_csv(hospital / "list.csv", dtype=str, keep_default_na=False)
    lesions.assign(**{column: MARK}).to_csv(hospital.parent / "wrong.csv", index=False)
    with pytest.raises(ValueError, match=f"column {column}") as caught:
        read_pathology(hospital.parent / "wrong.csv")
    assert MARK not in str(caught.value)


def test_what_is_private_can_be_read_by_its_owner_alone(marked):
    outputs, _ = marked
    private = outputs / NOTEBOOK / "private"
    assert MARK in (private / "key.csv").read_text()
    found = [path for path in private.rglob("*") if path.is_file()]
    assert len(found) >= 4  # two keys, facts and images of the cache
    assert {path.stat().st_mode & 0o777 for path in found} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in (private, private / "cache")} == {0o700}


def test_the_tables_hold_what_they_should(marked):
    cohort = pd.read_csv(marked[0] / NOTEBOOK / "cohort.csv")
    assert set(cohort["Manufacturer"]) == {"mammolib phantom"}
    assert cohort["patient"].str.fullmatch("P[0-9]{4}").all()
