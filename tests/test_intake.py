"""Files through the intake: facts and images by row, the cache that a stopped run goes on from, digests that settle."""

import errno
import os
import resource
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import (
    DigitalMammographyXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
    generate_uid,
)

from mammolib import intake, leakage
from mammolib.phantom_dicom import write_dataset

RULES = {"storage_classes": ["mammography"], "keep_burned_in": False, "spacing_range_mm": [0.01, 2.0]}
READ = {"rules": RULES, "voi": "lut", "voi_index": 0}
FRAME = {"height": 24, "width": 16, "aspect": "pad", "background": "zero"}


def breast(seed: int, rows: int = 64, columns: int = 64) -> np.ndarray:
    """A breast at the left, (rows, columns) uint16, with a fine structure of its own."""
    y, x = np.mgrid[:rows, :columns]
    inside = ((y - rows / 2) / (rows / 2.1)) ** 2 + (x / columns * 1.4) ** 2 < 1
    noise = np.kron(np.random.default_rng(seed).normal(0, 3000, (16, 16)), np.ones((rows // 16, columns // 16)))
    return np.where(inside, 30000 + noise, 0).clip(0, 65535).astype(np.uint16)


def write_dicom(path, pixels, syntax=ExplicitVRLittleEndian, **elements):
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = DigitalMammographyXRayImageStorageForPresentation, generate_uid()
    dataset.Modality, dataset.PresentationIntentType = "MG", "FOR PRESENTATION"
    dataset.PatientID, dataset.PatientName, dataset.StudyInstanceUID = "Planted-7", "Planted^Name", generate_uid()
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation, dataset.SamplesPerPixel = 15, 0, 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    for name, value in elements.items():
        setattr(dataset, name, value)
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OW"
    write_dataset(path, dataset, syntax)


def registry(names, **columns) -> pd.DataFrame:
    table = pd.DataFrame({"patient_id": [f"p{k}" for k in range(len(names))], "image_path": names})
    table = table.assign(ImageLaterality="L", ViewPosition="CC", pixel_spacing_mm="0.2", reason="", detail="")
    return table.assign(**columns)


def prepare(folder, names, workers=1, frame=FRAME, read=READ, **columns):
    return intake.prepare_images(registry(names, **columns), folder, folder / "private" / "cache", frame, read, workers)


@pytest.fixture
def folder(tmp_path):
    """Twelve pictures of breasts on both sides; the fifth is cut short."""
    for k in range(12):
        Image.fromarray(breast(k) if k % 2 else breast(k)[:, ::-1].copy()).save(tmp_path / f"{k}.png")
    (tmp_path / "4.png").write_bytes((tmp_path / "4.png").read_bytes()[:300])
    return tmp_path


NAMES = [f"{k}.png" for k in range(12)]


def lines_of(folder) -> list[str]:
    (file,) = (folder / "private" / "cache").glob("images_*.jsonl")
    return file.read_text().splitlines(keepends=True)


@pytest.mark.parametrize("workers", [1, 3])
def test_each_row_gets_the_facts_and_the_image_of_its_own_file(folder, workers):
    rows, images = prepare(folder, NAMES[::-1], workers)
    assert rows["image_path"].tolist() == NAMES[::-1]
    assert rows["reason"].tolist() == ["unreadable" if name == "4.png" else "" for name in NAMES[::-1]]
    for row in rows[rows["reason"] == ""].itertuples():
        facts, image = intake.prepare_image(str(folder / row.image_path), "L", FRAME, READ)
        assert (row.digest, row.crop_left, row.flipped) == (facts["digest"], facts["crop_left"], facts["flipped"])
        np.testing.assert_array_equal(images[int(row.slot)], image)
        assert (image[:, 0] > 0).sum() > 2 * (image[:, -1] > 0).sum(), "the breast stands at the left"
    assert rows["slot"].isna().tolist() == [name == "4.png" for name in NAMES[::-1]]


def test_the_header_comes_before_the_registry_and_a_side_that_contradicts_it_is_out(tmp_path):
    write_dicom(tmp_path / "a", breast(1), ImageLaterality="R", ImagerPixelSpacing=[0.07, 0.07])
    write_dicom(tmp_path / "b", breast(2), ViewPosition="MLO")
    rows, _ = prepare(tmp_path, ["a", "b"], ImageLaterality=["", "R"], pixel_spacing_mm=["0.2", "0.1"])
    assert rows["reason"].tolist() == ["", ""]
    assert rows["ImageLaterality"].tolist() == ["R", "R"]
    assert rows["ViewPosition"].tolist() == ["CC", "MLO"]
    assert rows["pixel_spacing_mm"].tolist() == [0.07, 0.1]
    assert rows["pixel_spacing_source"].tolist() == ["ImagerPixelSpacing", "registry"]
    assert rows["breast_area_mm2"].tolist() == pytest.approx(rows["breast_pixels"] * np.array([0.0049, 0.01]))
    rows, _ = prepare(tmp_path, ["a"], ImageLaterality="L", pixel_spacing_mm="")
    assert rows["reason"].tolist() == ["laterality_contradictory"]
    assert rows["pixel_spacing_source"].tolist() == [""]


def test_rows_that_are_out_are_not_read_and_keep_their_reason(folder, capsys):
    rows, images = prepare(folder, ["0.png", "none.png"], reason=["outside_period", "older_prior"], detail="d")
    assert rows[["reason", "detail"]].to_numpy().tolist() == [["outside_period", "d"], ["older_prior", "d"]]
    assert len(images) == 0
    assert capsys.readouterr().out == ""


def test_a_path_may_not_leave_the_folder_and_no_detail_tells_one(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    Image.fromarray(breast(99)).save(other / "Planted.png")
    (folder / "link.png").symlink_to(other / "Planted.png")
    (folder / "inside.png").symlink_to(folder / "1.png")
    (folder / "linked").symlink_to(other)
    (folder / "sub").mkdir()
    climbing = os.path.relpath(other / "Planted.png", folder)
    names = ["link.png", "linked/Planted.png", climbing, str(other / "Planted.png"), "sub/../1.png", "inside.png"]
    names += ["none.png", "sub", "a" * 300, "nul\0.png"]
    rows, _ = prepare(folder, names)
    expected = ["outside_folder"] * 4 + [""] * 2 + ["missing_file", "unreadable"] * 2
    assert rows["reason"].tolist() == expected
    assert not rows["detail"].str.contains("Planted|png|sub|tmp|aaa", regex=True).any()
    cache = folder / "private" / "cache"
    rows, _ = intake.prepare_images(registry(names[:4]), folder, cache, FRAME, READ, 1, allow_outside=True)
    assert rows["reason"].tolist() == [""] * 4


def test_a_second_run_reads_only_what_is_new_or_has_changed(folder, capsys):
    first, before = prepare(folder, NAMES[:8])
    held = (folder / "1.png").stat()
    content = (folder / "1.png").read_bytes()
    (folder / "1.png").write_bytes(b"0" * len(content))
    os.utime(folder / "1.png", ns=(held.st_atime_ns, held.st_mtime_ns))  # the size and the time that it had
    (folder / "2.png").write_bytes((folder / "3.png").read_bytes())
    capsys.readouterr()
    rows, images = prepare(folder, NAMES)
    out = capsys.readouterr().out
    assert "6 of 12 files are known from a run before" in out
    assert "6 of 6 files" in out
    assert rows["reason"].tolist() == ["unreadable" if name in ("1.png", "4.png") else "" for name in NAMES]
    pd.testing.assert_series_equal(rows["slot"][[0, 3, 5, 6, 7]], first["slot"][[0, 3, 5, 6, 7]])
    np.testing.assert_array_equal(images[: len(before)], before)
    assert rows["digest"][2] == rows["digest"][3] != first["digest"][2]


@pytest.mark.parametrize(
    ("frame", "read"),
    [
        ({"height": 16}, {}),
        ({"background": "keep"}, {}),
        ({}, {"voi": "window"}),
        ({}, {"voi_index": 1}),
        ({}, {"rules": RULES | {"keep_burned_in": True}}),
    ],
)
def test_another_parameter_reads_everything_again_and_forgets_nothing(folder, frame, read, capsys):
    prepare(folder, NAMES[:2])
    _, images = prepare(folder, NAMES[:2], frame=FRAME | frame, read=READ | read)
    assert images.shape[1] == frame.get("height", 24)
    assert "known" not in capsys.readouterr().out
    prepare(folder, NAMES[:2])
    assert "2 of 2 files are known" in capsys.readouterr().out


def test_files_of_one_name_size_and_time_in_two_folders_are_two(tmp_path, capsys):
    for k, name in enumerate(("a", "b")):
        (tmp_path / name).mkdir()
        write_dicom(tmp_path / name / "IM1", breast(k), SOPInstanceUID=f"1.2.{k}", StudyInstanceUID="1.3")
        os.utime(tmp_path / name / "IM1", ns=(10**18, 10**18))
    assert len({(tmp_path / name / "IM1").stat().st_size for name in "ab"}) == 1
    cache = tmp_path / "private" / "cache"
    found = [intake.prepare_images(registry(["IM1"]), tmp_path / name, cache, FRAME, READ, 1) for name in "aba"]
    assert [rows["SOPInstanceUID"][0] for rows, _ in found] == ["1.2.0", "1.2.1", "1.2.0"]
    assert capsys.readouterr().out.count("1 of 1 files are known") == 1


@pytest.mark.parametrize(
    ("step", "file"), [("pydicom.dcmread", "d"), ("mammolib.dicom.stored_values", "d"), ("PIL.Image.open", "r.png")]
)
@pytest.mark.parametrize(("number", "kept"), [(errno.EIO, False), (errno.ESTALE, False), (errno.EINVAL, True)])
def test_what_a_disk_or_a_server_was_at_fault_for_is_read_again(tmp_path, monkeypatch, step, file, number, kept):
    write_dicom(tmp_path / "d", breast(1))
    Image.fromarray(breast(2)).save(tmp_path / "r.png")

    def failing(*arguments, **named):
        raise OSError(number, "Planted")

    with monkeypatch.context() as patched:
        patched.setattr(step, failing)
        rows, _ = prepare(tmp_path, [file])
        assert rows["reason"].tolist() == ["unreadable"]
        assert "Planted" not in rows["detail"][0]
    assert prepare(tmp_path, [file])[0]["reason"].tolist() == ["unreadable" if kept else ""]


def test_the_registry_s_side_is_part_of_what_is_known(folder, capsys):
    prepare(folder, NAMES[:2], ImageLaterality="L")
    prepare(folder, NAMES[:2], ImageLaterality=["L", "R"])
    assert "1 of 2 files are known" in capsys.readouterr().out


@pytest.mark.parametrize("cut", [1, 40])
def test_a_torn_end_is_dropped_and_nothing_else(folder, cut, capsys):
    whole, before = prepare(folder, NAMES)
    before = before.copy()
    (lines,) = (folder / "private" / "cache").glob("*.jsonl")
    images = lines.with_suffix(".uint16")
    os.truncate(lines, lines.stat().st_size - cut)
    with images.open("ab") as torn:
        torn.write(b"half an image")
    capsys.readouterr()
    rows, after = prepare(folder, NAMES)
    assert "11 of 12 files are known" in capsys.readouterr().out
    pd.testing.assert_frame_equal(rows.drop(columns="slot"), whole.drop(columns="slot"))
    np.testing.assert_array_equal(after[rows["slot"].dropna().astype(int)], before[whole["slot"].dropna().astype(int)])
    os.truncate(images, images.stat().st_size - 2 * 24 * 16)  # a line without its image, as a power failure leaves it
    rows, after = prepare(folder, NAMES)
    np.testing.assert_array_equal(after[rows["slot"].dropna().astype(int)], before[whole["slot"].dropna().astype(int)])


def test_a_line_that_a_bad_disk_has_changed_is_passed_over(folder, capsys):
    prepare(folder, NAMES[:3])
    (file,) = (folder / "private" / "cache").glob("*.jsonl")
    lines = file.read_text().splitlines()
    file.write_text("\n".join([lines[0], lines[1][:20] + "\0\0", lines[2], "[1]", ""]))
    rows, _ = prepare(folder, NAMES[:3])
    assert "2 of 3 files are known" in capsys.readouterr().out
    assert rows["reason"].eq("").all()


def test_a_changed_digit_and_a_changed_pixel_are_found(folder, capsys):
    whole, before = prepare(folder, NAMES[:3])
    before = np.array(before)
    (lines,) = (folder / "private" / "cache").glob("*.jsonl")
    images = lines.with_suffix(".uint16")
    content = lines.read_bytes()
    lines.write_bytes(content.replace(b'"rows": ', b'"rows": 9', 1))
    pixels = bytearray(images.read_bytes())
    pixels[-1] ^= 1
    images.write_bytes(pixels)
    capsys.readouterr()
    rows, after = prepare(folder, NAMES[:3])
    assert "1 of 3 files are known" in capsys.readouterr().out
    pd.testing.assert_frame_equal(rows.drop(columns="slot"), whole.drop(columns="slot"))
    np.testing.assert_array_equal(after[rows["slot"].astype(int)], before[whole["slot"].astype(int)])


def test_no_image_is_anothers_where_the_file_of_images_was_removed(folder):
    names = [name for name in NAMES if name != "4.png"][:5]
    whole, before = prepare(folder, names)
    before = np.array(before[whole["slot"].astype(int)])
    (images,) = (folder / "private" / "cache").glob("*.uint16")
    images.unlink()
    prepare(folder, names[:2:-1])
    rows, after = prepare(folder, names)
    np.testing.assert_array_equal(after[rows["slot"].astype(int)], before)


def test_a_file_that_took_the_place_of_the_one_whose_header_was_read_is_out(tmp_path):
    rows = pd.DataFrame({"reason": "", "detail": "", "SOPInstanceUID": ["1.2", "1.2", "1.2", ""]})
    rows = rows.assign(pixel_spacing_mm="", ImageLaterality="")
    facts = pd.DataFrame({"reason": "", "detail": "", "SOPInstanceUID": ["1.2", "1.3", np.nan, "1.4"]})
    facts = facts.assign(
        pixel_spacing_mm=0.1, pixel_spacing_source="PixelSpacing", breast_pixels=9, ImageLaterality="L"
    )
    assert intake.joined(rows, facts)["reason"].tolist() == ["", "unreadable", "", "unreadable"]


KILLED = """
import sys, time
sys.path.insert(0, sys.argv[1])
import test_intake
from mammolib import intake
read = intake.read_breast
intake.read_breast = lambda *a, **k: time.sleep(0.1) or read(*a, **k)
from pathlib import Path
test_intake.prepare(Path(sys.argv[2]), test_intake.NAMES)
"""


def test_a_killed_run_loses_nothing_that_was_finished(folder, capsys):
    run = [sys.executable, "-c", KILLED, os.path.dirname(__file__), str(folder)]
    parent = subprocess.Popen(run, stdout=subprocess.DEVNULL)
    cache = folder / "private" / "cache"
    while not any(file.stat().st_size > 400 for file in cache.glob("*.jsonl")):
        assert parent.poll() is None
        time.sleep(0.01)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    finished = [line for line in lines_of(folder) if line.endswith("\n")]
    assert 1 <= len(finished) < 12
    rows, images = prepare(folder, NAMES)
    assert f"{len(finished)} of 12 files are known" in capsys.readouterr().out
    assert lines_of(folder)[: len(finished)] == finished
    for row in rows[rows["reason"] == ""].itertuples():
        image = intake.prepare_image(str(folder / row.image_path), "L", FRAME, READ)[1]
        np.testing.assert_array_equal(images[int(row.slot)], image)


@pytest.mark.parametrize("room", [1000, 2000, 4000])
def test_a_full_disk_is_an_error_and_loses_nothing_that_was_finished(folder, room, capsys):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            prepare(folder, NAMES)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    finished = [line for line in lines_of(folder) if line.endswith("\n")]
    rows, images = prepare(folder, NAMES)
    out = capsys.readouterr().out
    assert (f"{len(finished)} of 12 files are known" in out) == (len(finished) > 0)
    assert rows["reason"].eq("").sum() == 11
    for row in rows[rows["reason"] == ""].itertuples():
        image = intake.prepare_image(str(folder / row.image_path), "L", FRAME, READ)[1]
        np.testing.assert_array_equal(images[int(row.slot)], image)


def test_a_file_that_kills_its_reader_is_marked_alone_and_tried_again_by_the_next_run(folder, monkeypatch, capsys):
    read = intake.read_breast

    def deadly(path, *arguments, **named):
        if path.name == "3.png":
            os.kill(os.getpid(), signal.SIGSEGV)
        return read(path, *arguments, **named)

    with monkeypatch.context() as patched:
        patched.setattr(intake, "read_breast", deadly)
        rows, _ = prepare(folder, NAMES, 2)
    assert rows["reason"].tolist() == ["unreadable" if name in ("3.png", "4.png") else "" for name in NAMES]
    assert rows["detail"][3] == "crashes what reads it"
    assert prepare(folder, NAMES)[0]["reason"][3] == ""
    assert "11 of 12 files are known" in capsys.readouterr().out


def test_the_cache_is_for_its_owner_and_for_one_run_at_a_time(tmp_path):
    write_dicom(tmp_path / "Planted-path", breast(1))
    prepare(tmp_path, ["Planted-path"])
    for path in (tmp_path / "private", tmp_path / "private" / "cache"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    files = list((tmp_path / "private" / "cache").iterdir())
    assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o600] * 2
    for file in files:
        content = file.read_bytes()
        assert not any(part in content for part in (b"Planted-path", b"Planted^Name", str(tmp_path).encode()))
    code = "import fcntl, sys; file = open(sys.argv[1], 'r+b'); fcntl.lockf(file, fcntl.LOCK_EX); print(); input()"
    command = [sys.executable, "-u", "-c", code, str(files[0])]
    other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    other.stdout.readline()
    with pytest.raises(ValueError, match=r"cache/images_.*: another run is at work here"):
        prepare(tmp_path, ["Planted-path"])
    other.communicate(b"\n")
    assert prepare(tmp_path, ["Planted-path"])[0]["reason"][0] == ""


def test_one_exposure_in_two_syntaxes_gets_one_digest_though_jpeg_2000_was_read_smaller(tmp_path, capsys):
    for k, syntax in enumerate((JPEG2000Lossless, ExplicitVRLittleEndian, RLELossless)):
        write_dicom(tmp_path / f"same{k}", breast(1, 1344, 1280) // 16, syntax, BitsStored=12, HighBit=11)
    write_dicom(tmp_path / "other", breast(2, 1344, 1280) // 16, JPEG2000Lossless, BitsStored=12, HighBit=11)
    names = ["other", "same0", "same1", "same2"]
    rows, images = prepare(tmp_path, names)
    assert rows["reduced"].tolist() == [4, 4, 1, 1]
    assert rows["digest"].nunique() == 3
    assert rows["rows"].tolist() == [1344] * 4
    cache = tmp_path / "private" / "cache"
    capsys.readouterr()
    settled = intake.settle_digests(rows, images, tmp_path, cache, FRAME, READ, 1)
    assert "1 of 1 files" in capsys.readouterr().out
    assert settled["digest"].tolist() == [rows["digest"][0], *[rows["digest"][2]] * 3]
    pd.testing.assert_frame_equal(settled.drop(columns="digest"), rows.drop(columns="digest"))
    intake.settle_digests(rows, images, tmp_path, cache, FRAME, READ, 1)
    assert "1 of 1 files are known" in capsys.readouterr().out
    plain = rows[rows["reduced"] == 1]
    assert intake.settle_digests(plain, images, tmp_path, cache, FRAME, READ, 1) is plain


@pytest.mark.parametrize("block", [2, 250])
def test_twins_are_those_of_a_slow_search(tmp_path, monkeypatch, block):
    monkeypatch.setattr(intake, "BLOCK", block)
    pictures = np.stack([breast(seed) for seed in (0, 1, 0, 2, 0, 1, 3, 0)])
    group, chosen = np.arange(1, 7), np.array([1, 2, 4, 6])
    fine = [leakage.fine_structure(picture).ravel() for picture in pictures]
    slow = [sum(fine[one] @ fine[other] > intake.ALIKE for other in group if other != one) for one in chosen]
    with leakage.signatures(pictures, range(8), tmp_path, 1) as file:
        assert intake.twins(file, group, chosen).tolist() == slow == [1, 1, 1, 0]


def test_an_image_alone_in_its_size_is_not_looked_at(tmp_path, capsys):
    for k, rows in enumerate((1344, 1280, 1280)):
        write_dicom(tmp_path / f"{k}", breast(k, rows, 1280), JPEG2000Lossless if k == 0 else ExplicitVRLittleEndian)
    rows, pictures = prepare(tmp_path, ["0", "1", "2"])
    assert rows["reduced"].tolist() == [4, 1, 1]
    capsys.readouterr()
    cache = tmp_path / "private" / "cache"
    assert intake.settle_digests(rows, pictures, tmp_path, cache, FRAME, READ, 1) is rows
    assert capsys.readouterr().out == ""


def test_saved_images_are_those_of_their_slots_and_do_not_stay_in_memory(folder):
    rows, mapped = prepare(folder, NAMES)
    slots = rows["slot"].dropna().astype(int).to_numpy()[::-1]
    intake.save_images(folder / "saved.npy", mapped, slots)
    (file,) = (folder / "private" / "cache").glob("*.uint16")
    lines = iter(Path("/proc/self/smaps").read_text().splitlines() if Path("/proc/self/smaps").exists() else "")
    held = [next(line for line in lines if line.startswith("Rss:")) for row in lines if file.name in row]
    assert sum(int(line.split()[1]) for line in held) == 0
    saved = np.load(folder / "saved.npy")
    assert saved.dtype == np.uint16
    np.testing.assert_array_equal(saved, mapped[slots])


def test_what_is_whole_at_a_lower_resolution_alone_leaves(tmp_path, monkeypatch):
    for k in range(2):
        write_dicom(tmp_path / f"{k}", breast(1, 1344, 1280), JPEG2000Lossless)
    rows, images = prepare(tmp_path, ["0", "1"])

    def broken(path, **read):
        raise intake.UnreadableImage("unreadable", "cut short")

    monkeypatch.setattr(intake, "read_image", broken)
    cache = tmp_path / "private" / "cache"
    settled = intake.settle_digests(rows, images, tmp_path, cache, FRAME, READ, 1)
    assert settled[["reason", "detail"]].to_numpy().tolist() == [["unreadable", "cut short"]] * 2
    assert settled["digest"].tolist() == rows["digest"].tolist()
