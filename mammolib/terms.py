"""The closed lists that header and registry texts go through, so that no free text reaches a table."""

import math
import re

LATERALITIES = {"l": "L", "left": "L", "左": "L", "r": "R", "right": "R", "右": "R"}
# Defined terms of View Position (0018,5101) for mammography, after CID 4014
VIEWS = ("CC", "MLO", "ML", "LM", "LMO", "FB", "SIO", "ISO", "XCC", "XCCL", "XCCM", "AT", "CV", "TAN")
BREAST_VIEWS = ("CC", "MLO", "LMO", "FB", "SIO", "XCC", "XCCL", "XCCM")  # the others name views of limbs and chest too
# pydicom's names of codes (PS3.16): CID 4014 with ACR's abbreviations, and what of CID 4015 takes the view's place
CODED_VIEWS = {
    **{"CranioCaudal": "CC", "MedioLateralObliqueProjection": "MLO", "MedioLateralProjection": "ML"},
    **{"LateroMedial": "LM", "LateroMedialOblique": "LMO", "CaudoCranial": "FB"},
    **{"SuperolateralToInferomedialOblique": "SIO", "InferomedialToSuperolateralOblique": "ISO"},
    **{"CranioCaudalExaggeratedLaterally": "XCCL", "CranioCaudalExaggeratedMedially": "XCCM"},
    **{"AxillaryTail": "AT", "Cleavage": "CV", "Tangential": "TAN"},
}
OLD_CODED_VIEWS = {"R-102CF": "XCC", "Y-X1770": "XCCL", "Y-X1771": "XCCM"}  # values of earlier editions of CID 4014
CODED_SIDES = {"Left": "L", "Right": "R", "LeftBreast": "L", "RightBreast": "R"}
CODED_BREASTS = {"Breast": "breast", "LeftBreast": "breast", "RightBreast": "breast", "BothBreasts": "breast"}
# Views that are no whole breast in contact
CODED_KINDS = {
    **{"Magnification": "magnification_view", "SpotCompression": "spot_view", "Tangential": "tangential_view"},
    **{"TissueSpecimenFromBreast": "specimen", "ImplantDisplaced": "implant_displaced"},
    **{"AxillaryTail": "partial_view", "Cleavage": "partial_view"},
}
# The same by words of a description; short ones not within a longer word
KIND_WORDS = {
    "magnification_view": r"(?<![a-z])mag(?![a-z])|magnif|拡大",
    "spot_view": r"spot|(?<![a-z])spt(?![a-z])|スポット",
    "specimen": r"specimen|標本|検体",
    "implant_displaced": r"implants?[ _-]*displace|eklund",
    "tangential_view": r"tangential|接線",
    "biopsy_view": r"stereotac|(?<![a-z])stereo(?![a-z])|(pre|post)-?fire|post[ _-]*(bx|biopsy|clip)|生検後",
}
# The same in View Position by ACR's abbreviations, such as RMCC or MLOID; a group is named after its kind
ABBREVIATION = (
    r"(?!LAT$)[RL]?(?P<magnification_view>S?MS?)?(?P<spot_view>S)?"  # LAT is lateral, not a left AT
    rf"(?P<view>{'|'.join(VIEWS)})(?P<implant_displaced>ID)?"
)
SPECIMEN_CABINETS = "faxitron|kubtec|trident"  # makers and models that X-ray specimens alone
# Image Type (0008,0008) from its third value on (PS3.3 C.8.11.7.1.4), with older words of GE and Siemens
PROJECTION_TYPES = ("TOMO_PROJ", "TOMO_SCOUT")
SYNTHESIS_TYPES = ("GENERATED_2D", "TOMO_2D")
TOMOSYNTHESIS_TYPES = ("TOMOSYNTHESIS", "TOMO")  # in a mammography object: made from tomosynthesis
CONTRAST_TYPES = ("LOW_ENER", "HIGH_ENER", "RECOMBINED", "SUBTRACTION", "ADDITION", "POST_CONTRAST")  # beginnings
BIOPSY_TYPES = ("STEREO", "PREFIRE", "POSTFIRE", "POSTBIOPSY", "POSTMARKER")  # beginnings
# Names that makers give in descriptions: C-View, Intelligent 2D (Hologic), V-Preview (GE), S-View (Fujifilm),
# Insight 2D (Siemens), G-View (IMS Giotto); SenoBright (GE)
SYNTHESIS_WORDS = (
    r"(?<![a-z])([cgs]-?view|v-?preview)(?![a-z])|(intelligent|insight|generated).?2d|synthe(tic|si[sz]ed)|合成"
)
CONTRAST_WORDS = r"(?<![a-z])ce[sd]?m(?![a-z])|(contrast.?enhanc|recombin)ed|senobright|(low|high|dual).?energy|造影"
NO_AGENT = ("", "NO", "NONE", "N/A", "NA", "NULL", "NIL", "0", "-", "なし", "無")
MODALITIES = ("MG", "CR", "DX", "RG", "OT", "SC", "US", "MR", "CT", "NM", "PT", "XA", "RF", "SR", "PR", "KO", "DOC")
PHOTOMETRIC = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422")
# Storage classes by what their names hold; consoles of CR plates write Digital X-Ray, the newer class, too
STORAGE_CLASSES = {
    "Digital Mammography X-Ray Image": "mammography",
    "Computed Radiography Image": "computed_radiography",
    "Digital X-Ray Image": "computed_radiography",
    "Secondary Capture Image": "secondary_capture",
    "Breast Tomosynthesis Image": "tomosynthesis",
    "Breast Projection X-Ray Image": "tomosynthesis",
}
VENDORS = (
    *("GE", "Hologic", "Lorad", "Fujifilm", "Siemens", "Philips", "Sectra", "Konica Minolta", "Canon", "Toshiba"),
    *("Planmed", "IMS", "Giotto", "Agfa", "Carestream", "Kodak", "Metaltronica", "Shimadzu", "mammolib phantom"),
)
OTHER_NAMES = {"Fuji": "Fujifilm", "Konica": "Konica Minolta", "Eastman Kodak": "Kodak"}
# Why an image is left out, in the order in which it is looked for: reason -> what the flow diagram says
REASONS = {
    # the list and the images' dates
    "patient_not_listed": "patient not in the pathology list",
    "id_ambiguous": "patient id fits several patients",
    "laterality_unknown": "side of the breast unknown",
    "other_breast": "no pathology for this breast",
    "two_types": "two types in one breast, the larger not known",
    "no_image_date": "image date unknown",
    "after_biopsy": "taken after the biopsy",
    "after_chemotherapy": "taken after the biopsy, with neoadjuvant treatment",
    "after_surgery": "taken after surgery",
    "older_prior": "older than the last study, or than the days before the biopsy",
    "no_diagnosis_date": "day of the diagnosis unknown",
    "outside_period": "diagnosed outside the period",
    "other_histology": "another histology",
    "subtype_not_stated": "subtype not stated",
    "no_invasion": "no invasive cancer (in situ, benign)",
    # the file and its header
    "missing_file": "file missing",
    "outside_folder": "path leaves the registry's folder",
    "unreadable": "file unreadable or cut short",
    "not_image": "not an image (report, directory, other file)",
    "not_mammogram": "not a mammogram",
    "storage_class": "storage class not admitted",
    "for_processing": "for processing, not for presentation",
    "multi_frame": "tomosynthesis or several frames",
    "synthesised": "synthesised from tomosynthesis",
    "contrast_enhanced": "contrast-enhanced",
    "magnification_view": "magnification view",
    "spot_view": "spot compression view",
    "specimen": "specimen",
    "implant_displaced": "implant displaced",
    "tangential_view": "tangential view",
    "partial_view": "axillary tail or cleavage view",
    "biopsy_view": "taken during a biopsy",
    "burned_in_annotation": "burned-in annotation",
    "laterality_contradictory": "sides contradict each other",
    "spacing_implausible": "pixel spacing implausible",
    # the pixels
    "contradictory_inversion": "photometric interpretation contradicts the picture",
    "no_breast": "no breast found",
    "duplicate_uid": "same SOP Instance UID again",
    "duplicate_other_patient": "same pixels, another patient or label",
    "duplicate_same_patient": "same pixels again, same patient",
    "same_exposure": "same exposure, processed again",
    "repeated_take": "repeated, the last take is kept",
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


def plausible_spacing(spacing: float | None, spacings: tuple[float, float] = SPACINGS) -> bool:
    """Whether millimetres a pixel can be a mammogram's; NaN and infinity can't."""
    return spacing is not None and math.isfinite(spacing) and spacings[0] <= spacing <= spacings[1]
