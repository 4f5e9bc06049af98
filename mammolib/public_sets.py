"""Public data sets in their official layouts: each function gives a registry and its annotations.

Every reader takes the folder of the unpacked set and the label that becomes the class, and returns
- registry: a row an image in a registry's columns, all text, absent is "", with `age` (years) and `breast_density`
  (a to d) where the set has them. `label` is "" for an image that has none. A listed image that is missing stays.
- annotations: `image_path, x, y, radius` in source pixels, origin top left. A circle has the centre of the box round
  what is marked, half the box's longer side as its radius; a mark without extent gives none. Paths are relative.

Labels are written normal, benign, malignant; birads_0 to birads_6 (4a to 4c are 4); density_a to density_d, which the
older 1 to 4 become; a subtype's name. Of several findings in one image the worst counts, in each list the last.
"""

import json
import plistlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
from pydicom.errors import InvalidDicomError

from mammolib import terms
from mammolib.headers import SCAN_TAGS, header_facts
from mammolib.parallel import in_parallel
from mammolib.registry import OPTIONAL, REQUIRED
from mammolib.tables import read_csv, require_columns

Tables = tuple[pd.DataFrame, pd.DataFrame]  # registry and annotations
# our name of a column -> what the sets call it
NAMES = {
    "patient_id": ("Patient_ID", "study_id", "ID1"),
    "ImageLaterality": ("left or right breast", "Side", "Laterality", "laterality", "LeftRight"),
    "ViewPosition": ("image view", "View", "view_position"),
    "age": ("Age",),
    "pathology": ("Pathology Classification/ Follow up", "classification"),
    "density": ("breast_density", "breast density", "Breast density (ACR)", "ACR"),
    "birads": ("assessment", "BIRADS", "Bi-Rads", "breast_birads"),
}
EXPECTED = {
    "mini-MIAS": "Info.txt beside 322 films, unpacked from all-mias.tar.gz (Mammographic Image Analysis Society)",
    "CBIS-DDSM": "four lists beside the folders of the NBIA Data Retriever (TCIA, doi 10.7937/K9/TCIA.2016.7O02S9CY)",
    "CDD-CESM": "two lists, saved as CSV, beside Low energy images of CDD-CESM (TCIA, doi 10.7937/29kw-ae92)",
    "INbreast": "INbreast.csv beside AllDICOMs and AllXML (Breast Research Group, INESC Porto, on request)",
    "VinDr-Mammo": "two lists of annotations beside the folder images (PhysioNet, doi 10.13026/br2v-7517)",
    "CMMD": "the list, saved as CSV, beside the folders of the NBIA Data Retriever (TCIA, doi 10.7937/tcia.eqde-4b16)",
}
SIDE_VIEW = ("ImageLaterality", "ViewPosition")
DENSITIES = {"F": "fatty", "G": "glandular", "D": "dense"}
FILMS, HEIGHT = 322, 1024  # of mini-MIAS, and the pixels of each; y counts from its lower edge
SAME_SHAPE = 0.01  # a mask of another size than its image has both sides changed alike, to within this share


def mini_mias(source: Path, label: str) -> Tables:
    """Mini-MIAS (Suckling et al. 1994): 322 films at 0.2 mm; density is its only label here.

    Films 2k-1 and 2k are one patient's left and right breast (the markers on the films say so; Info.txt has the sides
    the other way round). A film has as many rows in Info.txt as findings; those without a place give no annotation.
    Every film is development, for the set has no test part.
    """
    (path, *_) = find_lists(source, "Info.txt", "mini-MIAS")
    lines = [line.split() for line in path.read_text(encoding="latin-1").splitlines() if line.startswith("mdb")]
    # film, density, kind, severity, x, y, radius
    findings = pd.DataFrame([(fields + [""] * 7)[:7] for fields in lines])
    findings["image_path"] = [relative(path.parent / f"{film}.pgm", source) for film in findings[0]]
    films = findings.drop_duplicates(0).reset_index(drop=True)
    number = films[0].str[3:].astype(int)
    if len(films) != FILMS or not films[1].isin(list(DENSITIES)).all():
        raise ValueError(f"{path}: {len(films)} films listed; {FILMS} of density F, G or D are allowed")
    films["patient_id"] = ((number + 1) // 2).astype(str)
    films["label"] = films[1].map(DENSITIES)
    films["ImageLaterality"] = number.mod(2).map({1: "L", 0: "R"})
    films = films.assign(ViewPosition="MLO", pixel_spacing_mm="0.2", split="development")
    places = findings[[4, 5, 6]].apply(pd.to_numeric, errors="coerce").dropna()
    places[5] = HEIGHT - 1 - places[5]
    marks = [(findings["image_path"][k], (x - r, x + r), (y - r, y + r)) for k, x, y, r in places.itertuples()]
    return as_tables(source, "mini-MIAS", label, films, marks)


def cbis_ddsm(source: Path, label: str) -> Tables:
    """CBIS-DDSM (Lee et al. 2017): digitised films; pathology, density or BI-RADS assessment of the findings.

    A row is a view of a breast: the lists of masses and of calcifications show some films twice. A patient on both
    sides of the official split (31, once both kinds are pooled) is development: what is left of the test part is
    official, and nobody in it was trained on. Files are looked for by the UIDs in the lists, then by the name of the
    patient's folder, which alone survives every way of downloading.
    """
    paths = ("image file path", "ROI mask file path", "cropped image file path")
    labels = ["pathology", "density", "birads"]
    lists = find_lists(source, "*_case_description_*_set.csv", "CBIS-DDSM")
    tables = {path.name: read_list(path, ("patient_id", *SIDE_VIEW, *labels, *paths)) for path in lists}
    findings = pd.concat(tables, names=["list"]).reset_index()
    findings["split"] = np.where(findings["list"].str.contains("_test_"), "test", "development")
    findings["split"] = findings.groupby("patient_id")["split"].transform("min")  # development comes before test
    folders = files_by_folder(source)
    images, masks, crops = ([files_of(path, folders) for path in findings[column]] for column in paths)
    findings["candidates"] = [mask + crop for mask, crop in zip(masks, crops, strict=True)]
    named = zip(images, findings[paths[0]], strict=True)
    findings["image_path"] = [relative(found[0], source) if found else listed for found, listed in named]
    # of a view's files the first that is there stands for it
    findings = findings.iloc[np.argsort([not found for found in images], kind="stable")]
    views = findings.groupby(["patient_id", *SIDE_VIEW], sort=False)
    findings["image_path"] = views["image_path"].transform("first")
    rows = views[["image_path", "split", *labels]].max()
    jobs = [(source / path, files) for path, files in findings[["image_path", "candidates"]].itertuples(index=False)]
    extents = in_parallel(mask_extent, jobs, "lesion masks")
    marks = ((path, *extent) for path, extent in zip(findings["image_path"], extents, strict=True))
    return as_tables(source, "CBIS-DDSM", label, rows.reset_index(), marks)


def cdd_cesm(source: Path, label: str) -> Tables:
    """CDD-CESM (Khaled et al. 2022): the low-energy images, rows DM; pathology, density or BI-RADS.

    The subtracted images stay out: they show contrast, and the list gives no density for them. Some file names have a
    space before the extension. Marks are the regions drawn by hand on the low-energy images.
    """
    (path, *_) = find_lists(source, "Radiology?manual?annotations*.csv", "CDD-CESM")
    needed = ("Image_name", "Type", "patient_id", *SIDE_VIEW, "age", "pathology", "density", "birads")
    rows = read_list(path, needed).query("Type == 'DM'")
    files = {file.stem.strip(): relative(file, source) for file in sorted(source.rglob("*.jpg"))}
    images = {name: files.get(name, f"Low energy images of CDD-CESM/{name}.jpg") for name in rows["Image_name"]}
    (path, *_) = find_lists(source, "Radiology_hand_drawn_segmentations*.csv", "CDD-CESM")
    drawn = read_list(path, ("#filename", "region_shape_attributes"))
    names = drawn["#filename"].str.removesuffix(".jpg").str.strip()
    shapes = drawn["region_shape_attributes"].map(json.loads)
    marks = [(images[name], *region_extent(shape)) for name, shape in zip(names, shapes, strict=True) if name in images]
    return as_tables(source, "CDD-CESM", label, rows.assign(image_path=rows["Image_name"].map(images)), marks)


def inbreast(source: Path, label: str) -> Tables:
    """INbreast (Moreira et al. 2012): 410 digital images of 0.07 mm; BI-RADS or density (ACR) of each.

    The patients' ids are removed from the list; the second part of a file's name is the patient's (says the README of
    the set; 108 of them, some with two examinations). A row without a file's number is passed over. Every outline in
    AllXML with an extent is a circle, single calcifications too; points alone are not.
    """
    (path, *_) = find_lists(source, "INbreast.csv", "INbreast")
    rows = read_list(path, (*SIDE_VIEW, "File Name", "density", "birads"), sep=";")
    rows = rows[rows["File Name"].str.fullmatch("[0-9]+")]
    files = {file.name.split("_")[0]: file for file in sorted(source.rglob("*_MG_*.dcm"))}
    found = [files.get(number) or source / f"AllDICOMs/{number}_{number}_MG.dcm" for number in rows["File Name"]]
    rows = rows.assign(patient_id=[file.name.split("_")[1] for file in found], pixel_spacing_mm="0.07")
    rows["image_path"] = [relative(file, source) for file in found]
    images = dict(zip(rows["File Name"], rows["image_path"], strict=True))
    drawn = [file for file in sorted(source.rglob("AllXML/*.xml")) if file.stem in images]
    marks = [(images[file.stem], *extent) for file in drawn for extent in outline_extents(file)]
    return as_tables(source, "INbreast", label, rows, marks)


def vindr_mammo(source: Path, label: str) -> Tables:
    """VinDr-Mammo (Nguyen et al. 2023): BI-RADS or density of the breast; the split and the boxes are official.

    An examination counts as a patient, for the set says nothing else of who is who.
    """
    (path, *_) = find_lists(source, "breast-level_annotations.csv", "VinDr-Mammo")
    rows = read_list(path, ("patient_id", "image_id", *SIDE_VIEW, "birads", "density", "split"))
    folder = relative(path.parent / "images", source)
    rows["image_path"] = folder + "/" + rows["patient_id"] + "/" + rows["image_id"] + ".dicom"
    rows["split"] = rows["split"].replace("training", "development")
    (path, *_) = find_lists(source, "finding_annotations.csv", "VinDr-Mammo")
    findings = read_list(path, ("image_id", "xmin", "xmax", "ymin", "ymax")).set_index("image_id")
    boxes = findings.apply(pd.to_numeric, errors="coerce").dropna()  # "No Finding" has none
    images = dict(zip(rows["image_id"], rows["image_path"], strict=True))
    marks = [(images.get(image), box[:2], box[2:]) for image, *box in boxes.itertuples()]
    return as_tables(source, "VinDr-Mammo", label, rows, marks)


def cmmd(source: Path, label: str) -> Tables:
    """CMMD (Cui et al. 2021): pathology, or molecular subtype where known, of a breast; nothing is marked in an image.

    Patient and side of an image are its header's: Patient ID (0010,0020), Image Laterality (0020,0062) or Laterality
    (0020,0060). An image of a breast without a row, or of an unknown side, has no label. A listed breast without an
    image is one missing row.
    """
    (path, *_) = find_lists(source, "CMMD_clinicaldata_revision.csv", "CMMD")
    keys = ["patient_id", "ImageLaterality"]
    breasts = read_list(path, (*keys, "age", "pathology", "subtype"))
    breasts = breasts.groupby(keys)[["age", "pathology", "subtype"]].max().reset_index()
    files = sorted(source.rglob("*.dcm"))
    facts = in_parallel(patient_side_view, [(file,) for file in files], "headers")
    images = pd.DataFrame(facts, columns=[*keys, "ViewPosition"])
    images["image_path"] = [relative(file, source) for file in files]
    rows = images.merge(breasts, on=keys, how="outer")
    rows["image_path"] = rows["image_path"].fillna("CMMD/" + rows["patient_id"] + "/" + rows["ImageLaterality"])
    return as_tables(source, "CMMD", label, rows.fillna(""), [])


def find_lists(source: Path, pattern: str, name: str) -> list[Path]:
    """Label files of this pattern anywhere below the folder, in order."""
    if lists := sorted(source.rglob(pattern)):
        return lists
    raise FileNotFoundError(f"{source}: no {pattern} of {name} here; expected: {EXPECTED[name]}")


def read_list(path: Path, needed: Sequence[str], **options) -> pd.DataFrame:
    """Read a label file as text, columns under our names, spaces and line breaks round values removed."""
    titles = {title: ours for ours, titles in NAMES.items() for title in titles}
    table = read_csv(path, dtype=str, keep_default_na=False, **options).rename(columns=titles)
    require_columns(table, needed, path)
    return table[list(needed)].apply(lambda column: column.str.strip())


def as_tables(source: Path, name: str, label: str, rows: pd.DataFrame, marks: Iterable[tuple]) -> Tables:
    """Registry and annotations from rows in our columns and marks (image_path, abscissas, ordinates).

    FileNotFoundError where not one listed image is there.
    """
    if "density" in rows:
        rows = rows.assign(breast_density=rows["density"].map(density))
    if label in rows:
        rows = rows.assign(label=label_words(rows[label].str.casefold(), label))
    described = [column for column in ("age", "breast_density") if column in rows]
    registry = rows.reindex(columns=[*REQUIRED, *OPTIONAL, *described], fill_value="").reset_index(drop=True)
    registry["ImageLaterality"] = registry["ImageLaterality"].map(terms.laterality)
    registry["ViewPosition"] = registry["ViewPosition"].map(terms.view)
    if not any((source / path).is_file() for path in registry["image_path"]):
        raise FileNotFoundError(f"{source}: none of {len(rows)} images of {name} here; expected: {EXPECTED[name]}")
    circles = [(path, *circle(xs, ys)) for path, xs, ys in marks if len(xs)]
    annotations = pd.DataFrame(circles, columns=["image_path", "x", "y", "radius"])
    return registry, annotations[annotations["radius"] > 0].reset_index(drop=True)


def relative(path: Path, source: Path) -> str:
    """Path below the folder, with slashes."""
    return path.relative_to(source).as_posix()


def label_words(texts: pd.Series, label: str) -> pd.Series:
    """Write a set's small-letter values of a label in the words of the registry, "" for what is none."""
    if label == "birads":
        return texts.str.findall("[0-6]").map(lambda grades: f"birads_{max(grades)}" if grades else "")
    if label == "density":
        return texts.map(density).map(lambda letter: f"density_{letter}" if letter else "")
    if label == "subtype":
        return texts.str.replace("[ -]", "_", regex=True)
    return texts.str.extract("^(normal|benign|malignant)", expand=False).fillna("")


def density(text: str) -> str:
    """a to d from "C", "DENSITY C" or 3; "" for anything else ("_", 0)."""
    letter = re.fullmatch("(?:density )?([a-d1-4])", text.casefold())
    return letter[1].translate(str.maketrans("1234", "abcd")) if letter else ""


def circle(xs: Sequence[float], ys: Sequence[float]) -> tuple[float, float, float]:
    """x, y and radius of the circle that stands for a mark: see the module."""
    left, right, top, bottom = min(xs), max(xs), min(ys), max(ys)
    return (left + right) / 2, (top + bottom) / 2, max(right - left, bottom - top) / 2


def region_extent(shape: dict) -> tuple[Sequence[float], Sequence[float]]:
    """Abscissas and ordinates of a region of the VGG Image Annotator, empty where it has none."""
    if "cx" not in shape:
        return shape.get("all_points_x", ()), shape.get("all_points_y", ())
    x, y, radius = shape["cx"], shape["cy"], shape.get("r", 0)
    half_width, half_height = shape.get("rx", radius), shape.get("ry", radius)
    return (x - half_width, x + half_width), (y - half_height, y + half_height)


def outline_extents(path: Path) -> list[tuple]:
    """Abscissas and ordinates of each outline in a property list of OsiriX (points are texts such as "(12.5, 7)")."""
    try:
        images = plistlib.loads(path.read_bytes())["Images"]
        points = [[json.loads(f"[{point.strip('()')}]") for point in roi["Point_px"]] for roi in images[0]["ROIs"]]
        return [tuple(zip(*outline, strict=True)) for outline in points if outline]
    except Exception as error:  # the parser lets Expat's own errors through
        raise ValueError(f"{path}: not read as a property list of outlines ({type(error).__name__})") from None


def files_by_folder(source: Path) -> dict[str, list[Path]]:
    """Name of a folder anywhere below `source` -> the DICOM files in and below it, in order."""
    folders = {}
    for path in sorted(source.rglob("*.dcm")):
        for name in path.relative_to(source).parts[:-1]:
            folders.setdefault(name, []).append(path)
    return folders


def files_of(listed: str, folders: dict[str, list[Path]]) -> list[Path]:
    """Files of the innermost folder of a listed path that the disk has: series, else study, else patient."""
    return next((folders[name] for name in reversed(listed.split("/")[:-1]) if name in folders), [])


def mask_extent(image: Path, candidates: list[Path]) -> tuple[Sequence[float], Sequence[float]]:
    """Outer edges of the marked pixels, in pixels of `image`; empty where no candidate is a mask of it.

    Mask and crop of a lesion lie in one folder, or in each other's: the mask is the larger. Where its size is not the
    image's, places are scaled. What has other proportions or under half the height, or can't be read, is no mask.
    """
    try:
        height, width = frame_size(image)
        (rows, columns), path = max((frame_size(path), path) for path in candidates)
        if rows < height / 2 or abs(rows / height - columns / width) > SAME_SHAPE:
            return (), ()
        marked = pydicom.dcmread(path).pixel_array > 0
    except Exception:  # no candidate; pydicom and its decoders raise whatever they like
        return (), ()
    across, down = (np.flatnonzero(marked.any(axis=axis)) for axis in (0, 1))
    if not len(across):
        return (), ()
    edges = [np.array([places[0], places[-1] + 1]) for places in (across, down)]
    return edges[0] * (width / columns) - 0.5, edges[1] * (height / rows) - 0.5


def frame_size(path: Path) -> tuple[int, int]:
    """Rows and Columns of a DICOM file, by its header."""
    header = pydicom.dcmread(path, specific_tags=["Rows", "Columns"], stop_before_pixels=True)
    return header.Rows, header.Columns


def patient_side_view(path: Path) -> tuple[str, str, str]:
    """Patient ID, side and view of a DICOM file by its header; "" for what it lacks, and for an unreadable one."""
    try:
        facts = header_facts(pydicom.dcmread(path, specific_tags=SCAN_TAGS, stop_before_pixels=True))
    except (InvalidDicomError, EOFError, OSError, ValueError):
        return "", "", ""
    return facts["PatientID"], facts["ImageLaterality"], facts["ViewPosition"]
