"""Nothing that names a patient leaves notebook 01: texts of header, path and registry are marked, then looked for."""

import subprocess
import sys

import pandas as pd
import pytest
from pydicom import dcmread

from mammolib.phantom_cohort import plan_cohort, write_cohort
from mammolib.rooms import project_root, read_result

MARK, UID, DAY = "zqMARKEDqz", "1.2.826.0.1.3680043.99.4711", "20110307"
TEXTS = ("PN", "LO", "SH", "ST", "LT", "UT", "UC", "AE")
NEEDED = ("Manufacturer",)  # from a closed list, so that it stays itself


def mark(dataset) -> int:
    """Put the mark into every text, UID and day of a header, sequences included; returns how many."""
    count = 0
    for element in list(dataset):
        if element.VR == "SQ":
            count += sum(mark(item) for item in element.value)
        elif element.VR in TEXTS and element.keyword not in NEEDED and "LUT" not in element.keyword:
            element.value, count = MARK, count + 1
        elif element.VR == "UI" and element.keyword not in ("SOPClassUID", "ReferencedSOPClassUID"):
            element.value, count = f"{UID}.{abs(hash((id(dataset), element.keyword))) % 10**9}", count + 1
        elif element.VR == "DA":
            element.value, count = DAY, count + 1
    return count


@pytest.fixture(scope="module")
def marked(tmp_path_factory):
    """Write a hospital's registry and files, all marked, and run notebook 01 on them; returns the outputs' folder."""
    folder = tmp_path_factory.mktemp("hospital")
    plan = plan_cohort(3, 16, 6, [1, 1, 1])
    plan = plan[plan["trap"].isin(["", "magnification_view", "cut_short"])].reset_index(drop=True)
    write_cohort(folder, plan, 3, 2.0, 1, 1, workers=1)
    (folder / MARK).mkdir()
    registry = plan.loc[:, "patient_id":"split"].assign(
        patient_id=MARK + plan["patient_id"], diagnosis_date="2011-03-07", age="41", specimen="core"
    )
    registry["image_path"] = [f"{MARK}/{MARK}{k}.dcm" for k in registry.index]
    for source, target in zip(plan["image_path"], registry["image_path"], strict=True):
        if plan.set_index("image_path").loc[source, "trap"] == "cut_short":
            (folder / source).rename(folder / target)
            continue
        dataset = dcmread(folder / source)
        dataset.PatientBirthDate, dataset.StudyDescription, dataset.PatientAddress = DAY, "x", "x"
        dataset.OtherPatientIDs, dataset.ImageComments, dataset.StationName = "x", "x", "x"
        assert mark(dataset) > 20
        dataset.QualityControlImage, dataset.PatientID = "NO", MARK + "1"
        dataset.save_as(folder / target)
    registry.to_csv(folder / "registry.csv", index=False)
    outputs = folder / "outputs"
    command = [sys.executable, "-m", "mammolib", "run", "report", "--to", "01_data_curation", "--outputs", str(outputs)]
    command += ["-p", f"01_data_curation.registry={folder / 'registry.csv'}", "-p", "01_data_curation.image_height=64"]
    command += ["-p", "01_data_curation.image_width=64"]
    done = subprocess.run(command, cwd=project_root(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-1500:]
    return outputs, done.stdout + done.stderr


def test_no_mark_is_in_any_byte_of_what_is_written_or_printed(marked):
    outputs, printed = marked
    result = read_result(outputs / "01_data_curation.json")
    assert result["cohort"]["kind"] == "hospital"
    assert result["results"]["flow"]["included"] >= 20
    files = [path for path in outputs.rglob("*") if path.is_file() and "private" not in path.parts]
    assert {path.name for path in files} >= {"01_data_curation.ipynb", "01_data_curation.json", "cohort.csv"}
    for text in (MARK, MARK.lower(), UID, DAY, "2011-03-07", "2011/03/07", "PHANTOM^"):
        assert text not in printed
        for path in files:
            assert text.encode() not in path.read_bytes(), f"{text} in {path.name}"


def test_what_is_private_can_be_read_by_its_owner_alone(marked):
    outputs, _ = marked
    private = outputs / "01_data_curation" / "private"
    assert MARK in (private / "key.csv").read_text()
    found = [path for path in private.rglob("*") if path.is_file()]
    assert len(found) >= 4  # two keys, facts and images of the cache
    assert {path.stat().st_mode & 0o777 for path in found} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in (private, private / "cache")} == {0o700}


def test_the_tables_hold_what_they_should(marked):
    cohort = pd.read_csv(marked[0] / "01_data_curation" / "cohort.csv")
    assert set(cohort["Manufacturer"]) == {"mammolib phantom"}
    assert cohort["patient"].str.fullmatch("P[0-9]{4}").all()
