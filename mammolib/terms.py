"""The closed lists that header and registry texts go through, so that no free text reaches a table."""

import math
import re

LATERALITIES = {"l": "L", "left": "L", "左": "L", "r": "R", "right": "R", "右": "R"}
# Defined terms of View Position (0018,5101) for mammography, after CID 4014
VIEWS = ("CC", "MLO", "ML", "LM", "LMO", "FB", "SIO", "ISO", "XCC", "XCCL", "XCCM", "AT", "CV", "TAN")
VENDORS = (
    *("GE", "Hologic", "Lorad", "Fujifilm", "Siemens", "Philips", "Sectra", "Konica Minolta", "Canon", "Toshiba"),
    *("Planmed", "IMS", "Giotto", "Agfa", "Carestream", "Kodak", "Metaltronica", "Shimadzu", "mammolib phantom"),
)
OTHER_NAMES = {"Fuji": "Fujifilm", "Konica": "Konica Minolta", "Eastman Kodak": "Kodak"}
# Why an image is left out, in the order in which it is looked for: reason -> what the flow diagram says
REASONS = {
    "no_diagnosis_date": "no diagnosis date",
    "outside_period": "diagnosed outside the period",
    "other_histology": "another histology",
    "subtype_not_stated": "subtype not stated",
    "missing_file": "file missing",
    "unreadable": "file unreadable or cut short",
    "not_mammogram": "not a mammogram",
    "for_processing": "for processing, not for presentation",
    "magnification_view": "magnification view",
    "spacing_implausible": "pixel spacing implausible",
    "no_breast": "no breast found",
    "duplicate_other_patient": "same pixels, another patient or label",
    "duplicate_same_patient": "same pixels again, same patient",
    "quality_control_image": "quality control image",
}
SPACINGS = (0.01, 2.0)  # mm; the finest detectors have 0.025, the coarsest reduced films and phantoms 1 to 2


def laterality(text: str) -> str:
    """L or R from a code or a word; "" for anything else."""
    return LATERALITIES.get(text.strip().casefold(), "")


def view(text: str) -> str:
    """One of `VIEWS`, capitals or not; "" for anything else."""
    return text.strip().upper() if text.strip().upper() in VIEWS else ""


def vendor(text: str) -> str:
    """One of `VENDORS` by the first word or words of Manufacturer (0008,0070); "other", or "" where it is empty."""
    for name in (*VENDORS, *OTHER_NAMES):
        if re.match(rf"{name}(?![a-z])", text.strip(), re.IGNORECASE):
            return OTHER_NAMES.get(name, name)
    return "other" if text.strip() else ""


def plausible_spacing(spacing: float | None) -> bool:
    """Whether millimetres a pixel can be a mammogram's; NaN and infinity can't."""
    return spacing is not None and math.isfinite(spacing) and SPACINGS[0] <= spacing <= SPACINGS[1]
