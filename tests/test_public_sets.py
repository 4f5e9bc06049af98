"""Each public set from a small copy of its official layout: a few rows, tiny images."""

import json
import plistlib

import numpy as np
import pandas as pd
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from mammolib import public_sets
from mammolib.layouts import read_layout

PLACED = {
    1: ["G CIRC B 535 425 197"],
    2: ["F NORM"],
    5: ["F CIRC B 477 133 30", "F CIRC B 500 168 26"],
    216: ["D CALC M *NOTE 3*"],
    59: ["F CIRC B"],
}


def write_list(path, rows, **options):
    """A label file of these rows, and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(path, index=False, **options)


def write_dicom(path, pixels=None, **elements):
    """A DICOM file with these elements; pixels are (rows, columns) uint8."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    for name, value in elements.items():
        setattr(dataset, name, value)
    if pixels is not None:
        dataset.Rows, dataset.Columns = pixels.shape
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.PixelData = pixels.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)


def mask(rows, columns, top, bottom, left, right):
    """(rows, columns) uint8, 255 from top to bottom and left to right, both ends included."""
    pixels = np.zeros((rows, columns), np.uint8)
    pixels[top : bottom + 1, left : right + 1] = 255
    return pixels


def by_path(registry, column="label"):
    return dict(zip(registry["image_path"], registry[column], strict=True))


# mini-MIAS


@pytest.fixture
def archive(tmp_path):
    folder = tmp_path / "mias"
    folder.mkdir()
    films = {number: PLACED.get(number, ["D NORM "]) for number in range(1, 323)}
    lines = [f"mdb{number:03d} {text}" for number, texts in films.items() for text in texts]
    (folder / "Info.txt").write_text("\n".join(["a preface with G CIRC", "", *lines, "=====", ""]))
    (folder / "mdb007.pgm").touch()
    return tmp_path


def test_films_patients_sides_and_densities(archive):
    registry, _, name = read_layout("mini-mias", archive)
    assert name == "mini-MIAS"
    assert len(registry) == 322
    assert registry["patient_id"].value_counts().eq(2).all()
    first, second, third = registry.to_dict("records")[:3]
    assert first["patient_id"] == second["patient_id"] != third["patient_id"]
    assert (first["image_path"], first["label"], first["ImageLaterality"]) == ("mias/mdb001.pgm", "glandular", "L")
    assert (second["label"], second["ImageLaterality"], third["label"]) == ("fatty", "R", "dense")
    assert set(registry["split"]) == {"development"}


def test_circles_count_rows_from_the_top_and_need_a_place(archive):
    _, annotations = public_sets.mini_mias(archive, "density")
    assert annotations.to_numpy().tolist() == [
        ["mias/mdb001.pgm", 535, 1023 - 425, 197],
        ["mias/mdb005.pgm", 477, 1023 - 133, 30],
        ["mias/mdb005.pgm", 500, 1023 - 168, 26],
    ]


def test_the_archive_may_be_unpacked_without_its_folder(archive):
    registry, annotations = public_sets.mini_mias(archive / "mias", "density")
    assert registry["image_path"][0] == annotations["image_path"][0] == "mdb001.pgm"


def test_a_missing_archive_says_what_to_download_and_where_to_unpack(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"all-mias\.tar\.gz") as caught:
        public_sets.mini_mias(tmp_path, "density")
    assert str(tmp_path) in str(caught.value)


def test_half_an_archive_is_named(archive):
    text = (archive / "mias" / "Info.txt").read_text()
    (archive / "mias" / "Info.txt").write_text(text.replace("mdb322", "x"))
    with pytest.raises(ValueError, match="321 films listed; 322"):
        public_sets.mini_mias(archive, "density")


def test_a_list_without_any_of_its_images_is_told(archive):
    (archive / "mias" / "mdb007.pgm").unlink()
    with pytest.raises(FileNotFoundError, match="none of 322 images of mini-MIAS here; expected: Info"):
        public_sets.mini_mias(archive, "density")


# CBIS-DDSM


def cbis_finding(kind, patient, number=1, pathology="BENIGN", side="LEFT", part="Test", swapped=False, **changed):
    """A row as in the lists: line breaks end two of the paths; UIDs lead to the file."""
    folder, uid = f"{kind}-{part}_{patient}_{side}_CC", patient.removeprefix("P_")
    image = f"{folder}/{uid}.1/{uid}.2/0.dcm"
    roi, crop = (f"{folder}_{number}/{uid}.3/{uid}.4/{file}.dcm" for file in (1, 0))
    if swapped:
        roi, crop = f"{folder}_{number}/{uid}.5/{uid}.6/0.dcm", roi
    row = {"patient_id": patient, "breast_density" if kind == "Mass" else "breast density": "3"}
    row |= {"left or right breast": side, "image view": "CC", "assessment": "4", "pathology": pathology}
    row |= {"image file path": image, "cropped image file path": crop + "\n", "ROI mask file path": roi + "\n"}
    return row | changed


def write_cbis_list(source, kind, part, *findings):
    write_list(source / f"{kind.lower()}_case_description_{part.lower()}_set.csv", findings)


def test_a_film_is_a_row_and_its_worst_finding_names_it(tmp_path):
    findings = [cbis_finding("Mass", "P_1", 1), cbis_finding("Mass", "P_1", 2, "MALIGNANT", assessment="5")]
    other = cbis_finding("Mass", "P_2", 1, "BENIGN_WITHOUT_CALLBACK", side="RIGHT", breast_density="0")
    write_cbis_list(tmp_path, "Mass", "Test", *findings, other)
    write_dicom(tmp_path / "CBIS-DDSM/Mass-Test_P_1_LEFT_CC/1.1/1.2/1-1.dcm")
    registry, _ = public_sets.cbis_ddsm(tmp_path, "pathology")
    there, missing = "CBIS-DDSM/Mass-Test_P_1_LEFT_CC/1.1/1.2/1-1.dcm", "Mass-Test_P_2_RIGHT_CC/2.1/2.2/0.dcm"
    assert by_path(registry) == {there: "malignant", missing: "benign"}
    assert by_path(registry, "breast_density") == {there: "c", missing: ""}
    assert by_path(registry, "ImageLaterality") == {there: "L", missing: "R"}
    assert by_path(public_sets.cbis_ddsm(tmp_path, "birads")[0]) == {there: "birads_5", missing: "birads_4"}
    assert by_path(public_sets.cbis_ddsm(tmp_path, "density")[0]) == {there: "density_c", missing: ""}


def test_a_film_in_both_lists_is_one_row_and_its_file_the_one_that_is_there(tmp_path):
    write_cbis_list(tmp_path, "Mass", "Test", cbis_finding("Mass", "P_1"))
    write_cbis_list(tmp_path, "Calc", "Test", cbis_finding("Calc", "P_1", pathology="MALIGNANT"))
    write_dicom(tmp_path / "Mass-Test_P_1_LEFT_CC/1-1.dcm")
    registry, _ = public_sets.cbis_ddsm(tmp_path, "pathology")
    assert by_path(registry) == {"Mass-Test_P_1_LEFT_CC/1-1.dcm": "malignant"}


def test_a_patient_on_both_sides_of_the_official_split_is_development(tmp_path):
    write_cbis_list(tmp_path, "Mass", "Train", cbis_finding("Mass", "P_1", part="Training"))
    write_cbis_list(
        tmp_path, "Calc", "Test", cbis_finding("Calc", "P_1", side="RIGHT"), cbis_finding("Calc", "P_2", side="RIGHT")
    )
    write_dicom(tmp_path / "Calc-Test_P_2_RIGHT_CC/1-1.dcm")
    registry, _ = public_sets.cbis_ddsm(tmp_path, "pathology")
    assert set(zip(registry["patient_id"], registry["split"], strict=True)) == {("P_1", "development"), ("P_2", "test")}
    assert len(registry) == 3


@pytest.mark.parametrize(
    ("image_folder", "mask_folder"),
    [
        ("Mass-Test_P_1_LEFT_CC/1.1/1.2", "Mass-Test_P_1_LEFT_CC_1/1.3/1.4"),
        ("1.2", "1.4"),
        ("1.1/full", "1.3/roi"),
        ("Mass-Test_P_1_LEFT_CC/9.1/9.2", "Mass-Test_P_1_LEFT_CC_1/9.3/9.4"),
        ("Mass-Test_P_1_LEFT_CC/08-29-2017-DDSM-NA-1/1.0-full", "Mass-Test_P_1_LEFT_CC_1/08-29-2017/1.0-ROI"),
    ],
)
def test_files_are_found_by_series_study_or_patient_in_whatever_folders_they_lie(tmp_path, image_folder, mask_folder):
    write_cbis_list(tmp_path, "Mass", "Test", cbis_finding("Mass", "P_1"))
    write_dicom(tmp_path / image_folder / "1-1.dcm", mask(40, 30, 0, 39, 0, 29))
    write_dicom(tmp_path / mask_folder / "1-2.dcm", mask(40, 30, 10, 19, 4, 7))
    registry, annotations = public_sets.cbis_ddsm(tmp_path, "pathology")
    assert registry["image_path"].tolist() == [f"{image_folder}/1-1.dcm"]
    assert annotations.to_numpy().tolist() == [[f"{image_folder}/1-1.dcm", 5.5, 14.5, 5.0]]


def test_the_series_in_the_list_goes_before_another_of_the_patient(tmp_path):
    write_cbis_list(tmp_path, "Mass", "Test", cbis_finding("Mass", "P_1"))
    for series in ("1.0/1.0", "1.1/1.2"):
        write_dicom(tmp_path / f"Mass-Test_P_1_LEFT_CC/{series}/1-1.dcm")
    registry, _ = public_sets.cbis_ddsm(tmp_path, "pathology")
    assert registry["image_path"].tolist() == ["Mass-Test_P_1_LEFT_CC/1.1/1.2/1-1.dcm"]


@pytest.mark.parametrize("swapped", [False, True])
def test_the_mask_is_told_from_the_crop_by_its_size(tmp_path, swapped):
    write_cbis_list(tmp_path, "Mass", "Test", cbis_finding("Mass", "P_1", swapped=swapped))
    folder = tmp_path / "Mass-Test_P_1_LEFT_CC_1"
    write_dicom(tmp_path / "Mass-Test_P_1_LEFT_CC/1.1/1.2/1-1.dcm", mask(40, 30, 0, 39, 0, 29))
    crop = folder / "1.5/1.6/1-1.dcm" if swapped else folder / "1.3/1.4/1-1.dcm"
    write_dicom(crop, mask(20, 15, 0, 19, 0, 14))
    write_dicom(folder / "1.3/1.4/1-2.dcm", mask(40, 30, 2, 4, 20, 29))
    _, annotations = public_sets.cbis_ddsm(tmp_path, "pathology")
    assert annotations[["x", "y", "radius"]].to_numpy().tolist() == [[24.5, 3.0, 5.0]]


@pytest.mark.parametrize(
    ("pixels", "circle"),
    [
        (mask(40, 30, 10, 19, 4, 7), [11.5, 29.5, 10.0]),  # half size: pixels 4 to 7 are 8 to 15, 10 to 19 are 20 to 39
        (mask(40, 28, 10, 19, 4, 7), None),  # other proportions
        (mask(20, 15, 5, 9, 2, 3), None),  # a crop that happens to have the film's proportions
        (mask(80, 60, 1, 0, 1, 0), None),  # nothing marked
    ],
)
def test_a_mask_of_another_size_is_scaled_where_it_can_be_the_film_s(tmp_path, pixels, circle):
    image, candidate = tmp_path / "image.dcm", tmp_path / "mask.dcm"
    write_dicom(image, mask(80, 60, 0, 79, 0, 59))
    write_dicom(candidate, pixels)
    xs, ys = public_sets.mask_extent(image, [candidate])
    assert (list(public_sets.circle(xs, ys)) if len(xs) else None) == circle


def test_a_mask_that_is_missing_or_unreadable_gives_no_circle(tmp_path):
    image, broken = tmp_path / "image.dcm", tmp_path / "mask.dcm"
    write_dicom(image, mask(80, 60, 0, 79, 0, 59))
    broken.write_bytes(image.read_bytes()[:-99])
    for candidates in ([], [broken], [tmp_path / "none.dcm"]):
        assert public_sets.mask_extent(image, candidates) == ((), ())


# CDD-CESM


def cdd_row(name, patient, density="C", pathology="Benign", kind="DM", birads="3$2"):
    row = {"Image_name": name, "Patient_ID": patient, "Side": "L", "Type": kind, "Age": "46"}
    row |= {"Breast density (ACR)": density, "BIRADS": birads, "View": "MLO"}
    return row | {"Pathology Classification/ Follow up": pathology}


def cdd_region(file, **shape):
    return {"#filename": file, "region_count": 1, "region_shape_attributes": json.dumps(shape)}


@pytest.fixture
def cesm(tmp_path):
    rows = [cdd_row("P1_L_DM_MLO", 1, pathology="Malignant"), cdd_row("P4_L_DM_MLO ", 4, "_", "Normal", birads="1")]
    rows += [cdd_row("P1_L_CM_MLO", 1, "_", kind="CESM"), cdd_row("P9_L_DM_MLO", 9)]
    write_list(tmp_path / "Radiology-manual-annotations.csv", rows)
    regions = [
        cdd_region("P1_L_DM_MLO.jpg", name="polygon", all_points_x=[10, 30, 20], all_points_y=[5, 5, 11]),
        cdd_region("P1_L_DM_MLO.jpg", name="ellipse", cx=50, cy=60, rx=4, ry=9, theta=0),
        cdd_region("P4_L_DM_MLO .jpg", name="circle", cx=7, cy=8, r=3),
        cdd_region("P4_L_DM_MLO .jpg", name="point", cx=7, cy=8),
        cdd_region("P9_L_DM_MLO.jpg"),
        cdd_region("P1_L_CM_MLO.jpg", name="circle", cx=7, cy=8, r=3),
    ]
    write_list(tmp_path / "Radiology_hand_drawn_segmentations_v2.csv", regions)
    for name in ("Low energy/P1_L_DM_MLO.jpg", "Low energy/P4_L_DM_MLO .jpg", "Subtracted/P1_L_CM_MLO.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_low_energy_images_only_and_a_space_before_the_extension_is_kept(cesm):
    registry, _ = public_sets.cdd_cesm(cesm, "pathology")
    assert by_path(registry) == {
        "Low energy/P1_L_DM_MLO.jpg": "malignant",
        "Low energy/P4_L_DM_MLO .jpg": "normal",
        "Low energy images of CDD-CESM/P9_L_DM_MLO.jpg": "benign",
    }
    assert registry["patient_id"].tolist() == ["1", "4", "9"]
    assert registry["age"].tolist() == ["46", "46", "46"]
    assert registry["breast_density"].tolist() == ["c", "", "c"]


def test_of_two_grades_the_higher_counts_and_an_unknown_density_is_no_label(cesm):
    grades = public_sets.cdd_cesm(cesm, "birads")[0]["label"].tolist()
    assert grades == ["birads_3", "birads_1", "birads_3"]
    assert public_sets.cdd_cesm(cesm, "density")[0]["label"].tolist() == ["density_c", "", "density_c"]


def test_polygon_ellipse_and_circle_become_circles_and_a_point_does_not(cesm):
    _, annotations = public_sets.cdd_cesm(cesm, "pathology")
    assert annotations.to_numpy().tolist() == [
        ["Low energy/P1_L_DM_MLO.jpg", 20, 8, 10],
        ["Low energy/P1_L_DM_MLO.jpg", 50, 60, 9],
        ["Low energy/P4_L_DM_MLO .jpg", 7, 8, 3],
    ]


# INbreast


def inbreast_row(number, birads, density="2", side="R", view="MLO"):
    row = {"Patient ID": "removed", "Patient age": "removed", "Laterality": side, "View": view}
    return row | {"Acquisition date": "201001", "File Name": number, "ACR": density, "Bi-Rads": birads}


@pytest.fixture
def porto(tmp_path):
    rows = [inbreast_row("205", "4c"), inbreast_row("206", "2", "   ", "L", "CC"), inbreast_row("300", "6", view="FB")]
    write_list(tmp_path / "INbreast.csv", [*rows, inbreast_row("", "")], sep=";")
    for name in ("205_6c61_MG_R_ML_ANON.dcm", "206_6c61_MG_L_CC_ANON.dcm"):
        write_dicom(tmp_path / "AllDICOMs" / name)
    outline = {"Name": "Mass", "Point_px": ["(10.5, 20.0)", "(30.5, 22.0)", "(20.5, 24.0)"]}
    write_outlines(tmp_path / "AllXML/205.xml", outline, {"Name": "Calcification", "Point_px": ["(5, 6)"]})
    write_outlines(tmp_path / "AllXML/999.xml", outline)
    return tmp_path


def write_outlines(path, *rois):
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(plistlib.dumps({"Images": [{"NumberOfROIs": len(rois), "ROIs": list(rois)}]}))


def test_the_second_part_of_a_file_s_name_is_the_patient(porto):
    registry, _ = public_sets.inbreast(porto, "birads")
    assert by_path(registry) == {
        "AllDICOMs/205_6c61_MG_R_ML_ANON.dcm": "birads_4",
        "AllDICOMs/206_6c61_MG_L_CC_ANON.dcm": "birads_2",
        "AllDICOMs/300_300_MG.dcm": "birads_6",  # not there
    }
    assert registry["patient_id"].tolist() == ["6c61", "6c61", "300"]
    assert registry["ViewPosition"].tolist() == ["MLO", "CC", "FB"]
    assert set(registry["pixel_spacing_mm"]) == {"0.07"}


def test_a_blank_density_is_none(porto):
    assert public_sets.inbreast(porto, "density")[0]["label"].tolist() == ["density_b", "", "density_b"]


def test_an_outline_is_a_circle_and_a_point_is_none(porto):
    _, annotations = public_sets.inbreast(porto, "birads")
    assert annotations.to_numpy().tolist() == [["AllDICOMs/205_6c61_MG_R_ML_ANON.dcm", 20.5, 22.0, 10.0]]


def test_a_broken_outline_file_is_named(porto):
    (porto / "AllXML/205.xml").write_text("<plist>")
    with pytest.raises(ValueError, match=r"205\.xml: not read as a property list of outlines"):
        public_sets.inbreast(porto, "birads")


# VinDr-Mammo


@pytest.fixture
def hanoi(tmp_path):
    folder = tmp_path / "vindr-mammo/1.0.0"
    sides = {"laterality": "R", "view_position": "CC"}
    image = {"study_id": "s1", "series_id": "x", "image_id": "i1", **sides, "height": "3518", "width": "2800"}
    grades = {"breast_birads": "BI-RADS 4", "breast_density": "DENSITY C", "split": "training"}
    second = image | grades | {"study_id": "s2", "image_id": "i2", "breast_birads": "BI-RADS 1", "split": "test"}
    write_list(folder / "breast-level_annotations.csv", [image | grades, second])
    boxes = [
        dict(zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)) for box in ((10.5, 20, 30.5, 60), (1, 2, 9, 4))
    ]
    findings = [image | grades | {"finding_categories": "['Mass']"} | box for box in boxes]
    findings.append(second | {"finding_categories": "['No Finding']"})
    write_list(folder / "finding_annotations.csv", findings)
    write_dicom(folder / "images/s1/i1.dicom")
    return tmp_path


def test_an_examination_is_a_patient_and_the_split_is_official(hanoi):
    registry, _ = public_sets.vindr_mammo(hanoi, "birads")
    folder = "vindr-mammo/1.0.0/images"
    assert by_path(registry) == {f"{folder}/s1/i1.dicom": "birads_4", f"{folder}/s2/i2.dicom": "birads_1"}
    assert registry["patient_id"].tolist() == ["s1", "s2"]
    assert registry["split"].tolist() == ["development", "test"]
    assert public_sets.vindr_mammo(hanoi, "density")[0]["label"].tolist() == ["density_c"] * 2


def test_each_box_is_a_circle_and_no_finding_is_none(hanoi):
    _, annotations = public_sets.vindr_mammo(hanoi, "birads")
    path = "vindr-mammo/1.0.0/images/s1/i1.dicom"
    assert annotations.to_numpy().tolist() == [[path, 20.5, 40.0, 20.0], [path, 5.0, 3.0, 4.0]]


# CMMD


def breast(patient, side, classification="Benign", subtype=""):
    row = {"ID1": patient, "LeftRight": side, "Age": "44", "number": "2", "abnormality": "mass"}
    return row | {"classification": classification, "subtype": subtype}


@pytest.fixture
def guangzhou(tmp_path):
    breasts = [
        breast("D1-0001", "R"),
        breast("D1-0001", "L", "Malignant"),
        breast("D2-0002", "L", "Malignant", "Luminal B"),
    ]
    write_list(
        tmp_path / "CMMD_clinicaldata_revision.csv", [*breasts, breast("D2-0003", "L", "Malignant", "HER2-enriched")]
    )
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "399162004", "SCT", "cranio-caudal"
    folder = tmp_path / "CMMD"
    write_dicom(folder / "D1-0001/a/b/1-1.dcm", PatientID="D1-0001", ImageLaterality="L", ViewCodeSequence=[code])
    write_dicom(folder / "D1-0001/a/b/1-2.dcm", PatientID="D1-0001", Laterality="R", ViewPosition="MLO")
    write_dicom(folder / "D2-0002/a/b/1-1.dcm", PatientID="D2-0002", ImageLaterality="L", ViewPosition="CC")
    write_dicom(folder / "D2-0002/a/b/1-2.dcm", PatientID="D2-0002", ImageLaterality="R", ViewPosition="CC")
    write_dicom(folder / "D2-0002/a/b/1-3.dcm", PatientID="D2-0002")
    (folder / "D2-0002/a/b/1-4.dcm").write_bytes(b"no DICOM")
    return tmp_path


def test_only_the_breast_with_a_row_has_a_label_and_the_header_says_which_it_is(guangzhou):
    registry, annotations = public_sets.cmmd(guangzhou, "pathology")
    assert by_path(registry) == {
        "CMMD/D1-0001/a/b/1-1.dcm": "malignant",
        "CMMD/D1-0001/a/b/1-2.dcm": "benign",
        "CMMD/D2-0002/a/b/1-1.dcm": "malignant",
        "CMMD/D2-0002/a/b/1-2.dcm": "",  # the other breast
        "CMMD/D2-0002/a/b/1-3.dcm": "",  # no side
        "CMMD/D2-0002/a/b/1-4.dcm": "",  # no header
        "CMMD/D2-0003/L": "malignant",  # listed, but not there
    }
    views = by_path(registry, "ViewPosition")
    assert views["CMMD/D1-0001/a/b/1-1.dcm"] == "CC"
    assert views["CMMD/D1-0001/a/b/1-2.dcm"] == "MLO"
    assert by_path(registry, "age")["CMMD/D2-0003/L"] == "44"
    assert annotations.empty


def test_a_subtype_is_a_label_where_it_is_known(guangzhou):
    registry, _, _ = read_layout("cmmd", guangzhou, "subtype")
    assert by_path(registry) == {"CMMD/D2-0002/a/b/1-1.dcm": "luminal_b", "CMMD/D2-0003/L": "her2_enriched"}


# all


@pytest.mark.parametrize(
    ("layout", "built"),
    [
        ("mini-mias", "archive"),
        ("cdd-cesm", "cesm"),
        ("inbreast", "porto"),
        ("vindr-mammo", "hanoi"),
        ("cmmd", "guangzhou"),
    ],
)
def test_a_registry_is_text_without_gaps_and_a_path_is_there_once(layout, built, request):
    registry, _, _ = read_layout(layout, request.getfixturevalue(built))
    assert registry.map(lambda value: isinstance(value, str)).all(axis=None)
    assert registry["image_path"].is_unique
    assert (registry[["patient_id", "image_path", "label"]] != "").all(axis=None)
    assert set(registry["split"]) in ({""}, {"development"}, {"development", "test"})


def test_a_list_without_a_needed_column_is_named(porto):
    write_list(porto / "INbreast.csv", [{"View": "CC", "File Name": "205"}], sep=";")
    with pytest.raises(ValueError, match=r"INbreast\.csv: no column ImageLaterality, density, birads among 2"):
        public_sets.inbreast(porto, "birads")
