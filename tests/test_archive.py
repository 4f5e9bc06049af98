"""A folder of anything, scanned: every file has a row, headers are judged, and nothing is read twice."""

import errno
import os
import warnings

import pandas as pd
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    DigitalMammographyXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
)

from mammolib import archive
from mammolib.headers import header_facts
from mammolib.terms import REASONS

RULES = {"storage_classes": ["mammography"], "keep_burned_in": False, "spacing_range_mm": [0.01, 2.0]}


def write(path, storage=DigitalMammographyXRayImageStorageForPresentation, syntax=ExplicitVRLittleEndian, **elements):
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.Modality = storage, "1.2.3", "MG"
    dataset.PatientID, dataset.PatientName, dataset.PatientBirthDate = "0012", "Planted^Name", "19600101"
    dataset.StudyDate, dataset.ImageLaterality, dataset.ViewPosition = "20100501", "L", "CC"
    for name, value in elements.items():
        setattr(dataset, name, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)


def scan(folder, rules=RULES, workers=1) -> pd.DataFrame:
    return archive.scan_archive(folder / "export", folder / "private" / "cache", rules, workers)


@pytest.fixture
def folder(tmp_path):
    """An export of eleven files, two links and a folder name from Windows."""
    export = tmp_path / "export"
    write(export / "b" / "2" / "IM1")
    write(export / "b" / "10" / "IM1.dcm", BurnedInAnnotation="YES", PatientComments="x" * 5000)
    write(export / "a.dcm", PresentationIntentType="FOR PROCESSING", syntax=DeflatedExplicitVRLittleEndian)
    write(export / "DICOMDIR", MediaStorageDirectoryStorage)
    write(export / "frames", NumberOfFrames=0)
    whole = (export / "b" / "2" / "IM1").read_bytes()
    (export / "cut").write_bytes(whole[: whole.index(b"CS\x02\0MG")])
    (export / "bare").write_bytes(whole[whole.index(b"\x08\0\x16\0UI") :])
    (export / "empty").touch()
    (export / ".Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0" * 99)
    (export / "病理.txt").write_text("山田")
    (export / "Planted.txt").write_text("Planted^Name")
    (export / "inside").symlink_to("a.dcm")
    (export / "outside").symlink_to(tmp_path)
    with open(os.path.join(os.fsencode(export), "画像".encode("cp932")), "wb") as misnamed:
        misnamed.write(whole)
    return tmp_path


@pytest.mark.parametrize("workers", [1, 2])
def test_every_file_has_a_row_in_the_order_of_paths(folder, workers):
    rows = scan(folder, workers=workers)
    assert rows[["image_path", "reason"]].to_numpy().tolist() == [
        [".Thumbs.db", "not_image"],
        ["DICOMDIR", "not_image"],
        ["Planted.txt", "not_image"],
        ["a.dcm", "for_processing"],
        ["b/10/IM1.dcm", "burned_in_annotation"],
        ["b/2/IM1", ""],
        ["bare", "unreadable"],
        ["cut", "unreadable"],
        ["empty", "not_image"],
        ["frames", "unreadable"],
        ["outside", "outside_folder"],
        ["病理.txt", "not_image"],
        [r"\x89摜", "unreadable"],
    ]
    assert set(rows["reason"]) - {""} <= set(REASONS)
    assert (rows["detail"].str.len() > 5).equals(rows["reason"] != "")
    assert not rows["detail"].str.contains("Planted|IM1|0012").any()


def test_facts_are_those_of_the_header(folder):
    rows = scan(folder).set_index("image_path")
    for path in ("b/2/IM1", "b/10/IM1.dcm", "a.dcm"):
        facts = header_facts(pydicom.dcmread(folder / "export" / path))
        found = rows.loc[path, list(facts)]
        assert {name: value for name, value in facts.items() if value is not None} == found.dropna().to_dict()
    assert rows.loc["b/2/IM1", ["PatientID", "image_date", "ImageLaterality"]].tolist() == ["0012", "2010-05-01", "L"]
    assert rows.loc["empty"].drop(["reason", "detail"]).isna().all()


def test_a_second_scan_reads_what_is_new_and_other_rules_read_nothing(folder, capsys):
    scan(folder)
    capsys.readouterr()
    write(folder / "export" / "new")
    assert scan(folder)["reason"].eq("").sum() == 2
    assert "11 of 12 files are known" in capsys.readouterr().out
    rows = scan(folder, RULES | {"keep_burned_in": True, "storage_classes": ["secondary_capture"]})
    assert "12 of 12 files are known" in capsys.readouterr().out
    reasons = rows.set_index("image_path")["reason"]
    assert reasons[["new", "b/10/IM1.dcm", "a.dcm"]].tolist() == ["storage_class"] * 3


@pytest.mark.parametrize(("number", "known"), [(errno.EIO, 0), (errno.ESTALE, 0), (errno.EINVAL, 11), (None, 11)])
def test_headers_that_a_disk_or_a_server_did_not_give_are_read_again(folder, monkeypatch, capsys, number, known):
    def failing(*arguments, **named):
        raise OSError(number, "Planted") if number else OSError("Planted")

    with monkeypatch.context() as patched:
        patched.setattr(pydicom, "dcmread", failing)
        rows = scan(folder)
    assert set(rows["reason"]) == {"unreadable", "outside_folder"}
    assert not rows["detail"].str.contains("Planted").any()
    capsys.readouterr()
    assert (scan(folder)["reason"] == "").sum() == (0 if known else 1)
    assert ("11 of 11 files are known" in capsys.readouterr().out) == (known == 11)


def test_a_folder_that_can_t_be_listed_has_a_row(folder, monkeypatch):
    listed = os.scandir

    def denied(path):
        if str(path).endswith("b"):
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", denied)
    rows = scan(folder).set_index("image_path")
    assert rows.loc["b", ["reason", "detail"]].tolist() == ["unreadable", "a folder or a device, not a file"]


def test_no_folder_or_an_empty_one_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="export: no such folder, or no file in it"):
        scan(tmp_path)
    (tmp_path / "export").mkdir()
    with pytest.raises(FileNotFoundError, match="export: no such folder, or no file in it"):
        scan(tmp_path)


def test_a_header_s_faults_are_not_printed(folder, capfd):
    with pydicom.config.disable_value_validation(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write(folder / "export" / "odd", PatientBirthDate="Planted", StudyDate="Planted", StudyInstanceUID="Planted")
    assert scan(folder).set_index("image_path").loc["odd", "storage_class"] == "mammography"
    assert "Planted" not in "".join(capfd.readouterr())


@pytest.mark.parametrize("begin", [b"PK\x03\x04", b"\x1f\x8b\x08", b"7z\xbc\xaf\x27\x1c"])
def test_packed_files_are_told(tmp_path, begin):
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "all").write_bytes(begin + bytes(500))
    assert scan(tmp_path)[["reason", "detail"]].to_numpy().tolist() == [
        ["not_image", "packed files, to be unpacked first"]
    ]
