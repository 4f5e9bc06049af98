"""What a DICOM header says about a mammogram, and whether it may enter; no pixel is read here.

A header is data from anywhere: each element may be absent, empty, of another VR or several. A bad value that only
describes becomes "" or None; one that decides raises ValueError, for which the file is left out as unreadable.
"""

import math
import re
from datetime import date

import pydicom
from pydicom.uid import UID_dictionary

from mammolib import terms
from mammolib.elements import coded, count, file_meta, holds, items, number, numbers, one_of, text, whole
from mammolib.parameters import require_choice

PROJECTIONS = ("CR", "DX", "RG", "OT", "SC")  # ultrasound and MR of a breast are captured as screens too
LONGEST_ID = 256  # characters; the standard has 64 for each
CONTACT_FACTOR = 1.2  # a contact view magnifies 1.0 to 1.1 times at the detector, a magnification view 1.5 to 2
FACTOR = "EstimatedRadiographicMagnificationFactor"
FALLBACKS = ("AcquisitionDeviceProcessingDescription", "SeriesDescription")
DESCRIPTIONS = ("ViewPosition", "PaddleDescription", "BodyPartExamined", "OrganExposed")
DATES = ("AcquisitionDate", "StudyDate", "SeriesDate", "ContentDate")
# All that `header_facts` reads, for pydicom.dcmread(path, stop_before_pixels=True, specific_tags=SCAN_TAGS)
SCAN_TAGS = [
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "PatientID", "SourceImageSequence", *DATES),
    *("AcquisitionTime", "Modality", "PresentationIntentType", "ImageType", "NumberOfFrames", "SamplesPerPixel"),
    *("BitsStored", "PhotometricInterpretation", "BurnedInAnnotation", "QualityControlImage", "Rows", "Columns"),
    *("ImageLaterality", "Laterality", "FrameLaterality", "SharedFunctionalGroupsSequence", "AnatomicRegionSequence"),
    *("PositionerType", "ViewCodeSequence", "ViewModifierCodeSequence", "SpecimenDescriptionSequence", *DESCRIPTIONS),
    *("Manufacturer", "ManufacturerModelName", "AcquisitionDeviceProcessingCode", "ContrastBolusAgent", *FALLBACKS),
    *("ContrastBolusAgentSequence", "PixelSpacing", "PixelSpacingCalibrationType", "ImagerPixelSpacing"),
    *("NominalScannedPixelSpacing", "SpatialResolution", "VOILUTFunction", "VOILUTSequence"),
    *("WindowCenter", "WindowWidth", FACTOR),
]


class UnreadableImage(Exception):
    """A file that gives no usable mammogram: `reason` from `terms.REASONS`, `detail` free of header texts."""

    def __init__(self, reason: str, detail: str):
        require_choice("reason", reason, terms.REASONS)
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


def header_facts(dataset: pydicom.Dataset) -> dict:
    """What later steps need from the header, flat and fit for JSON; a missing text is "", a missing number None.

    Identity (PatientID to acquisition_time) is for private files and memory alone. All other texts come from closed
    lists (see `terms`) or are keywords, for a header's free text may hold a name. `laterality_contradictory` is True
    where elements name both sides; for `pixel_spacing_mm` and its source see `pixel_spacing`.

    Raises
    ------
    ValueError
        An element that decides (an id, frames, samples, magnification, a sequence) holds what it can't.
    """
    storage, intent = storage_class(dataset)
    modality = one_of(dataset, "Modality", terms.MODALITIES)
    view, kind, kind_source = view_and_kind(dataset)
    sources = [text(item, "ReferencedSOPInstanceUID") for item in items(dataset, "SourceImageSequence")]
    moment = re.fullmatch(r"\d{2,6}(\.\d{1,6})?", text(dataset, "AcquisitionTime"))
    facts = {name: text(dataset, name) for name in ("PatientID", "StudyInstanceUID", "SOPInstanceUID")}
    if long := [name for name, value in facts.items() if len(value) > LONGEST_ID]:
        raise ValueError(f"{', '.join(long)} of more than {LONGEST_ID} characters")
    facts |= {"source_uid": next(filter(None, sources), ""), "image_date": image_date(dataset)}
    facts |= {"acquisition_time": moment[0] if moment else "", "storage_class": storage, "Modality": modality}
    facts |= {"PresentationIntentType": intent, "frames": count(dataset, "NumberOfFrames")}
    facts |= {"samples": count(dataset, "SamplesPerPixel"), "breast": shows_breast(dataset, modality, view)}
    facts |= {"image_kind": image_kind(dataset, storage), "view_kind": kind, "view_kind_source": kind_source}
    facts["BurnedInAnnotation"] = one_of(dataset, "BurnedInAnnotation", ("YES", "NO"), other="")
    facts["QualityControlImage"] = one_of(dataset, "QualityControlImage", ("YES",), other="NO") or "NO"
    facts["ImageLaterality"], facts["laterality_contradictory"] = image_side(dataset)
    facts |= {"ViewPosition": view, "Manufacturer": terms.vendor(text(dataset, "Manufacturer"))}
    facts["magnification"] = number(dataset, FACTOR)
    facts["pixel_spacing_mm"], facts["pixel_spacing_source"] = pixel_spacing(dataset, storage)
    facts |= {"rows": whole(dataset, "Rows"), "columns": whole(dataset, "Columns")}
    facts["PhotometricInterpretation"] = one_of(dataset, "PhotometricInterpretation", terms.PHOTOMETRIC)
    facts |= {"bits": whole(dataset, "BitsStored"), "syntax": syntax(dataset), "voi": voi(dataset)}
    return facts


def judge(
    facts: dict, storage_classes: list[str], keep_burned_in: bool, spacing_range_mm: list[float]
) -> tuple[str, str]:
    """The first reason, in the order of `terms.REASONS`, for which a header keeps its image out, and its detail.

    Parameters
    ----------
    facts
        See `header_facts`.
    storage_classes
        Those admitted, of mammography, computed_radiography and secondary_capture.
    keep_burned_in
        Whether images with Burned In Annotation (0028,0301) YES stay.
    spacing_range_mm
        Least and largest millimetres a pixel.

    Returns
    -------
    ("", "") for an image that may stay. A missing Presentation Intent Type is taken as for presentation.
    """
    storage, image, view = facts["storage_class"], facts["image_kind"], facts["view_kind"]
    spacing, source, (low, high) = facts["pixel_spacing_mm"], facts["pixel_spacing_source"], spacing_range_mm
    cut = not storage or (storage != "not_image" and not facts["Modality"])
    admitted = storage in (*storage_classes, "tomosynthesis")
    processing = facts["PresentationIntentType"] == "FOR PROCESSING"
    several = facts["frames"] > 1 or (storage == "tomosynthesis" and image != "synthesised")
    annotated = facts["BurnedInAnnotation"] == "YES" and not keep_burned_in
    implausible = source and not terms.plausible_spacing(spacing, (low, high))
    rules = (
        ("unreadable", cut, "no SOP Class UID (0008,0016) or Modality (0008,0060); the file may be cut short"),
        ("not_image", storage == "not_image", "SOP Class UID (0008,0016) is no image's"),
        ("not_mammogram", not facts["breast"], "Modality (0008,0060), body part, positioner and view name none"),
        ("not_mammogram", facts["samples"] != 1, "Samples per Pixel (0028,0002) is not 1: in colour"),
        ("storage_class", not admitted, f"{storage}; admitted: {', '.join(storage_classes)}"),
        ("for_processing", processing, "by SOP Class UID (0008,0016) or Presentation Intent Type (0008,0068)"),
        ("multi_frame", several, "by SOP Class UID (0008,0016), Image Type or Number of Frames (0028,0008)"),
        (image, image, "by Image Type (0008,0008), contrast agent (0018,0010) or a description"),
        (view, view, f"by {facts['view_kind_source']}"),
        ("burned_in_annotation", annotated, "Burned In Annotation (0028,0301) is YES"),
        ("laterality_contradictory", facts["laterality_contradictory"], "the header's elements name both sides"),
        ("spacing_implausible", implausible, f"{source} is not {low} to {high} mm a pixel"),
    )
    return next(((reason, detail) for reason, found, detail in rules if found), ("", ""))


def storage_class(dataset: pydicom.Dataset) -> tuple[str, str]:
    """What kind of object a file is, and FOR PROCESSING, FOR PRESENTATION or "" for its intent.

    A directory has its class in the file meta information alone. A class unknown to pydicom is an image where it has
    Rows. Single projections of tomosynthesis come as mammography too; Image Type tells them (PS3.3 C.8.11.7.1.4). The
    class alone makes an image for processing; for presentation takes the Presentation Intent Type (0008,0068).
    """
    uid = text(dataset, "SOPClassUID") or text(file_meta(dataset), "MediaStorageSOPClassUID")
    name, intent = UID_dictionary.get(uid, ("",))[0], text(dataset, "PresentationIntentType").upper()
    image = "Image Storage" in name or whole(dataset, "Rows")
    kind = ("other_image" if image else "not_image") if uid else ""
    kind = next((found for part, found in terms.STORAGE_CLASSES.items() if part in name), kind)
    kind = "tomosynthesis" if set(image_type(dataset)) & set(terms.PROJECTION_TYPES) else kind
    if "PROCESSING" in intent or "For Processing" in name:
        return kind, "FOR PROCESSING"
    return kind, "FOR PRESENTATION" if "PRESENTATION" in intent else ""


def shows_breast(dataset: pydicom.Dataset, modality: str, view: str) -> bool:
    """Whether this is a mammogram: Modality MG, or a projection of what body part, positioner or view call a breast."""
    named = view in terms.BREAST_VIEWS or text(dataset, "PositionerType").upper() == "MAMMOGRAPHIC"
    named = named or any(coded(item, terms.CODED_BREASTS) for item in items(dataset, "AnatomicRegionSequence"))
    named = named or holds("breast|mamm|乳", text(dataset, "BodyPartExamined") + text(dataset, "OrganExposed"))
    return modality == "MG" or (modality in PROJECTIONS and named)


def image_type(dataset: pydicom.Dataset) -> list[str]:
    """Values of Image Type (0008,0008) in capitals."""
    return [word.strip().upper() for word in text(dataset, "ImageType").split("\\")]


def image_kind(dataset: pydicom.Dataset, storage: str) -> str:
    """synthesised, contrast_enhanced or "", by Image Type (PS3.3 C.8.11.7.1.4) and agent, else by descriptions.

    A description makes no image synthesised that calls its pixels ORIGINAL.
    """
    first, *words = image_type(dataset)
    descriptions = " ".join(text(dataset, name) for name in (*FALLBACKS, "AcquisitionDeviceProcessingCode"))
    types = terms.SYNTHESIS_TYPES + (() if storage == "tomosynthesis" else terms.TOMOSYNTHESIS_TYPES)
    made = first != "ORIGINAL" and holds(terms.SYNTHESIS_WORDS, descriptions)
    if made or set(words) & set(types):
        return "synthesised"
    agent = text(dataset, "ContrastBolusAgent").upper() not in terms.NO_AGENT
    agent = agent or items(dataset, "ContrastBolusAgentSequence")
    enhanced = agent or any(word.startswith(terms.CONTRAST_TYPES) for word in words)
    return "contrast_enhanced" if enhanced or holds(terms.CONTRAST_WORDS, descriptions) else ""


def view_and_kind(dataset: pydicom.Dataset) -> tuple[str, str, str]:
    """The view, the kind that makes it none of a whole breast in contact, and the keyword that tells the kind.

    The view is one of `terms.VIEWS`: View Position (0018,5101), else a modifier that names the view, else the view
    code. Of several kinds the first of `terms.REASONS` is given. Acquisition Device Processing Description and Series
    Description count only where no View Modifier Code Sequence states what was done, be it nothing: a description may
    speak of the whole examination.
    """
    views = items(dataset, "ViewCodeSequence")
    modifiers = [item for holder in (*views, dataset) for item in items(holder, "ViewModifierCodeSequence")]
    stated = any("ViewModifierCodeSequence" in holder for holder in (*views, dataset))
    found = re.fullmatch(terms.ABBREVIATION, re.sub("[ _-]", "", text(dataset, "ViewPosition").upper()))
    abbreviated = found.groupdict() if found else {"view": ""}
    named = [coded(item, terms.CODED_VIEWS, terms.OLD_CODED_VIEWS) for item in modifiers + views]
    view = abbreviated.pop("view") or next(filter(None, named), "")
    magnified = (number(dataset, FACTOR) or 1) > CONTACT_FACTOR
    biopsy = any(word.startswith(terms.BIOPSY_TYPES) for word in image_type(dataset))
    words = dict.fromkeys(DESCRIPTIONS if stated else DESCRIPTIONS + FALLBACKS, terms.KIND_WORDS)
    words |= {name: {"specimen": terms.SPECIMEN_CABINETS} for name in ("Manufacturer", "ManufacturerModelName")}
    kinds = [
        *((coded(item, terms.CODED_KINDS), "ViewModifierCodeSequence") for item in modifiers),
        *((coded(item, terms.CODED_KINDS), "ViewCodeSequence") for item in views),
        *((kind, "ViewPosition") for kind, said in abbreviated.items() if said),
        ({"TAN": "tangential_view", "AT": "partial_view", "CV": "partial_view"}.get(view, ""), "ViewPosition"),
        ("magnification_view" if magnified else "", FACTOR),
        ("specimen" if items(dataset, "SpecimenDescriptionSequence") else "", "SpecimenDescriptionSequence"),
        ("biopsy_view" if biopsy else "", "ImageType"),
        *((kind, name) for name in words for kind, word in words[name].items() if holds(word, text(dataset, name))),
    ]
    order = list(terms.REASONS)
    kinds = [pair for pair in kinds if pair[0]]
    return view, *min(kinds, key=lambda pair: order.index(pair[0]), default=("", ""))


def image_side(dataset: pydicom.Dataset) -> tuple[str, bool]:
    """L or R, "" unknown, from Image, series or Frame Laterality and anatomic region; and whether they name both."""
    shared = items(dataset, "SharedFunctionalGroupsSequence")
    frames = [item for group in shared for item in items(group, "FrameAnatomySequence")]
    own = text(dataset, "ImageLaterality")
    named = [own, text(dataset, "Laterality"), *(text(holder, "FrameLaterality") for holder in (dataset, *frames))]
    regions = items(dataset, "AnatomicRegionSequence")
    regions = regions + [item for region in regions for item in items(region, "AnatomicRegionModifierSequence")]
    sides = {terms.laterality(name) for name in named} - {""}
    sides |= {coded(item, terms.CODED_SIDES) for item in regions} - {""}
    contradictory = len(sides) > 1 or own.upper() == "B"
    return "" if contradictory else "".join(sides), contradictory


def pixel_spacing(dataset: pydicom.Dataset, storage: str) -> tuple[float | None, str]:
    """Millimetres a pixel in the breast, mean of rows and columns, and the keyword they come from (PS3.3 10.7).

    Pixel Spacing counts where its calibration type is given, or where no Imager Pixel Spacing rivals it; otherwise
    Imager Pixel Spacing (in the detector's plane, C.8.11.3) over the magnification factor, 1 where that is absent.
    Digitised film has Nominal Scanned Pixel Spacing; older ones, as secondary captures, only Spatial Resolution
    (0018,1050), by its definition in mm. A keyword without a number: what stands there are not numbers above 0.
    """
    calibrated = text(dataset, "PixelSpacingCalibrationType").upper() in ("GEOMETRY", "FIDUCIAL")
    sources = ["PixelSpacing", "ImagerPixelSpacing"] if calibrated else ["ImagerPixelSpacing", "PixelSpacing"]
    sources += ["NominalScannedPixelSpacing"] + ["SpatialResolution"] * (storage == "secondary_capture")
    for source in sources:
        try:
            found = numbers(dataset, source)
        except ValueError:
            return None, source
        if found:
            fit = len(found) == (1 if source == "SpatialResolution" else 2) and min(found) > 0
            factor = number(dataset, FACTOR) or 1 if source == "ImagerPixelSpacing" else 1
            spacing = sum(found) / len(found) / factor
            return (spacing if fit and math.isfinite(spacing) else None), source
    return None, ""


def image_date(dataset: pydicom.Dataset) -> str:
    """ISO day of the first date that is one, of acquisition, study, series and content; "" where none is."""
    for keyword in DATES:
        digits = text(dataset, keyword).replace(".", "")  # 2006.01.05 in the oldest files
        try:
            day = date.fromisoformat(digits if re.fullmatch("[0-9]{8}", digits) else "")
        except ValueError:
            continue
        if 1900 < day.year < 2200:  # what stands for "unknown" lies outside
            return day.isoformat()
    return ""


def syntax(dataset: pydicom.Dataset) -> str:
    """pydicom's keyword of the transfer syntax, "other" for an unknown one, "" for none."""
    uid = text(file_meta(dataset), "TransferSyntaxUID")
    _, kind, _, _, keyword = UID_dictionary.get(uid, ("",) * 5)
    return keyword if kind == "Transfer Syntax" else "other" if uid else ""


def voi(dataset: pydicom.Dataset) -> str:
    """What a file offers for presentation (PS3.3 C.11.2), such as "sigmoid", "lut x3+linear" or "" for nothing."""
    centers, widths = (text(dataset, name) for name in ("WindowCenter", "WindowWidth"))
    windows = min(centers.count("\\"), widths.count("\\")) + 1 if centers and widths else 0
    function = one_of(dataset, "VOILUTFunction", ("LINEAR", "LINEAR_EXACT", "SIGMOID")).lower() or "linear"
    offered = {"lut": len(items(dataset, "VOILUTSequence")), function: windows}
    return "+".join(f"{name} x{n}" if n > 1 else name for name, n in offered.items() if n)
