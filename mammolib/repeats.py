"""One exposure that stands in an archive several times, and several takes of one view."""

import pandas as pd
from pandas.api.typing import DataFrameGroupBy

from mammolib.parameters import CHOICES, require_choice
from mammolib.registry import OWNER, exclude

FACTS = ["SOPInstanceUID", "StudyInstanceUID", "source_uid", "image_date", "acquisition_time", "digest"]
VIEW = ["patient_id", "ImageLaterality", "ViewPosition"]


def exclude_repeats(rows: pd.DataFrame, repeated_takes: str = "last") -> pd.DataFrame:
    """Take out what shows one exposure twice, and all but the last take of a view.

    1. One SOP Instance UID (0008,0018): with other pixels all leave, otherwise the first stays.
    2. Equal pixels: under two patients or labels all leave, for nobody knows whose they are; otherwise the first
       stays. Whose they are is looked at before rule 1.
    3. One patient, side and view, and one source image or one acquisition date and time: one exposure, processed
       again. With two labels all leave, otherwise the first stays.
    4. One patient, study, side and view at several times: the last stays, unless `repeated_takes` is all.

    The first is so by the order of the rows. A time is known from the second on; 000000 is what de-identification
    leaves, and no time.

    Parameters
    ----------
    rows
        With the facts of the files, `FACTS` in the columns; an image for which one of them is absent, NaN or "" is not
        judged by it.
    """
    require_choice("repeated_takes", repeated_takes, CHOICES["repeated_takes"])
    facts = rows.reindex(columns=FACTS, fill_value="").astype(object).fillna("")
    time = pd.to_numeric(facts["acquisition_time"].where(facts["acquisition_time"].str.fullmatch(r"\d{6}(\.\d+)?")))
    known = rows.assign(**facts, time=time.map("{:013.6f}".format).where(time > 0, ""))
    uid, pixels = ["SOPInstanceUID"], ["digest"]
    nobodys = differ(known, pixels, OWNER)
    known = exclude(known, differ(known, uid, pixels), "duplicate_uid", "one SOP Instance UID, other pixels; all leave")
    known = exclude(known, again(known, uid) & ~nobodys, "duplicate_uid", "UID and pixels again; the first stays")
    known = exclude(known, nobodys, "duplicate_other_patient", "pixels equal another image's; all leave")
    known = exclude(known, again(known, pixels), "duplicate_same_patient", "pixels again; the first stays")
    for same, what in ((["source_uid"], "one source image"), (["image_date", "time"], "one acquisition time")):
        detail = f"{what}, two labels; all leave"
        known = exclude(known, differ(known, VIEW + same, ["label"]), "same_exposure", detail)
        known = exclude(known, again(known, VIEW + same), "same_exposure", f"{what}; the first stays")
    if repeated_takes == "last":
        moment = known["image_date"] + known["time"]
        takes = alike(known.assign(moment=moment)[known["time"] != ""], [*VIEW, "StudyInstanceUID"])
        earlier = moment < takes["moment"].transform("max").reindex(rows.index, fill_value="")
        known = exclude(known, earlier, "repeated_take", "an earlier take of this view in its study")
    return rows.assign(reason=known["reason"], detail=known["detail"])


def alike(rows: pd.DataFrame, by: list[str]) -> DataFrameGroupBy:
    """Groups of the rows without a reason that are equal in all of `by`; a row that lacks one of these is in none."""
    return rows[(rows["reason"] == "") & (rows[by] != "").all(axis=1)].groupby(by, sort=False)


def differ(rows: pd.DataFrame, by: list[str], columns: list[str]) -> pd.Series:
    """Whether the rows alike in `by` differ in one of `columns`."""
    several = alike(rows, by)[columns].transform("nunique") > 1
    return several.any(axis=1).reindex(rows.index, fill_value=False)


def again(rows: pd.DataFrame, by: list[str]) -> pd.Series:
    """Whether a row is alike in `by` to one before it."""
    return (alike(rows, by).cumcount() > 0).reindex(rows.index, fill_value=False)
