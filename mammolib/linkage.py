"""Files of an archive joined to the breasts of a pathology list, on patient, side and date; every file has its reason.

No image inherits what it does not show: not the other breast's type, nor a type that biopsy, treatment or years part
from the image.
"""

import math
from collections.abc import Sequence

import pandas as pd

from mammolib.intervals import wilson
from mammolib.names import class_name
from mammolib.pathology import DESCRIPTION
from mammolib.registry import OPTIONAL, REQUIRED, exclude
from mammolib.terms import REASONS
from mammolib.words import plain_id, spelling_difference

IDENTITY = ("PatientID", "StudyInstanceUID", "ImageLaterality", "image_date")  # of the header, read here
FROM_LIST = ("diagnosis_date", "label", *DESCRIPTION)
BREAST = ["patient_id", "ImageLaterality"]
REGISTRY = list(dict.fromkeys((*REQUIRED, *OPTIONAL, *DESCRIPTION)))
# Count of `link_report` -> what somebody has to look at where it is not 0
DOUBTFUL = {
    "other_rows": "{other_rows} rows are of another year's cancer or an earlier finding: not used",
    "two_types": "{two_types[larger_counts]} breasts with several types have that of the larger lesion, "
    "{two_types[excluded]} leave",
    "core_differs": "{core_differs} breasts have another type in biopsy than in surgery; of "
    "{core_differs_treatment_unknown} nobody says whether treatment came between",
    "dated_by_surgery": "{dated_by_surgery} breasts have no biopsy in the list: the surgery's day stands for it, so an "
    "image taken after the biopsy can't be told",
    "ids_alike_in_list": "{ids_alike_in_list} ids of the list are alike but for zeros, width or spaces",
}


def link(
    headers: pd.DataFrame, breasts: pd.DataFrame, image_window_days: Sequence[int] = (0, 180)
) -> tuple[pd.DataFrame, dict]:
    """Give each file the label of its own breast, or the reason why it has none.

    1. A file that has a reason keeps it, and is no candidate for the last study.
    2. Ids are matched as they are written, else without zeros, width and spaces (`words.plain_id`), which is counted by
       kind; id_ambiguous where several ids of the list have this plain id, for they may be one patient, or several of
       the files that are written otherwise than the list's.
    3. patient_not_listed, laterality_unknown, other_breast; what the list says against a breast.
    4. The image is as many days before the first biopsy as the window says, both ends included. One of that very
       day may show its marks: it stays where the window holds no earlier one of this breast. Later ones are
       after_surgery from the day of the surgery on, else after_chemotherapy where there was neoadjuvant treatment, else
       after_biopsy; earlier ones are older_prior.
    5. Of a breast's images in the window those of the last study stay, all studies of its last day; the others are
       older_prior. A study is a Study Instance UID (0020,000D), or a day where that is empty.

    Parameters
    ----------
    headers
        A row a file: `image_path`, `reason`, `detail` and the facts of `headers.header_facts`; the facts of a file that
        could not be read may be NaN.
    breasts
        As `pathology.one_row_a_breast` gives them.
    image_window_days
        Least and most days before the first biopsy; the least is 0, or 1 where an image of that very day may be late.

    Returns
    -------
    rows
        A row a file, in the columns of a registry, `DESCRIPTION`, `reason`, `detail`, then the header's. `patient_id`
        is the list's where it is matched, `label` the list's word ("" where the list has none for this image), so that
        `registry.classify` maps it as a registry's. `pixel_spacing_mm` is "", for the header's own is read with the
        pixels; `split` is "".
    report
        Counts, see `link_report`.
    """
    least, most = image_window_days
    if least not in (0, 1) or most < least:
        raise ValueError(f"image_window_days is {list(image_window_days)}; allowed: [0 or 1, at least as many days]")
    headers = headers.reset_index(drop=True)
    headers = headers.assign(**{name: headers[name].fillna("") for name in (*IDENTITY, "ViewPosition")})
    matches = match_ids(headers["PatientID"], breasts["patient_id"])
    listed, kind = (headers["PatientID"].map({own: pair[k] for own, pair in matches.items()}) for k in (0, 1))
    said = breasts.rename(columns={"laterality": "ImageLaterality", "reason": "list_reason", "detail": "list_detail"})
    said = said[[*BREAST, *FROM_LIST, "surgery_date", "neoadjuvant", "list_reason", "list_detail"]]
    joined = headers.assign(patient_id=listed).merge(said, "left", BREAST, validate="many_to_one")
    here = joined["list_reason"].notna()
    joined[said.columns] = joined[said.columns].fillna("")
    rows = joined.assign(patient_id=listed.mask(listed == "", headers["PatientID"]), pixel_spacing_mm="", split="")
    rows = exclude(rows, kind == "not_listed", "patient_not_listed", "no patient of the list has this id")
    rows = exclude(rows, kind == "ambiguous", "id_ambiguous", "several ids differ in zeros, width or spaces alone")
    rows = exclude(rows, rows["ImageLaterality"] == "", "laterality_unknown", "the header names no side")
    rows = exclude(rows, ~here, "other_breast", "the list has this patient, but not this side")
    for reason in ("two_types", "subtype_not_stated", "no_diagnosis_date"):
        rows = exclude(rows, rows["list_reason"] == reason, reason, rows["list_detail"])
    rows = exclude_by_date(rows, least, most)
    front = [*REGISTRY, "reason", "detail"]
    rows = rows[[*front, *(name for name in headers if name not in front)]]
    return rows, link_report(rows, breasts, matches)


def match_ids(owners: pd.Series, patients: pd.Series) -> dict[str, tuple[str, str]]:
    """Each id of the files -> the list's id ("" where none is sure), and exact, `words.SPELLINGS` or why there is none.

    Of the files' ids, one that is written as in the list is that patient, whatever others look like it.
    """
    of_list, of_files = ({}, {})
    for ids, plain in ((patients, of_list), (owners, of_files)):
        for text in ids.unique():
            plain.setdefault(plain_id(text), []).append(text)
    matches = {}
    for plain, spellings in of_files.items():
        fitting = of_list.get(plain, [])
        for text in spellings:
            if not fitting:
                matches[text] = ("", "not_listed")
            elif fitting == [text]:
                matches[text] = (text, "exact")
            elif len(fitting) > 1 or len(spellings) > 1:
                matches[text] = ("", "ambiguous")
            else:
                matches[text] = (fitting[0], spelling_difference(text, fitting[0]))
    return matches


def exclude_by_date(rows: pd.DataFrame, least: int, most: int) -> pd.DataFrame:
    """Rules 4 and 5 of `link`; `rows` has the days of diagnosis, surgery and image in ISO's form, "" for none."""
    days = (rows[name] for name in ("diagnosis_date", "surgery_date", "image_date"))
    diagnosed, operated, taken = (pd.to_datetime(text, format="%Y-%m-%d", errors="coerce") for text in days)
    days_before = (diagnosed - taken).dt.days
    after, treated = days_before < least, rows["neoadjuvant"] == "yes"
    rows = exclude(rows, taken.isna(), "no_image_date", "the header has no valid date")
    rows = exclude(rows, after & (taken >= operated), "after_surgery", "on the day of the surgery or later")
    rows = exclude(rows, after & treated, "after_chemotherapy", "after the biopsy, with neoadjuvant treatment")
    rows = exclude(rows, after, "after_biopsy", f"less than {least} days before the first biopsy")
    rows = exclude(rows, days_before > most, "older_prior", f"more than {most} days before the first biopsy")
    in_window = (rows["reason"] == "") & (days_before > 0)
    earlier_day = in_window.groupby([rows[name] for name in BREAST]).transform("any") & (days_before == 0)
    rows = exclude(rows, earlier_day, "after_biopsy", "on the day of the first biopsy; there is an earlier study")
    kept = rows[rows["reason"] == ""]
    study = kept["StudyInstanceUID"].mask(kept["StudyInstanceUID"] == "", kept["image_date"])
    study_day = kept.groupby([*(kept[name] for name in BREAST), study])["image_date"].transform("max")
    last_day = study_day.groupby([kept[name] for name in BREAST]).transform("max")
    earlier = (study_day < last_day).reindex(rows.index, fill_value=False)
    return exclude(rows, earlier, "older_prior", "a later study before the biopsy shows this breast")


def link_report(rows: pd.DataFrame, breasts: pd.DataFrame, matches: dict[str, tuple[str, str]]) -> dict:
    """Counts of `link`, fit for JSON: the list, its odd cases, the ids by how they were matched, the files by reason.

    `ids` and `ids_alike_in_list` count patients; `not_in_list` names the columns without which a surgical type after
    treatment, or a biopsy's beside it, can't be told.
    """
    patients = pd.Series(breasts["patient_id"].unique(), dtype=str)
    shown = rows.loc[rows["reason"] == "", BREAST].drop_duplicates()
    several, two_types = breasts["types"] > 1, breasts["reason"] == "two_types"
    reasons = rows["reason"].value_counts()
    return {
        "list_rows": int(breasts["list_rows"].sum()),
        "breasts": len(breasts),
        "patients": len(patients),
        "bilateral": int(breasts["patient_id"].duplicated().sum()),
        "other_rows": int(breasts["other_rows"].sum()),
        "core_differs": int(breasts["core_differs"].sum()),
        "core_differs_treatment_unknown": int((breasts["core_differs"] & (breasts["neoadjuvant"] == "")).sum()),
        "dated_by_surgery": int(breasts["dated_by_surgery"].sum()),
        "two_types": {"larger_counts": int((several & ~two_types).sum()), "excluded": int(two_types.sum())},
        "not_in_list": [name for name in ("specimen", "neoadjuvant") if (breasts[name] == "").all()],
        "ids": pd.Series([kind for owner, (_, kind) in matches.items() if owner], dtype=str).value_counts().to_dict(),
        "ids_alike_in_list": int(patients.map(plain_id).duplicated(keep=False).sum()),
        "patients_without_file": len(set(patients) - {listed for listed, _ in matches.values()}),
        "breasts_without_image": len(breasts) - len(shown),
        "files": len(rows),
        "left": int(reasons.get("", 0)),
        "excluded": {reason: int(reasons[reason]) for reason in REASONS if reason in reasons},
    }


def images_of_breasts(breasts: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """The list's breasts, and how many `images` each has: files of its patient and side, and `left` of them."""
    owner = pd.MultiIndex.from_frame(breasts[["patient_id", "laterality"]])
    files, left = (table.groupby(BREAST).size() for table in (rows, rows[rows["reason"] == ""]))
    images, left = (counts.reindex(owner, fill_value=0).to_numpy() for counts in (files, left))
    return breasts.assign(images=images, left=left)


def registry_columns(rows: pd.DataFrame) -> pd.DataFrame:
    """The images that stay, in the columns of a registry.csv and `DESCRIPTION`; it reads to the same cohort."""
    return rows.loc[rows["reason"] == "", REGISTRY].reset_index(drop=True)


def join_lines(report: dict) -> list[str]:
    """How list and files were joined, and what of it somebody has to look at; `report` as `link_report` gives it."""
    counts = report | {"two_types": sum(report["two_types"].values())}
    return [
        f"{report['list_rows']} rows of the list: {report['breasts']} breasts of {report['patients']} patients, "
        f"{report['bilateral']} of them with both",
        "patients' ids in the files: " + ", ".join(f"{kind} {n}" for kind, n in report["ids"].items()),
        f"{report['patients_without_file']} patients have no file, {report['breasts_without_image']} breasts no image",
        *(text.format(**report) for name, text in DOUBTFUL.items() if counts[name]),
        *(f"no {name} in the list: a type seen after treatment can't be told" for name in report["not_in_list"]),
    ]


def dry_run_lines(
    rows: pd.DataFrame, report: dict, classes: Sequence[str], test_share: float, accuracy: float = 0.5
) -> list[str]:
    """What this archive and list would give at most, without a pixel read.

    Parameters
    ----------
    rows
        As `link` and then `registry.classify` give them.
    test_share
        Share of the patients in the test part.
    accuracy
        Where Wilson's 95 % interval is taken; 0.5 is the widest.
    """
    left, reasons = rows[rows["reason"] == ""], rows["reason"].value_counts()
    patients = left["patient_id"].nunique()
    tested = math.ceil(test_share * patients)
    of_class = ", ".join(f"{class_name(name)} {(left['label'] == name).sum()}" for name in classes)
    lines = [
        *join_lines(report),
        f"{len(rows)} files; this would leave at most {len(left)} images of {patients} patients ({of_class}), for no "
        "pixel was read",
        *(f"  {reasons[reason]} out: {text} ({reason})" for reason, text in REASONS.items() if reason in reasons),
    ]
    if not tested:
        return [*lines, "no test part, so no accuracy"]
    low, high = wilson(accuracy, tested)
    known = f"an accuracy known to +-{50 * (high - low):.1f} points: Wilson's 95 % interval at {accuracy:g}"
    return [*lines, f"{known} with {tested} patients in the test part; views of one patient count once"]
