"""Stored values to presentation values: modality LUT or rescale, VOI LUT or window, inversion once, padding dark.

The order is PS3.3 C.11. Every step is a function of the stored value alone, so it runs once over the table of all
stored values (4,096 of them at 12 bits), and the pixels then index that table.
"""

import numpy as np
import pydicom
from pydicom.pixels import apply_windowing
from scipy import ndimage
from skimage.segmentation import clear_border

from mammolib.elements import items, number, numbers, text
from mammolib.headers import UnreadableImage

# Least share of a picture that is air; as shares of its range, how near an end air lies, and how little it varies
AIR, AIR_LEVEL, AIR_RANGE = 0.05, 0.15, 0.04
VOI = {"lut": ("lut", "window"), "window": ("window", "lut"), "none": ()}  # in the order in which they are looked for


def stored_bits(dataset: pydicom.Dataset) -> tuple[int, int]:
    """Bits Stored (0028,0101) and High Bit, where they fit in with Bits Allocated (PS3.5 8.1.1)."""
    bits, allocated = int(dataset.BitsStored), int(dataset.BitsAllocated)
    high = int(dataset.get("HighBit", bits - 1))
    if allocated not in (8, 16) or not 0 < bits <= high + 1 <= allocated:
        detail = f"{bits} Bits Stored (0028,0101), High Bit {high}, in {allocated} Bits Allocated; 8 or 16 are read"
        raise UnreadableImage("unreadable", detail)
    return bits, high


def presentation_values(
    dataset: pydicom.Dataset, stored: np.ndarray, table: np.ndarray, padding: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None]:
    """Stored values to presentation values.

    Parameters
    ----------
    stored
        (rows, columns) uint16 below 2**BitsStored.
    table, padding
        See `presentation_table` and `padding_table`.

    Returns
    -------
    pixels
        Same shape, uint16 over the full range, dense tissue bright, padding 0.
    background
        Same shape, bool: the padding; None where the header names none.
    """
    background = padding[stored] if padding.any() else None
    if inverted(dataset) is None and not air_is_dark(table[stored], background):
        table = 65535 - table
    return np.where(padding, np.uint16(0), table)[stored], background


def presentation_table(dataset: pydicom.Dataset, voi: str = "lut", voi_index: int = 0) -> np.ndarray:
    """Presentation value of every stored bit pattern, (2**BitsStored,) uint16, inverted where the header alone says so.

    A modality LUT goes before rescale (they exclude each other). `voi` and `voi_index` as in `read_dicom`.
    """
    values = stored_numbers(dataset)
    if items(dataset, "ModalityLUTSequence"):
        values, low, high = look_up(values, items(dataset, "ModalityLUTSequence")[0])
    else:
        slope, intercept = number(dataset, "RescaleSlope"), number(dataset, "RescaleIntercept")
        values = values * (1 if slope is None else slope) + (intercept or 0)
        low, high = values.min(), values.max()
    luts = items(dataset, "VOILUTSequence")
    windows = list(zip(numbers(dataset, "WindowCenter"), numbers(dataset, "WindowWidth"), strict=False))
    kind = next((kind for kind in VOI[voi] if {"lut": luts, "window": windows}[kind]), "")
    if kind == "lut":
        values, low, high = look_up(values, luts[min(voi_index, len(luts) - 1)])
    elif kind == "window":
        values = windowed(values, *windows[min(voi_index, len(windows) - 1)], text(dataset, "VOILUTFunction").upper())
        low, high = 0, 1
    if not 0 < high - low < np.inf:
        raise UnreadableImage("unreadable", "Rescale Slope (0028,1053) gives one value or none")
    bright = np.clip((values - low) / (high - low), 0, 1)
    return np.rint((1 - bright if inverted(dataset) else bright) * 65535).astype(np.uint16)


def stored_numbers(dataset: pydicom.Dataset) -> np.ndarray:
    """The number that every stored bit pattern stands for, (2**BitsStored,) int64 (Pixel Representation, PS3.5 8.1)."""
    bits = stored_bits(dataset)[0]
    values = np.arange(2**bits)
    if dataset.PixelRepresentation == 1:
        values[2 ** (bits - 1) :] -= 2**bits
    return values


def windowed(values: np.ndarray, center: float, width: float, function: str) -> np.ndarray:
    """Values through a window to [0, 1] (PS3.3 C.11.2.1.2 and C.11.2.1.3); an absent function is LINEAR.

    ValueError for a function unknown there, or a width below 1 (LINEAR) or not above 0.
    """
    view = pydicom.Dataset()
    view.PhotometricInterpretation, view.BitsStored, view.PixelRepresentation = "MONOCHROME2", 16, 0
    view.WindowCenter, view.WindowWidth, view.VOILUTFunction = center, width, function or "LINEAR"
    return apply_windowing(values, view) / 65535


def look_up(values: np.ndarray, item: pydicom.Dataset) -> tuple[np.ndarray, int, int]:
    """Modality or VOI LUT of one sequence item (PS3.3 C.11.1.1.1): the outputs, the lowest and highest value possible.

    pydicom's `apply_voi` keeps its index in as many bits as the output has, which an 8-bit output of 4,096 entries
    overflows.
    """
    entries, first, depth = (int(n) for n in numbers(item, "LUTDescriptor"))
    entries = entries % 2**16 or 2**16
    # US where SS is meant, or the other way round: the reading counts in which the table meets the values
    first = max((first, first - 2**16, first + 2**16), key=lambda n: ((values >= n) & (values < n + entries)).sum())
    data = item.LUTData
    if isinstance(data, bytes):  # OW: words in the file's byte order, which may hold two entries of 8 bits
        words = np.frombuffer(data, "<u2" if item.original_encoding[1] is not False else ">u2").astype("<u2")
        data = words.view(np.uint8) if depth == 8 and len(words) < entries else words
    lut = np.atleast_1d(np.asarray(data, dtype=np.int64))[:entries] % 2**16
    if len(lut) < entries or not 8 <= depth <= 16 or lut.max() >= 2**depth:
        detail = f"LUT Data (0028,3006) is not {entries} entries of {depth} bits as declared"
        raise UnreadableImage("unreadable", detail)
    return lut[np.clip(np.rint(values) - first, 0, entries - 1).astype(int)], 0, 2**depth - 1


def padding_table(dataset: pydicom.Dataset) -> np.ndarray:
    """Which stored bit patterns are padding, (2**BitsStored,) bool (PS3.3 C.7.5.1.1.2).

    Pixel Padding Value (0028,0120) to Pixel Padding Range Limit (0028,0121), both included, before any LUT.
    """
    values = stored_numbers(dataset)
    value, limit = number(dataset, "PixelPaddingValue"), number(dataset, "PixelPaddingRangeLimit")
    if value is None:
        return np.zeros(len(values), bool)
    signed = 2**15 if dataset.PixelRepresentation == 1 else 0  # whatever the VR, US or SS
    ends = [(end + signed) % 2**16 - signed for end in (value, value if limit is None else limit)]
    return (values >= min(ends)) & (values <= max(ends))


def inverted(dataset: pydicom.Dataset) -> bool | None:
    """Whether low values are bright; None where the picture has to tell, for MONOCHROME2 with INVERSE.

    For mammography MONOCHROME1 and Presentation LUT Shape (2050,0020) INVERSE say the same thing twice, MONOCHROME2 and
    INVERSE contradict each other (PS3.3 C.8.11.7.1).
    """
    photometric = text(dataset, "PhotometricInterpretation")
    if photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise UnreadableImage("unreadable", "Photometric Interpretation (0028,0004) is not MONOCHROME1 or MONOCHROME2")
    contradictory = photometric == "MONOCHROME2" and text(dataset, "PresentationLUTShape") == "INVERSE"
    return None if contradictory else photometric == "MONOCHROME1"


def air_is_dark(pixels: np.ndarray, background: np.ndarray | None = None) -> bool:
    """Tell a picture from its negative by the air: flat, large, at one end of the range, along an edge that it fills.

    Pieces of flat pixels near the lowest and near the highest value that touch the frame are compared. Padding on both
    sides (a film's surroundings) is left out, on one side it is air.

    Raises
    ------
    UnreadableImage
        Reason contradictory_inversion: neither end has four times the other's area, `AIR` of the picture and most of
        the left or right edge.
    """
    step = max(1, max(pixels.shape) // 256)
    small = ndimage.median_filter(pixels[::step, ::step], 3).astype(float)
    inside = np.ones(small.shape, bool)
    if background is not None and background[:, [0, -1]].mean(axis=0).min() > 0.5:
        inside = ~background[::step, ::step]
        box = np.ix_(inside.any(axis=1), inside.any(axis=0))
        small, inside = small[box], inside[box]
    low, high = np.percentile(small[inside], [1, 99])
    flat = inside & (ndimage.maximum_filter(small, 3) - ndimage.minimum_filter(small, 3) <= AIR_RANGE * (high - low))
    ends, margin = [], max(1, small.shape[1] // 20)
    for distance in (small - low, high - small):
        pieces = flat & (distance <= AIR_LEVEL * (high - low))
        air = pieces & ~clear_border(pieces)
        ends.append((air.mean(), max(air[:, :margin].mean(), air[:, -margin:].mean())))
    dark, bright = (end[0] > max(AIR, 4 * other[0]) and end[1] > 0.5 for end, other in (ends, ends[::-1]))
    if dark == bright:
        raise UnreadableImage("contradictory_inversion", "MONOCHROME2 with INVERSE (2050,0020); the air doesn't decide")
    return bool(dark)
