"""One DICOM mammogram to presentation values: decode, modality, window or VOI LUT, inversion once.

The order is PS3.3 C.7.6.3 and C.11. Every step but decoding is a function of the stored value alone, so it runs once
over the table of all stored values (4,096 of them at 12 bits), and the pixels then index that table.
"""

import hashlib
import warnings
from pathlib import Path

import numpy as np
import pydicom
from pydicom.pixels import apply_windowing, pixel_array
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalMammographyXRayImageStorageForPresentation,
    DigitalMammographyXRayImageStorageForProcessing,
    SecondaryCaptureImageStorage,
)

from mammolib.parameters import require_choice
from mammolib.terms import REASONS, SPACINGS, laterality, plausible_spacing, vendor, view

# CR plates and digitised films stand in archives under the two older classes; Modality MG is asked for as well
MAMMOGRAM_CLASSES = (
    DigitalMammographyXRayImageStorageForPresentation,
    DigitalMammographyXRayImageStorageForProcessing,
    ComputedRadiographyImageStorage,
    SecondaryCaptureImageStorage,
)
MAGNIFICATION_CODES = ("R-102D6", "399163009")  # SRT and SCT in CID 4015, View Modifier for Mammography
CONTACT_FACTOR = 1.2  # a contact view magnifies 1.0 to 1.1 times at the detector, a magnification view 1.5 to 2
MOST_PIXELS = 100_000_000


class UnreadableImage(Exception):
    """A file that gives no usable mammogram: `reason` from `terms.REASONS`, `detail` free of header texts."""

    def __init__(self, reason: str, detail: str):
        require_choice("reason", reason, REASONS)
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def read_dicom(path: Path) -> tuple[np.ndarray, dict]:
    """Read one file; headers are judged before any pixel is decoded.

    Returns
    -------
    pixels : (rows, columns) uint16
        Presentation values over the full range, dense tissue bright, in the stored orientation.
    facts : dict
        See `header_facts`; and `digest`, see `pixel_digest`.

    Raises
    ------
    UnreadableImage
        With the reason unreadable, not_mammogram, for_processing, magnification_view or spacing_implausible.
    """
    # An impossible birth date is no reason to lose an image. pydicom's warnings hold paths and header texts: they are
    # caught instead of printed.
    with pydicom.config.disable_value_validation(), warnings.catch_warnings(record=True):
        try:
            dataset = pydicom.dcmread(path)
        except Exception as error:
            raise UnreadableImage("unreadable", f"not a readable DICOM file ({type(error).__name__})") from error
        try:
            facts = header_facts(dataset)
        except Exception as error:
            raise UnreadableImage("unreadable", f"header value of a wrong type ({type(error).__name__})") from error
        refuse(dataset, facts)
        try:
            stored = stored_values(dataset)
            pixels = presentation_values(dataset, stored)
        except UnreadableImage:
            raise
        except Exception as error:  # decoders raise whatever they like
            raise UnreadableImage("unreadable", f"pixels can't be decoded ({type(error).__name__})") from error
    return pixels, facts | {"digest": pixel_digest(stored)}


def pixel_digest(stored: np.ndarray) -> str:
    """SHA-256 of shape and decoded values: equal for one exposure in another syntax, window or header."""
    digest = hashlib.sha256("x".join(map(str, stored.shape)).encode())
    digest.update(np.ascontiguousarray(stored, dtype="<u2"))
    return digest.hexdigest()


def header_facts(dataset: pydicom.Dataset) -> dict:
    """What later steps need from the header, by DICOM's own names; a missing text is "", a missing number None.

    Side, view and manufacturer come from closed lists (see `terms`), for a header's free text may hold a name.
    `pixel_spacing_mm` is one number (mean of row and column spacing), `pixel_spacing_source` the tag it came from.
    """
    texts = ("ImageLaterality", "ViewPosition", "Manufacturer", "Modality", "PresentationIntentType")
    facts = {name: str(dataset.get(name) or "").strip() for name in texts}
    facts["ImageLaterality"] = laterality(facts["ImageLaterality"] or str(dataset.get("Laterality") or ""))
    facts["ViewPosition"], facts["Manufacturer"] = view(facts["ViewPosition"]), vendor(facts["Manufacturer"])
    facts["QualityControlImage"] = str(dataset.get("QualityControlImage") or "NO").strip().upper()
    factor = dataset.get("EstimatedRadiographicMagnificationFactor")
    facts["magnification"] = float(factor) if factor else None
    facts["pixel_spacing_mm"], facts["pixel_spacing_source"] = pixel_spacing(dataset)
    modifiers = [
        modifier.get("CodeValue")
        for view in dataset.get("ViewCodeSequence") or []
        for modifier in view.get("ViewModifierCodeSequence") or []
    ]
    facts["magnification_view"] = (facts["magnification"] or 1) > CONTACT_FACTOR or any(
        code in MAGNIFICATION_CODES for code in modifiers
    )
    return facts


def pixel_spacing(dataset: pydicom.Dataset) -> tuple[float | None, str]:
    """Millimetres a pixel in the breast, and the tag they come from (PS3.3 10.7 and C.8.11.3).

    Pixel Spacing counts where its calibration type is given, or where no Imager Pixel Spacing rivals it; otherwise
    Imager Pixel Spacing (in the detector's plane) over the magnification factor, 1 where that is absent. What is not
    two numbers is NaN, which `refuse` turns away.
    """
    own, imager = (spacing_pair(dataset, name) for name in ("PixelSpacing", "ImagerPixelSpacing"))
    if own and (dataset.get("PixelSpacingCalibrationType") or not imager):
        return float(np.mean(own)), "PixelSpacing"
    if imager:
        return float(np.mean(imager)) / float(dataset.get("EstimatedRadiographicMagnificationFactor") or 1), (
            "ImagerPixelSpacing"
        )
    return None, ""


def spacing_pair(dataset: pydicom.Dataset, name: str) -> list[float]:
    """Row and column spacing of one element, [] where it is absent or empty; NaN: not two numbers above 0."""
    try:
        pair = [float(number) for number in np.atleast_1d(dataset.get(name) or [])]
    except (TypeError, ValueError):
        return [float("nan")]
    return pair if not pair or (len(pair) == 2 and min(pair) > 0) else [float("nan")]


def refuse(dataset: pydicom.Dataset, facts: dict) -> None:
    """Raise `UnreadableImage` for what is no mammogram for presentation in contact geometry."""
    storage = dataset.get("SOPClassUID")
    if not storage or not facts["Modality"]:  # pydicom gives what it could read of a file that is cut short
        raise UnreadableImage("unreadable", "no SOP Class UID or no Modality; the file may be cut short")
    if storage not in MAMMOGRAM_CLASSES or facts["Modality"] != "MG":
        raise UnreadableImage("not_mammogram", "Modality (0008,0060) or SOP Class UID (0008,0016) is not mammography's")
    if int(dataset.get("NumberOfFrames") or 1) != 1 or int(dataset.get("SamplesPerPixel") or 1) != 1:
        raise UnreadableImage("not_mammogram", "several frames or colours; one grey frame is read")
    if (
        storage == DigitalMammographyXRayImageStorageForProcessing
        or facts["PresentationIntentType"].upper() == "FOR PROCESSING"
    ):
        raise UnreadableImage("for_processing", "Presentation Intent Type (0008,0068) is FOR PROCESSING")
    if facts["magnification_view"]:
        raise UnreadableImage("magnification_view", "magnification factor (0018,1114) or view modifier (0054,0222)")
    if facts["pixel_spacing_source"] and not plausible_spacing(facts["pixel_spacing_mm"]):
        raise UnreadableImage(
            "spacing_implausible", f"{facts['pixel_spacing_source']} is not {SPACINGS[0]} to {SPACINGS[1]} mm a pixel"
        )


def stored_values(dataset: pydicom.Dataset) -> np.ndarray:
    """Decode to the stored values, (rows, columns), as the file has them."""
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    if not 0 < rows * columns <= MOST_PIXELS:
        raise UnreadableImage("unreadable", f"{rows} x {columns} pixels claimed; 1 to {MOST_PIXELS:,} are read")
    pixels = pixel_array(dataset, raw=True)
    if pixels.shape != (rows, columns):
        raise UnreadableImage("unreadable", f"decoded to {pixels.shape}, the header says {(rows, columns)}")
    return pixels


def presentation_values(dataset: pydicom.Dataset, stored: np.ndarray) -> np.ndarray:
    """Stored values to presentation values.

    Parameters
    ----------
    stored
        Any shape, integer; bits above Bits Stored (old overlays) are masked.

    Returns
    -------
    Same shape, uint16 over the full range, dense tissue bright.
    """
    bits = int(dataset.BitsStored)
    if not 1 <= bits <= 16:
        raise UnreadableImage("unreadable", f"Bits Stored (0028,0101) is {bits}; 1 to 16 are read")
    return presentation_table(dataset)[stored.astype(np.uint16) & np.uint16(2**bits - 1)]


def presentation_table(dataset: pydicom.Dataset) -> np.ndarray:
    """Presentation value of every stored bit pattern, (2**BitsStored,) uint16.

    A modality LUT goes before rescale (they exclude each other), a VOI LUT before a window, the first of several.
    """
    bits = int(dataset.BitsStored)
    values = np.arange(2**bits, dtype=np.int64)
    if dataset.PixelRepresentation == 1:
        values[2 ** (bits - 1) :] -= 2**bits  # two's complement
    if dataset.get("ModalityLUTSequence"):
        values, top = look_up(values, dataset.ModalityLUTSequence[0])
        low, high = 0, top
    else:
        slope, intercept = float(dataset.get("RescaleSlope", 1)), float(dataset.get("RescaleIntercept", 0))
        low, high = values.min() * slope + intercept, values.max() * slope + intercept
        values = values * slope + intercept
    if dataset.get("VOILUTSequence"):
        values, high = look_up(np.rint(values).astype(np.int64), dataset.VOILUTSequence[0])
        low = 0
    elif dataset.get("WindowCenter") is not None and dataset.get("WindowWidth") is not None:
        values = apply_windowing(values, dataset)
    elif high < low:  # a negative slope alone
        low, high = high, low
    bright = np.clip((values - low) / (high - low), 0, 1)
    if inverted(dataset):
        bright = 1 - bright
    return np.rint(bright * 65535).astype(np.uint16)


def look_up(values: np.ndarray, item: pydicom.Dataset) -> tuple[np.ndarray, int]:
    """Modality or VOI LUT of one sequence item (PS3.3 C.11.1.1.1): the outputs, and the highest value possible.

    pydicom's `apply_voi` keeps its index in as many bits as the output has, which an 8-bit output of 4,096 entries
    overflows.
    """
    entries, first, depth = (int(number) for number in item.LUTDescriptor)
    data = item.LUTData
    if isinstance(data, bytes):  # OW: 16-bit words, in the file's byte order; retired big-endian files are not met
        data = np.frombuffer(data, dtype="<u2")
    lut = np.atleast_1d(np.asarray(data, dtype=np.int64))[: entries or 2**16]
    return lut[np.clip(values - first, 0, len(lut) - 1)], 2**depth - 1


def inverted(dataset: pydicom.Dataset) -> bool:
    """Whether low values are bright: MONOCHROME1 whatever the Presentation LUT Shape, or MONOCHROME2 with INVERSE.

    For mammography MONOCHROME1 and INVERSE say the same thing twice (PS3.3 C.8.11.7.1), so it is undone once.
    """
    photometric = dataset.PhotometricInterpretation
    if photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise UnreadableImage(
            "unreadable", "Photometric Interpretation (0028,0004) is neither MONOCHROME1 nor MONOCHROME2"
        )
    return photometric == "MONOCHROME1" or dataset.get("PresentationLUTShape") == "INVERSE"
