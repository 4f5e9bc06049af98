"""Plan and write a synthetic hospital archive: a pathology list and a heap of files, with the truth beside them.

What a hospital hands over for a list of patients is mostly not what a study wants. Each trap is one such thing, planted
a known number of times. Nothing but the sign and the list's word is drawn from the class: traps, spellings, dates,
folders and encodings are dealt out without looking at it.
"""

import os
import shutil
from itertools import product
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
from pydicom import uid

from mammolib.parallel import in_parallel
from mammolib.phantom import AIR, Case, anatomy, compose, draw_parts
from mammolib.phantom_cohort import DAYS, FIRST_DAY, class_counts, deal
from mammolib.phantom_dicom import UNITS
from mammolib.phantom_lesion import SIGNS
from mammolib.phantom_objects import FILE_NAMES, FILM_SYNTAXES, SYNTAXES, write_object

# A trap is "reason: kind": why the images that it makes must leave (see `terms.REASONS`), or "stays".
# Three of 120 patients each: what the list says of them, or doesn't
LIST_TRAPS = (
    *("patient_not_listed: archive_only", "stays: list_only", "id_ambiguous: zero_apart", "stays: bilateral"),
    *("stays: larger_type", "two_types: no_sizes", "two_types: one_word", "stays: core_differs"),
    *("other_histology: false_friend", "subtype_not_stated: who_word", "no_diagnosis_date: empty_date"),
    "outside_period: other_year",
)
# Five each: one more study, from and to so many days after the first biopsy; the usual one lies 60 to 1 before it
STUDY_TRAPS = {
    "older_prior: one_year": (-420, -340),
    "older_prior: two_years": (-780, -700),
    "older_prior: earlier_study": (-170, -80),  # within the 180 days, but not the last
    "after_biopsy: clip": (1, 14),
    "after_chemotherapy: response": (130, 170),
    "after_surgery: follow_up": (300, 400),
}
# Two each: all images of the usual study are this; one of the listed breast is; one is there beside it
STORAGE_TRAPS = ("stays: cr_plate", "stays: cr_plate_as_cr", "stays: film")
INSTEAD_TRAPS = (
    *("stays: no_intent", "no_image_date: no_date", "laterality_unknown: no_side", "unreadable: cut_short"),
    *("laterality_contradictory: two_sides", "spacing_implausible: micrometres", "burned_in_annotation: burned_in"),
    *("duplicate_other_patient: misfiled",) * 2,  # one image under all of them
)
BESIDE_TRAPS = (
    *("for_processing: raw", "same_exposure: processed_again", "repeated_take: earlier_take", "no_breast: empty"),
    *("duplicate_uid: same_file", "duplicate_same_patient: other_uid", "not_mammogram: hand", "specimen: specimen"),
    *("magnification_view: magnified", "spot_view: spot", "spot_view: spot_described", "biopsy_view: stereotactic"),
    *("tangential_view: tangential", "implant_displaced: implant_pushed", "multi_frame: tomosynthesis"),
    *("synthesised: generated", "synthesised: generated_described", "contrast_enhanced: low_energy"),
    *("contrast_enhanced: recombined", "not_image: report", "not_image: directory", "not_image: text"),
    "not_image: thumbnails",
)
IMAGE_TRAPS = (*STORAGE_TRAPS, *INSTEAD_TRAPS, *BESIDE_TRAPS)
SECONDS = dict.fromkeys(("raw", "processed_again", "same_file", "other_uid"), 0) | {"earlier_take": -40}
BOTH_BREASTS = ("archive_only", "zero_apart", "bilateral")  # neither breast is the other one
UNTYPED = ("patient_not_listed", "id_ambiguous", "two_types", "other_histology", "subtype_not_stated", "other_breast")
SPECIMENS = {
    **dict.fromkeys(("clip", "response", "follow_up", "core_differs"), "both"),
    **{"larger_type": "surgical", "no_sizes": "surgical", "empty_date": "core"},
}
OPPOSITE, DAYS_TO_SURGERY = {"L": "R", "R": "L"}, {"yes": 180, "no": 30}  # after neoadjuvant treatment, without
LESION_FREE = ("two_years", "follow_up", "empty")
OTHER_TAKES = ("earlier_take", "one_year", "two_years", "earlier_study", "clip", "response", "follow_up")
CLOSE_UPS = ("magnified", "spot", "spot_described", "tangential", "specimen", "stereotactic")
OTHER_BREAST, TWIN = 10**5, 5 * 10**4  # added to a patient's number for another drawing

# As lists of 2006 to 2017, and of later editions, have them
WORDS = {
    "tubule_forming": ["乳頭腺管癌", "乳頭腺管がん", "腺管形成型", "ａ１", "Pap-tub", "8500/31", "乳頭腺管癌＞硬癌"],
    "solid": ["充実腺管癌", "充実腺管ガン", "充実型", "a2", "sol-tub", "8500/32", "充実腺管癌＞乳頭腺管癌"],
    "scirrhous": ["硬癌", "硬がん", "硬性型", "ａ３", "Sci", "8500/33", "硬癌＞充実腺管癌"],
    "one_word": ["硬癌＋乳頭腺管癌", "充実腺管癌・硬癌", "pap-tub+sci"],
    "false_friend": ["管状癌", "充実乳頭癌", "髄様癌", "浸潤性微小乳頭癌", "粘液癌", "浸潤性小葉癌"],
    "who_word": ["invasive carcinoma NST", "Invasive ductal carcinoma, NOS", "浸潤性乳管癌", "IDC"],
}
SIDES = {"L": ["L", "左", "left"], "R": ["R", "右", "right"]}
SYNONYMS = SIDES | {"core": ["core", "針生検"], "surgical": ["surgical", "手術"]}
SYNONYMS |= {"yes": ["yes", "あり", "有"], "no": ["no", "なし", "無", ""]}
ID_FORMS = {
    "as_stored": lambda text: text,
    "zeros_lost": lambda text: text.lstrip("0"),
    "full_width": lambda text: text.translate({ord(digit): ord(digit) + 0xFEE0 for digit in "0123456789"}),
    "spaces": lambda text: f" {text[:4]} {text[4:]}\u3000",
}
ID_SHARES = {"as_stored": 3, "zeros_lost": 1, "full_width": 1, "spaces": 1}
DATE_FORMS = (
    lambda day: f"{day:%Y-%m-%d}",
    lambda day: f"{day.year}/{day.month}/{day.day}",
    lambda day: f"H{day.year - 1988}.{day.month}.{day.day}",
    lambda day: f"平成{day.year - 1988}年{day.month}月{day.day}日",
)
LIST_COLUMNS = [
    *("patient_id", "laterality", "diagnosis_date", "histology", "specimen", "neoadjuvant", "age"),
    *("lesion_size_mm", "breast_density"),
]
FOLDERS = (  # as exports name them
    "DISC1/{patient_id}/{day}/SE{instance}/IM{instance:06d}",
    "DISC2/PA{number:06d}/ST{day}/SE000001/{instance:08d}.dcm",
    "export_2019/{patient_id}_PHANTOM/{day}_MG/MG.{day}.{instance}.dcm",
    "マンモ/{patient_id} {day}/画像{instance:03d}.DCM",
)


def dealt(traps: tuple | dict, of_120: int, patients: int) -> list[str]:
    """Each trap as often as its share of 120 patients says, and at least once."""
    return [trap for trap in traps for _ in range(max(1, of_120 * patients // 120))]


def plan_patients(rng: np.random.Generator, patients: int, class_shares: list[float]) -> pd.DataFrame:
    """One row a patient: at most one trap of list or studies (`kind`), and one of the images.

    Patients with a trap of the list have none of the images, so that no image has two reasons.
    """
    fewest = len(LIST_TRAPS) + len(IMAGE_TRAPS)
    if patients < fewest:
        raise ValueError(f"patients is {patients}; allowed: at least {fewest}, so that every trap finds its patient")
    people = pd.DataFrame({"sign": rng.permutation(np.repeat(list(SIGNS), class_counts(patients, class_shares)))})
    traps = dealt(LIST_TRAPS, 3, patients) + dealt(STUDY_TRAPS, 5, patients)
    people["trap"] = rng.permutation(traps + [""] * (patients - len(traps)))
    people["kind"] = people["trap"].str.partition(": ")[2]
    hosts = rng.permutation(people.index[~people["trap"].isin(LIST_TRAPS)])
    image_traps = dealt(IMAGE_TRAPS, 2, patients)
    people["image_trap"] = pd.Series(image_traps, hosts[: len(image_traps)]).reindex(people.index, fill_value="")
    people["second_sign"] = [rng.choice([other for other in SIGNS if other != sign]) for sign in people["sign"]]
    people["laterality"], people["unit"] = rng.choice(["L", "R"], patients), deal(rng, UNITS, patients)
    misfiled = people["image_trap"].str.endswith("misfiled")  # they share one image, so one side and one unit
    for column in ("laterality", "unit"):
        people.loc[misfiled, column] = people.loc[misfiled, column].iloc[0]
    people["several_windows"], people["folder"] = rng.random(patients) < 0.3, rng.choice(FOLDERS, patients)
    people["number"] = np.arange(patients)
    people["patient_id"] = [f"{k:09d}" for k in 10**6 + rng.choice(9 * 10**6, patients, replace=False)]
    other_days = rng.choice([-200, DAYS + 200], patients)
    days = np.where(people["kind"] == "other_year", other_days, rng.integers(0, DAYS, patients))
    people["biopsy"] = FIRST_DAY + pd.to_timedelta(days, unit="D")
    specimens = pd.Series(rng.choice(["core", "surgical", "both"], patients))
    people["specimens"] = people["kind"].map(SPECIMENS).fillna(specimens)
    treated = (rng.random(patients) < 0.2) & (people["specimens"] == "both") & ~people["kind"].isin(SPECIMENS)
    people["neoadjuvant"] = np.where(treated | (people["kind"] == "response"), "yes", "no")
    people["id_form"] = deal(rng, ID_SHARES, patients)
    people["id_form"] = people["id_form"].mask(people["kind"] == "zero_apart", "zeros_lost")
    return people


def plan_lesions(rng: np.random.Generator, people: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The list as people write it, a row a lesion and specimen, in no order; and patient, the id in the files.

    A patient's id is written in one way; all else varies from row to row.
    """
    rows = []
    for person in people[people["kind"] != "archive_only"].to_dict("records"):
        kind, side, facts = person["kind"], person["laterality"], anatomy(Case(seed, person["number"], "CC", "L", None))
        size, both = round(2 * facts["lesion"][2]), person["specimens"] == "both"
        lesions = [(side, person["sign"], size)]
        if kind in ("larger_type", "no_sizes", "bilateral"):
            second_side = OPPOSITE[side] if kind == "bilateral" else side
            lesions.append((second_side, person["second_sign"], size // 2))
        patient = {"patient": person["patient_id"], "patient_id": ID_FORMS[person["id_form"]](person["patient_id"])}
        patient |= {"age": rng.integers(32, 88), "breast_density": "abcd"[int(4 * facts["density"])]}
        for (side, sign, mm), specimen in product(lesions, ("core", "surgical") if both else (person["specimens"],)):
            sign = person["second_sign"] if (kind, specimen) == ("core_differs", "core") else sign
            lesion = {"laterality": side, "specimen": specimen, "neoadjuvant": person["neoadjuvant"]}
            lesion = {name: rng.choice(SYNONYMS[value]) for name, value in lesion.items()}
            lesion["histology"] = rng.choice(WORDS.get(kind, WORDS[sign]))
            wait = DAYS_TO_SURGERY[person["neoadjuvant"]] if both and specimen == "surgical" else 0
            day = DATE_FORMS[rng.integers(len(DATE_FORMS))](person["biopsy"] + pd.Timedelta(days=wait))
            lesion["diagnosis_date"] = day if kind != "empty_date" else ""
            measured = kind != "no_sizes" and not (both and specimen == "core")
            rows.append(patient | lesion | {"lesion_size_mm": str(mm) if measured else ""})
    return pd.DataFrame(rows)[[*LIST_COLUMNS, "patient"]].iloc[rng.permutation(len(rows))].reset_index(drop=True)


def plan_study(rng: np.random.Generator, person: dict, days: tuple, kind: str, reasons: dict) -> list[dict]:
    """One study of both breasts, a row an image, from and to so many days after the biopsy; `reasons` by side."""
    day, moment = person["biopsy"] + pd.Timedelta(days=rng.integers(*days)), rng.integers(9 * 3600, 17 * 3600)
    rows = []
    for k, (view, side) in enumerate(product(("CC", "MLO"), "RL")):
        other = side != person["laterality"]
        sign = person["sign"] if not other else person["second_sign"] if person["kind"] == "bilateral" else ""
        row = {"ImageLaterality": side, "ViewPosition": view, "image_date": day, "moment": moment + 60 * k}
        row |= {"drawing": person["number"] + OTHER_BREAST * other, "sign": sign, "kind": kind, "reason": reasons[side]}
        rows.append(person | row | {"syntax": deal(rng, SYNTAXES, 1)[0]})
    return rows


def plan_images(rng: np.random.Generator, person: dict) -> list[dict]:
    """All files of one patient: the usual study with its trap, then another study where there is one."""
    side, extra_days = person["laterality"], STUDY_TRAPS.get(person["trap"])
    reason, _, kind = person["trap"].replace("stays", "").partition(": ")
    usual = {"L": "other_breast", "R": "other_breast", side: "" if extra_days else reason}
    usual = dict.fromkeys("LR", reason) if kind in BOTH_BREASTS else usual
    rows = plan_study(rng, person, (-60, 0), "", usual)
    extra = plan_study(rng, person, extra_days, kind, usual | {side: reason}) if extra_days else []
    trap = person["image_trap"]
    reason, _, kind = trap.replace("stays", "").partition(": ")
    host = [row for row in rows if row["ImageLaterality"] == side][0 if kind == "misfiled" else rng.integers(2)]
    if trap in STORAGE_TRAPS:
        for row in rows:
            row |= {"kind": kind, "syntax": deal(rng, FILM_SYNTAXES if kind == "film" else SYNTAXES, 1)[0]}
    elif trap in INSTEAD_TRAPS:  # explicit, for what is cut must lack pixels and what is shared be told by its pixels
        host |= {"kind": kind, "reason": reason, "syntax": uid.ExplicitVRLittleEndian}
    elif trap in BESIDE_TRAPS:
        rows.append(host | {"kind": kind, "reason": reason, "moment": host["moment"] + SECONDS.get(kind, 600)})
    for k, row in enumerate([*rows, *extra], start=1):
        row["instance"] = host["instance"] if row["kind"] == "same_file" else k
        row["acquisition_time"] = f"{pd.Timestamp(0) + pd.Timedelta(seconds=row.pop('moment')):%H%M%S}"
        row["image_path"] = file_path(row)
    return rows + extra


def file_path(row: dict) -> str:
    """Where a file lies below the archive; what was sent a second time comes after the rest."""
    path = PurePosixPath(row["folder"].format(**row, day=f"{row['image_date']:%Y%m%d}"))
    path = path.with_name(FILE_NAMES.get(row["kind"], path.name))
    return f"再送/{path}" if row["kind"] in ("same_file", "other_uid") else str(path)


def plan_archive(seed: int, patients: int, class_shares: list[float]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Plan an archive and its pathology list.

    Returns
    -------
    plan
        A row a file. image_path (below the archive), patient_id, ImageLaterality, ViewPosition, image_date,
        acquisition_time, instance, unit, several_windows, syntax: what it says; kind: what it is, "" for a plain
        mammogram; drawing, sign ("" for none): what it shows; trap, image_trap: the patient's; reason: why it must
        leave ("" for what stays), class: of this breast by the list ("" for none).
    lesions
        See `plan_lesions`.

    Raises
    ------
    ValueError
        Too few patients for every trap, or shares that are not three positive numbers.
    """
    rng = np.random.default_rng([seed, 3])
    people = plan_patients(rng, patients, class_shares)
    lesions = plan_lesions(rng, people, seed)
    twins = people[people["kind"] == "zero_apart"]
    twins = twins.assign(patient_id=twins["patient_id"].str[1:], number=twins["number"] + TWIN)
    people = pd.concat([people[people["kind"] != "list_only"], twins])
    plan = pd.DataFrame([row for person in people.to_dict("records") for row in plan_images(rng, person)])
    plan["class"] = plan["sign"].mask(plan["reason"].isin(UNTYPED), "")
    misfiled = plan["kind"] == "misfiled"
    for column in ("drawing", "sign"):
        plan.loc[misfiled, column] = plan.loc[misfiled, column].iloc[0]
    drawn = ["second_sign", "laterality", "folder", "biopsy", "specimens", "neoadjuvant", "id_form"]
    return plan.drop(columns=drawn), lesions


def picture(row: dict, parts: dict, pixel_spacing_mm: float, visibility: float, conspicuity: float) -> np.ndarray:
    """What a planned file shows: (rows, columns) float32 in [0, 1], a right breast on the right."""
    kind, lesion = row["kind"], row["sign"] != "" and row["kind"] not in LESION_FREE
    if kind == "empty":
        parts = parts | {"background": np.full_like(parts["background"], AIR)}
    if kind in OTHER_TAKES:
        parts = parts | {"noise": parts["noise"][::-1]}
    image = compose(parts, visibility, conspicuity, lesion, lesion)
    if kind in OTHER_TAKES:
        image = np.roll(image, 3, axis=0)
    if kind == "processed_again":
        image = image**0.85
    if kind in CLOSE_UPS:
        height, width = (length // 2 for length in image.shape)
        x, y, _ = (length / pixel_spacing_mm for length in parts["lesion"])
        top, left = int(np.clip(y - height / 2, 0, height)), int(np.clip(x - width / 2, 0, width))
        image = image[top : top + height, left : left + width].repeat(2, axis=0).repeat(2, axis=1)
    return image[:, ::-1] if row["ImageLaterality"] == "R" else image


def write_patient(
    rows: list[dict], folder: Path, seed: int, pixel_spacing_mm: float, visibility: float, conspicuity: float
) -> None:
    """Write all files of one patient; each view of a breast is drawn once."""
    drawings = {}
    for row in rows:
        case = Case(seed, row["drawing"], row["ViewPosition"], row["ImageLaterality"], row["sign"] or None)
        if case not in drawings:
            drawings[case] = draw_parts(case, pixel_spacing_mm)
        image = picture(row, drawings[case], pixel_spacing_mm, visibility, conspicuity)
        path = folder / row["image_path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        write_object(path, image, case, row, pixel_spacing_mm)
        if row["kind"] == "cut_short":
            os.truncate(path, path.stat().st_size * 6 // 10)


def write_archive(
    folder: Path,
    plan: pd.DataFrame,
    lesions: pd.DataFrame,
    seed: int,
    pixel_spacing_mm: float,
    visibility: float,
    conspicuity: float,
    workers: int = 0,
    encoding: str = "cp932",
) -> None:
    """Write `archive/`, `pathology.csv` and `truth.csv` below a folder, and print the progress.

    `archive/` is replaced as a whole once all files stand. truth.csv: image_path (below archive/), reason, patient (the
    id in the file), class. workers = 0 takes every core; `encoding` is the list's.
    """
    partial = folder / "archive.partial"
    shutil.rmtree(partial, ignore_errors=True)
    patients = [rows.to_dict("records") for _, rows in plan.groupby("patient_id", sort=False)]
    jobs = [(rows, partial, seed, pixel_spacing_mm, visibility, conspicuity) for rows in patients]
    list(in_parallel(write_patient, jobs, "patients", workers))
    shutil.rmtree(folder / "archive", ignore_errors=True)
    partial.rename(folder / "archive")
    lesions[LIST_COLUMNS].to_csv(folder / "pathology.csv", index=False, encoding=encoding)
    truth = plan[["image_path", "reason", "patient_id", "class"]].rename(columns={"patient_id": "patient"})
    truth.to_csv(folder / "truth.csv", index=False)
