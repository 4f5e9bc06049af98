"""Plan and write a synthetic cohort: patients, their views, a pathology registry, and the traps of a real archive.

Nothing but the sign is drawn from the class: dates, units, syntaxes, sizes and the order of the rows are dealt out
without looking at it.
"""

import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
from pydicom import dcmread
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian

from mammolib.parallel import in_parallel
from mammolib.phantom import Case, anatomy, draw
from mammolib.phantom_dicom import SYNTAXES, UNITS, phantom_dataset, write_dataset
from mammolib.phantom_lesion import SIGNS

# Words as pathology lists of 2006-2017 have them: 17th edition, sometimes the later ones.
WORDS = {
    "tubule_forming": ["乳頭腺管癌", "乳頭腺管がん", "腺管形成型"],
    "solid": ["充実腺管癌", "充実腺管がん", "充実型"],
    "scirrhous": ["硬癌", "硬がん", "硬性型"],
}
FIRST_DAY, DAYS = pd.Timestamp("2006-01-01"), 4383  # to 2017-12-31

# Each trap is a whole patient with two views, unless it is an additional image of a patient of the study.
TRAP_PATIENTS = (
    *({"trap": "outside_period", "diagnosis_date": day} for day in ("2005-11-17", "2018-01-09", "2018-06-21")),
    *({"trap": "other_histology", "label": word} for word in ("粘液癌", "粘液癌", "浸潤性小葉癌")),
    {"trap": "subtype_not_stated", "label": "invasive carcinoma NST"},
)
TRAP_IMAGES = ("magnification_view",) * 3 + ("cut_short",) + ("missing_file",) * 2 + ("not_a_mammogram",) * 2


def class_counts(patients: int, class_shares: list[float]) -> list[int]:
    """Patients a class: the shares by largest remainder, so that they add up."""
    shares = np.asarray(class_shares, float)
    if len(shares) != len(SIGNS) or shares.min() <= 0:
        raise ValueError(f"class_shares is {class_shares}; allowed: {len(SIGNS)} positive numbers ({', '.join(SIGNS)})")
    exact = patients * shares / shares.sum()
    counts = np.floor(exact).astype(int)
    counts[np.argsort(counts - exact, kind="stable")[: patients - counts.sum()]] += 1
    return counts.tolist()


def deal(rng: np.random.Generator, shares: dict, n: int) -> np.ndarray:
    """Deal n keys of a dict of shares at random."""
    return rng.choice(list(shares), size=n, p=np.array(list(shares.values())) / sum(shares.values()))


def plan_patients(
    rng: np.random.Generator, development_images: int, test_images: int, class_shares: list[float]
) -> pd.DataFrame:
    """One row a patient: split, sign (the drawn class), label word, diagnosis date, side, unit, trap ("" for none)."""
    rows = []
    for split, images in (("development", development_images), ("test", test_images)):
        n = (images + 1) // 2
        if n < len(SIGNS):
            raise ValueError(f"{split}_images is {images}; allowed: at least {2 * len(SIGNS)}, two views a patient")
        signs = rng.permutation(np.repeat(list(SIGNS), class_counts(n, class_shares)))
        rows += [{"split": split, "sign": sign, "trap": ""} for sign in signs]
        if images % 2:  # an odd number: the second view of one patient can't be used
            rows[-1]["trap"] = "second_view_cut_short"
    rows += [{"split": "development", "sign": rng.choice(list(SIGNS)), **trap} for trap in TRAP_PATIENTS]
    # Two patients whose one image has the same pixels: nobody can say whose it is.
    rows += [{"split": "development", "sign": rng.choice(list(SIGNS)), "trap": "shared_pixels"} for _ in range(2)]
    patients = pd.DataFrame(rows)
    n = len(patients)
    # The draws are made for every patient, used or not, so that a trap changes nobody else.
    words = [WORDS[sign][k] for sign, k in zip(patients["sign"], rng.integers(0, 3, n), strict=True)]
    dates = (FIRST_DAY + pd.to_timedelta(rng.integers(0, DAYS, n), unit="D")).strftime("%Y-%m-%d")
    patients["label"] = patients["label"].fillna(pd.Series(words))
    patients["diagnosis_date"] = patients["diagnosis_date"].fillna(pd.Series(dates))
    patients["laterality"] = rng.choice(["L", "R"], n)
    patients["unit"] = deal(rng, UNITS, n)
    patients["number"] = rng.permutation(n)
    return patients


def plan_cohort(seed: int, development_images: int, test_images: int, class_shares: list[float]) -> pd.DataFrame:
    """Plan a cohort of two views a patient, with traps.

    Returns
    -------
    DataFrame
        One row an image, in the order of the registry: patient_id, image_path, diagnosis_date, label, ImageLaterality,
        ViewPosition, split (the registry's columns), then number, sign, unit, syntax, trap, days_before.

    Raises
    ------
    ValueError
        Too few images for a patient of each class, or shares that are not three positive numbers.
    """
    rng = np.random.default_rng([seed, 1])
    patients = plan_patients(rng, development_images, test_images, class_shares)
    rows = []
    for patient in patients.to_dict("records"):
        for view in ["CC"] if patient["trap"] == "shared_pixels" else ["CC", "MLO"]:
            of_view = {"second_view_cut_short": "cut_short" if view == "MLO" else ""}
            rows.append({**patient, "ViewPosition": view, "trap": of_view.get(patient["trap"], patient["trap"])})
    usual = [row for row in rows if not row["trap"] and row["split"] == "development"]
    hosts = rng.choice(len(usual), len(TRAP_IMAGES), replace=False)
    rows += [{**usual[host], "trap": trap} for host, trap in zip(hosts, TRAP_IMAGES, strict=True)]
    images = pd.DataFrame(rows).rename(columns={"laterality": "ImageLaterality"})
    images["syntax"] = deal(rng, SYNTAXES, len(images))
    images["days_before"] = rng.integers(0, 31, len(images))
    images["patient_id"] = [f"SYN{number:05d}" for number in images["number"]]
    images = images.sort_values("number", kind="stable").reset_index(drop=True)
    images["image_path"] = [f"images/IM{k:05d}.dcm" for k in images.index]
    registry = ["patient_id", "image_path", "diagnosis_date", "label", "ImageLaterality", "ViewPosition", "split"]
    return images[[*registry, "number", "sign", "unit", "syntax", "trap", "days_before"]]


def case_of(row: dict, seed: int) -> Case:
    """The drawing of a planned image; both owners of shared pixels get one drawing."""
    shared = row["trap"] == "shared_pixels"
    number, side, sign = (10**6, "L", "solid") if shared else (row["number"], row["ImageLaterality"], row["sign"])
    return Case(seed, int(number), row["ViewPosition"], side, sign)


def write_image(
    row: dict, folder: Path, seed: int, pixel_spacing_mm: float, visibility: float, conspicuity: float
) -> dict:
    """Draw and write one planned image; returns its annotation in source pixels, origin top left."""
    case, path = case_of(row, seed), folder / row["image_path"]
    x, y, radius = (length / pixel_spacing_mm for length in anatomy(case)["lesion"])
    if row["trap"] == "missing_file":
        return {"image_path": row["image_path"]}
    pixels = draw(case, pixel_spacing_mm, visibility, conspicuity)
    date = pd.Timestamp(row["diagnosis_date"]) - pd.Timedelta(days=row["days_before"])
    # A shared image must be told by its pixels alone, a truncated one must lack pixels in every encoding.
    plain = row["trap"] in ("shared_pixels", "cut_short")
    unit, syntax = ("linear", ExplicitVRLittleEndian) if plain else (row["unit"], row["syntax"])
    magnified = row["trap"] == "magnification_view"
    ds = phantom_dataset(pixels, case, row["patient_id"], date.date(), pixel_spacing_mm, unit, path.name, magnified)
    write_dataset(path, ds, syntax)
    if row["trap"] == "cut_short":
        os.truncate(path, path.stat().st_size * 6 // 10)
    if row["trap"] == "not_a_mammogram":
        make_other_modality(path)
    if case.laterality == "R":
        x = pixels.shape[1] - x
    return {"image_path": row["image_path"], "x": x - 0.5, "y": y - 0.5, "radius": radius}


def make_other_modality(path: Path) -> None:
    """Turn a file into a computed radiograph of the hand: right patient, wrong examination."""
    ds = dcmread(path)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    ds.Modality, ds.BodyPartExamined, ds.ViewPosition = "CR", "HAND", "AP"
    for keyword in ("PositionerType", "ViewCodeSequence", "OrganExposed", "AnatomicRegionSequence", "ImageLaterality"):
        delattr(ds, keyword)
    ds.save_as(path, enforce_file_format=True)


def write_cohort(
    folder: Path,
    plan: pd.DataFrame,
    seed: int,
    pixel_spacing_mm: float,
    visibility: float,
    conspicuity: float,
    workers: int = 0,
) -> pd.DataFrame:
    """Write every image of a plan below a folder and print the progress.

    `folder/images` is replaced as a whole once all files stand. workers = 0 takes every core.

    Returns
    -------
    DataFrame
        Annotations: image_path, x, y, radius in source pixels.
    """
    partial = folder / "images.partial"
    shutil.rmtree(partial, ignore_errors=True)
    (partial / "images").mkdir(parents=True)
    jobs = [(row, partial, seed, pixel_spacing_mm, visibility, conspicuity) for row in plan.to_dict("records")]
    annotations = list(in_parallel(write_image, jobs, "images", workers))
    shutil.rmtree(folder / "images", ignore_errors=True)
    (partial / "images").rename(folder / "images")
    partial.rmdir()
    return pd.DataFrame(annotations).dropna()
