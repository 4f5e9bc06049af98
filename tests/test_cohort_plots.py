"""What the figures of notebook 01 say: boxes that add up, thumbnails by hand, and cases that are the hardest."""

import matplotlib as mpl

mpl.use("Agg")
import numpy as np
import pandas as pd
import pydicom
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from pydicom.uid import ExplicitVRLittleEndian

from mammolib import cohort_plots
from mammolib.terms import REASONS

RULES = {
    "storage_classes": ["mammography", "computed_radiography", "secondary_capture"],
    "keep_burned_in": False,
    "spacing_range_mm": [0.01, 2.0],
}
READ = {"rules": RULES, "voi": "lut", "voi_index": 0}


def flow(excluded: dict, included: int = 100) -> dict:
    total = included + sum(excluded.values())
    parts = {"development_images": included - 20, "test_images": 20, "patients": included // 2}
    parts |= {"development_patients": included // 2 - 10, "test_patients": 10}
    return {"registry_rows": total, "included": included, "excluded": excluded} | parts


def drawn(counts: dict, archive: bool = False) -> tuple[list[str], Figure]:
    figure = Figure()
    ax = cohort_plots.flow_figure(flow(counts), figure.subplots(), archive)
    return [text.get_text() for text in ax.texts if text.get_text()], figure


def test_every_reason_stands_in_one_group():
    groups = cohort_plots.grouped_reasons(dict.fromkeys(REASONS, 1))
    assert [next(iter(group)) for group in groups.values()] == [first for first, _ in cohort_plots.GROUPS.values()]
    assert [reason for group in groups.values() for reason in group] == list(REASONS)
    assert list(groups["Pixels and repeats"])[-1] == "quality_control_image"


def test_the_boxes_add_up():
    texts, _ = drawn({"outside_period": 7, "unreadable": 2, "for_processing": 3, "no_breast": 1})
    assert texts == [
        "In the registry\nn = 113 images",
        "List and dates: 7 excluded\n7  diagnosed outside the period",
        "Listed with a class, in the period\nn = 106 images",
        "File and header: 5 excluded\n2  file unreadable or cut short\n3  for processing, not for presentation",
        "Mammograms for presentation\nn = 101 images",
        "Pixels and repeats: 1 excluded\n1  no breast found",
        "Included\nn = 100 images of 50 patients",
        "Development part\nn = 80 images of 40 patients",
        "Test part\nn = 20 images of 10 patients",
    ]


def test_an_archive_begins_with_files_and_their_headers():
    texts, _ = drawn({"other_breast": 7, "not_image": 5}, archive=True)
    assert [text.split("\n")[0] for text in texts[:6]] == [
        "Below the folder",
        "File and header: 5 excluded",
        "Mammograms for presentation",
        "List and dates: 7 excluded",
        "Listed with a class, in the period",
        "Pixels and repeats: 0 excluded",
    ]
    assert [text.split("\n")[1] for text in texts[:5:2]] == ["n = 112 files", "n = 107 images", "n = 100 images"]


@pytest.mark.parametrize("archive", [False, True])
@pytest.mark.parametrize("n", [0, 1, 25, len(REASONS)])
def test_no_box_of_the_flow_touches_another_or_the_edge(n, archive):
    _, figure = drawn(dict.fromkeys(list(REASONS)[::-1][:n], 12345), archive)
    FigureCanvasAgg(figure).draw()
    boxes = [text.get_bbox_patch().get_window_extent() for text in figure.axes[0].texts if text.get_text()]
    width, height = figure.bbox.width, figure.bbox.height
    for k, box in enumerate(boxes):
        assert min(box.x0, box.y0, width - box.x1, height - box.y1) > 0
        assert not any(box.overlaps(other) for other in boxes[:k])


def write(path, stored: np.ndarray, **changes) -> None:
    """A 12-bit mammogram for presentation with a window over the middle half."""
    ds = pydicom.Dataset()
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID, ds.Modality = "1.2.840.10008.5.1.4.1.1.1.2", "1.2.3", "MG"
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    ds.Rows, ds.Columns = stored.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.SamplesPerPixel = 16, 12, 11, 1
    ds.PixelRepresentation, ds.PhotometricInterpretation = 0, "MONOCHROME2"
    ds.WindowCenter, ds.WindowWidth, ds.VOILUTFunction = "2048", "2048", "LINEAR_EXACT"
    for name, value in changes.items():
        setattr(ds, name, value)
    ds.PixelData = stored.astype("<i2" if ds.PixelRepresentation else "<u2").tobytes()
    ds.save_as(path, enforce_file_format=True)


def test_before_is_what_is_stored_and_after_what_is_seen(tmp_path):
    """Air 0, breast 2048 + 512: of 4095 stored, 3/4 of the window; letters beside the breast are not shown."""
    stored = np.zeros((240, 200), int)
    stored[20:220, :120] = 2560
    stored[5:15, 180:195] = 4095
    write(tmp_path / "plain.dcm", stored)
    write(tmp_path / "inverse.dcm", 4095 - stored, PhotometricInterpretation="MONOCHROME1")
    write(tmp_path / "signed.dcm", stored - 2048, PixelRepresentation=1, WindowCenter="0")
    inside = (slice(40, 200), slice(0, 100))
    for name, value in (("plain", 2560), ("inverse", 4095 - 2560), ("signed", 2560)):
        before, after = cohort_plots.before_and_after(tmp_path / f"{name}.dcm", READ, 240)
        assert before.shape == after.shape == (240, 200)
        assert before.dtype == after.dtype == np.uint16
        assert set(np.unique(before[inside])) == {round(value / 4095 * 65535)}, name
        np.testing.assert_allclose(after[inside], 0.75 * 65535, atol=32)  # a stored value is 32 steps; 4095 is odd
        assert not before[:15, 170:].any()
        assert not after[:15, 170:].any()


def test_one_image_of_each_vendor_and_window_kind_of_the_development_part():
    kinds = [("GE", "lut", "MONOCHROME2")] * 3 + [("GE", "", "MONOCHROME1")] * 2 + [("", "linear", "MONOCHROME2")]
    rows = pd.DataFrame(kinds, columns=["Manufacturer", "voi", "PhotometricInterpretation"])
    rows = pd.concat([rows, pd.DataFrame({"Manufacturer": ["GE", None]})], ignore_index=True)
    rows["image_id"] = list("abcdefgh")
    cohort = pd.DataFrame({"image_id": list("hgfedcb"), "split": ["development"] * 6 + ["test"]})
    drawn = cohort_plots.draw_windows(rows, cohort, 6, seed=1)
    assert drawn["title"].tolist() == [
        "GE\nno window\nMONOCHROME1\nn = 2",
        "unknown\nlinear\nMONOCHROME2\nn = 1",
        "GE\nlut\nMONOCHROME2\nn = 1",
    ]
    assert drawn["image_id"].tolist()[1:] == ["f", "c"]
    assert cohort_plots.draw_windows(rows, cohort, 1, seed=1)["n"].tolist() == [2]
    raster = rows.assign(PhotometricInterpretation=None, voi=None)
    assert cohort_plots.draw_windows(raster, cohort, 6, seed=1).empty


def test_pairs_stand_one_above_the_other():
    pairs = [(np.full((4, 3), k, np.uint16), np.full((4, 3), 10 * k, np.uint16)) for k in (1, 2)]
    axes = cohort_plots.before_after_figure(pairs, ["one", "two"], Figure().subplots(2, 2))
    assert [[int(ax.images[0].get_array()[0, 0]) for ax in line] for line in axes] == [[1, 2], [10, 20]]
    assert [ax.get_title() for ax in axes.ravel()] == ["one", "two", "", ""]
    assert [[text.get_text() for text in line[0].texts] for line in axes] == [["stored"], ["presentation"]]


def breast(depth: int = 30, value: int = 20000) -> np.ndarray:
    """A half disc on the left, graded so that it has contrast, (64, 64) uint16."""
    y, x = np.mgrid[:64, :64]
    return np.where((y - 32) ** 2 / 900 + (x / depth) ** 2 < 1, value + 200 * (32 - abs(y - 32)), 0).astype(np.uint16)


def test_each_hard_case_is_the_hardest_by_its_rule():
    rim = np.where(breast() > 0, 30000, 0)
    rim[4:60, :28][breast(24)[4:60, :28] > 0] = 10000
    square = np.zeros((64, 64))
    square[2:62, :50] = 20000 + 100 * np.arange(50)
    flat = np.where(breast() > 0, 20000, 0)
    white = breast()
    white[20:40, :10] = 65535
    images = np.array([breast(), breast(10), flat, white, rim, square, breast(6)], np.uint16)
    cohort = pd.DataFrame({"split": ["development"] * 6 + ["test"], "label": "solid"})
    cohort = cohort.assign(ImageLaterality="L", ViewPosition="", slot=[6, 5, 4, 3, 2, 1, 0])
    images = images[::-1]
    cases = cohort_plots.hard_cases(cohort, images)
    assert cases == {
        "smallest breast": 1,
        "lowest contrast": 2,
        "most at full white": 3,
        "brightest skin": 4,
        "side least sure": 5,
    }
    axes = cohort_plots.hard_cases_figure(images, cohort, cases, Figure().subplots(1, 6))
    assert axes[0].get_title() == "smallest breast\nsolid\nL"
    assert (axes[0].images[0].get_array() == images[5]).all()
    assert not axes[5].axison


def test_of_few_images_none_is_shown_twice():
    cohort = pd.DataFrame({"split": ["development"] * 2, "slot": [0, 1]})
    cases = cohort_plots.hard_cases(cohort, np.stack([breast(10), breast()]))
    assert list(cases) == ["smallest breast", "lowest contrast"]
    assert sorted(cases.values()) == [0, 1]
    full = np.full((1, 64, 64), 5, np.uint16)  # nothing outside, as where the background is kept
    assert cohort_plots.hard_cases(cohort[:1], full) == {"smallest breast": 0}


def test_examples_are_of_the_development_part():
    labels = ["solid"] * 4 + ["scirrhous"] * 2
    cohort = pd.DataFrame({"split": ["development"] * 3 + ["test"] + ["development", "test"], "label": labels})
    chosen = cohort_plots.draw_examples(cohort, ["solid", "scirrhous"], 2, 1)
    assert [len(rows) for rows in chosen] == [2, 1]
    assert set(chosen[0]) <= {0, 1, 2}
    assert chosen[1] == [4]
    cohort = cohort.assign(ImageLaterality="L", ViewPosition="CC", slot=[5, 4, 3, 2, 1, 0])
    images = np.arange(6, dtype=np.uint16)[:, None, None] * np.ones((8, 8), np.uint16)
    axes = cohort_plots.examples_figure(images, cohort, chosen, Figure().subplots(2, 2))
    assert [int(ax.images[0].get_array()[0, 0]) for ax in axes.ravel()[:3]] == [5 - chosen[0][0], 5 - chosen[0][1], 1]
    assert [ax.get_title() for ax in axes.ravel()] == ["solid\nL CC", "solid\nL CC", "scirrhous\nL CC", ""]
