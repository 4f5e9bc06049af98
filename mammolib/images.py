"""From pixels to a network's image: read, find the breast, turn it to the left, crop, resize by area.

A *place* is where a network image came from, as in cohort.csv: `crop_top, crop_left, crop_height, crop_width` in
source pixels as stored (before any flip) and `flipped`. `source_to_network` and `network_to_source` convert between
the two with it. Positions are (x, y): x along a row, y down, whole numbers at pixel centres. Source pixels are those of
the file, also where it was read at a lower resolution.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage
from scipy.sparse import csr_array
from skimage.filters import threshold_otsu

from mammolib.dicom import pixel_digest, read_dicom, require_whole_jpeg, unreadable
from mammolib.headers import UnreadableImage
from mammolib.parameters import CHOICES, require_choice

CROP = ("crop_top", "crop_left", "crop_height", "crop_width")
RASTER_FORMATS = ("PNG", "PPM", "TIFF", "JPEG", "MPO")  # by content: Pillow hands others to Ghostscript and the like
RASTER_SUFFIXES = (".png", ".pgm", ".tif", ".tiff", ".jpg", ".jpeg")
BAND = 64  # rows of a resized image that are made at a time
MASK_SIDE = 320  # pixels of the longer side at which the breast is looked for
SKIN = 0.4  # where the breast begins, on the way from the level of air to that of tissue
SMALLEST_BREAST = 0.02  # share of the image


def read_image(
    path: Path, rules: dict, voi: str = "lut", voi_index: int = 0, cover: tuple[int, int] | None = None
) -> tuple[np.ndarray, dict]:
    """Presentation values (rows, columns) uint16 and facts, of a raster file by its suffix, otherwise of DICOM."""
    if not path.is_file():
        raise UnreadableImage("missing_file", "the registry names a file that is not there")
    if path.suffix.lower() in RASTER_SUFFIXES:
        return read_raster(path)
    return read_dicom(path, rules, voi, voi_index, cover)


def read_breast(
    path: Path, height: int, width: int, aspect: str, rules: dict, voi: str = "lut", voi_index: int = 0
) -> tuple[np.ndarray, np.ndarray, dict]:
    """Read an image and find the breast, at the lowest resolution at which neither mask nor network image lose.

    Parameters
    ----------
    height, width, aspect
        Of the network image, see `fit_to_network`.
    rules, voi, voi_index
        See `read_dicom`.

    Returns
    -------
    pixels : (rows, columns) uint16
    mask : (rows, columns) bool
    facts : dict
        See `read_dicom` and `read_raster`; `background` is the number of source pixels that are padding, and
        `breast_pixels` those of the mask.
    """
    cover = max(height, MASK_SIDE), max(width, MASK_SIDE)
    while True:
        pixels, facts = read_image(path, rules, voi, voi_index, cover)
        padding = facts.get("background")
        mask = breast_mask(pixels, padding)
        crop = [np.ptp(np.flatnonzero(mask.any(axis=axis))) + 1 for axis in (1, 0)]
        enough = (max if aspect == "pad" else min)(crop[0] / height, crop[1] / width) >= 1
        if facts["reduced"] == 1 or enough:
            break
        cover = 2 * cover[0], 2 * cover[1]
    area = facts["reduced"] ** 2
    facts["background"] = 0 if padding is None else int(np.count_nonzero(padding)) * area
    facts["breast_pixels"] = int(np.count_nonzero(mask)) * area
    return pixels, mask, facts


def read_raster(path: Path) -> tuple[np.ndarray, dict]:
    """Grey PNG, PGM, TIFF or JPEG of 8 or 16 bits, dense tissue bright already; also grey that was saved as RGB.

    Returns
    -------
    pixels : (rows, columns) uint16
    facts : dict
        digest, rows, columns, and reduced: 1.
    """
    # Pillow's plug-ins raise whatever they like
    with unreadable("not a readable picture"), Image.open(path, formats=RASTER_FORMATS) as picture:
        if picture.format in ("JPEG", "MPO") and picture.mode in ("L", "RGB"):
            require_whole_jpeg(path.read_bytes(), picture.height, picture.width, len(picture.mode))
        mode, values = picture.mode, np.asarray(picture)
    if mode == "RGB" and (values == values[..., :1]).all():
        mode, values = "L", values[..., 0]
    if mode == "L":
        values = values.astype(np.uint16) * np.uint16(257)
    elif mode == "I" or mode.startswith("I;16"):
        low, high = int(values.min()), int(values.max())
        if low < 0 or high > 65535:
            raise UnreadableImage("unreadable", f"values {low} to {high}; 0 to 65535 are read")
        values = values.astype(np.uint16)
    else:
        raise UnreadableImage("unreadable", f"picture mode {mode}; 8 or 16 bits of grey are read")
    rows, columns = values.shape
    return values, {"digest": pixel_digest(values), "rows": rows, "columns": columns, "reduced": 1}


def area_weights(source: int, target: int, start: float = 0, stop: float | None = None) -> csr_array:
    """Row-stochastic (target, source) float32: the share of each source pixel in each target pixel.

    Source pixel k reaches from k to k + 1, the target from start to stop (the whole source if None); what lies beyond
    the source counts as its last pixel there.
    """
    step = ((source if stop is None else stop) - start) / target
    edges = start + np.arange(target + 1) * step
    edges = np.union1d(edges, np.arange(np.ceil(edges[0]), np.floor(edges[-1]) + 1))
    edges = edges[np.append(np.diff(edges) > 1e-9, True)]  # rounding makes near twins
    middles, lengths = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    rows = np.minimum(((middles - start) / step).astype(int), target - 1)
    columns = np.clip(middles.astype(int), 0, source - 1)
    return csr_array(((lengths / step).astype(np.float32), (rows, columns)), shape=(target, source))


def area_resize(
    pixels: np.ndarray, height: int, width: int, box: tuple[float, float, float, float] | None = None
) -> np.ndarray:
    """Exact area average, (rows, columns) of any dtype to (height, width) float32; the mean is kept.

    Of a box (top, bottom, left, right) if given, in pixels from the upper left corner of the first.
    """
    top, bottom, left, right = box or (0, pixels.shape[0], 0, pixels.shape[1])
    rows, columns = (slice(max(0, int(start)), int(np.ceil(stop))) for start, stop in ((top, bottom), (left, right)))
    part = pixels[rows, columns]
    weights, down = area_weights(len(part), height, top - rows.start, bottom - rows.start), []
    for start in range(0, height, BAND):  # so that no more than a band stands in memory as float32
        band = weights[start : start + BAND]
        used = slice(band.indices.min(), band.indices.max() + 1)
        down.append(band[:, used] @ part[used].astype(np.float32))
    across = area_weights(part.shape[1], width, left - columns.start, right - columns.start)
    return (across @ np.concatenate(down).T).T


def breast_mask(pixels: np.ndarray, background: np.ndarray | None = None) -> np.ndarray:
    """Where the breast is: (rows, columns) bool, one piece without holes but those of `background`.

    Otsu's threshold on square roots finds bright tissue; the skin line is darker, so the cut goes `SKIN` of the way
    from the air's level to it. Opened so that labels and tape come off, largest piece, filled; at no more than
    `MASK_SIDE` pixels a side.

    Parameters
    ----------
    background
        (rows, columns) bool: pixels that belong to no breast, such as padding.

    Raises
    ------
    UnreadableImage
        Reason no_breast: one flat value, or a largest piece below `SMALLEST_BREAST` of the image.
    """
    rows, columns = pixels.shape
    scale = min(1.0, MASK_SIDE / max(rows, columns))
    small = area_resize(pixels, max(1, round(rows * scale)), max(1, round(columns * scale)))
    smooth = ndimage.gaussian_filter(np.sqrt(small), max(small.shape) / 256)
    if np.ptp(smooth) < 1:
        raise UnreadableImage("no_breast", "every pixel has the same value")
    tissue = threshold_otsu(smooth)
    air = smooth[(smooth < tissue) & (smooth > 1)]  # 0 is padding round a film, not its air
    level = np.median(air) if air.size else 0.0
    mask = smooth > level + SKIN * (tissue - level)
    side = 2 * max(1, round(max(small.shape) / 64)) + 1
    # The opening mirrors at the frame (the breast goes on beyond it), so that no bright line along an edge survives.
    opened = ndimage.grey_opening(mask.astype(np.uint8), (side, side), mode="reflect") > 0
    pieces, n = ndimage.label(opened)
    sizes = np.bincount(pieces.ravel(), minlength=2)[1:]
    if n == 0 or sizes.max() < SMALLEST_BREAST * mask.size:
        raise UnreadableImage("no_breast", f"no bright piece of {SMALLEST_BREAST:.0%} of the image")
    mask = ndimage.binary_fill_holes(pieces == 1 + sizes.argmax())
    for axis in (1, 0):
        times = np.bincount(np.arange(pixels.shape[axis]) * mask.shape[axis] // pixels.shape[axis])
        mask = mask.repeat(times, axis=axis)
    mask = mask if background is None else mask & ~background
    if not mask.any():
        raise UnreadableImage("no_breast", "what is bright is padding")
    return mask


def placement(place: Mapping, height: int, width: int, aspect: str) -> tuple[int, int, int]:
    """Where the crop lies in the network's frame: top, height and width in pixels; the breast stands at the left."""
    require_choice("aspect", aspect, CHOICES["aspect"])
    if aspect == "stretch":
        return 0, height, width
    scale = max(place["crop_height"] / height, place["crop_width"] / width)
    rows, columns = max(1, round(place["crop_height"] / scale)), max(1, round(place["crop_width"] / scale))
    return (height - rows) // 2, rows, columns


def source_to_network(x, y, place: Mapping, height: int, width: int, aspect: str) -> tuple:
    """Carry positions from source pixels, as stored, to the network's image; any array shape."""
    top, rows, columns = placement(place, height, width, aspect)
    along = (np.asarray(x) - place["crop_left"] + 0.5) / place["crop_width"]
    along = 1 - along if place["flipped"] else along
    down = (np.asarray(y) - place["crop_top"] + 0.5) / place["crop_height"]
    return along * columns - 0.5, top + down * rows - 0.5


def network_to_source(x, y, place: Mapping, height: int, width: int, aspect: str) -> tuple:
    """Carry positions from the network's image to source pixels as stored; undoes `source_to_network`."""
    top, rows, columns = placement(place, height, width, aspect)
    along = (np.asarray(x) + 0.5) / columns
    along = 1 - along if place["flipped"] else along
    down = (np.asarray(y) + 0.5 - top) / rows
    return along * place["crop_width"] + place["crop_left"] - 0.5, down * place["crop_height"] + place["crop_top"] - 0.5


def breast_is_right(mask: np.ndarray, laterality: str = "") -> bool:
    """Tell whether the chest wall is on the right: a breast is tallest there, so the pixels decide.

    Where both edges of the breast are about as tall (it fills the film), the upper half decides, for it reaches the
    armpit. Archives show right breasts on either side (films are scanned face down, vendors mirror), so `laterality`
    comes last: "R" stands on the right when nothing is mirrored.
    """
    columns = np.flatnonzero(mask.any(axis=0))
    edge = max(1, len(columns) // 20)
    for part in (mask, mask[: len(mask) // 2]):
        left, right = (part[:, side].sum(axis=0).mean() for side in (columns[:edge], columns[-edge:]))
        if max(left, right) > 1.25 * min(left, right):
            return bool(right > left)
    return laterality == "R"


def fit_to_network(
    pixels: np.ndarray,
    mask: np.ndarray,
    height: int,
    width: int,
    aspect: str = "pad",
    background: str = "zero",
    laterality: str = "",
    reduced: int = 1,
    source: tuple[int, int] | None = None,
) -> tuple[np.ndarray, dict]:
    """Crop to the breast, turn it to the left and resize by area.

    Parameters
    ----------
    pixels
        (rows, columns) uint16 presentation values.
    mask
        (rows, columns) bool, the breast.
    aspect
        `pad` keeps the proportions, `stretch` fills the frame.
    background
        `zero` sets what lies outside the breast to 0 (inside is at least 1), `keep` leaves it.
    laterality
        See `breast_is_right`.
    reduced, source
        How many times smaller than the source the pixels are (see `read_dicom`), and its (rows, columns).

    Returns
    -------
    image : (height, width) uint16
    place : dict
        `crop_top, crop_left, crop_height, crop_width, flipped`, in source pixels.
    """
    require_choice("background", background, CHOICES["background"])
    edges = []
    for axis, side in enumerate(source or mask.shape):
        inside = np.flatnonzero(mask.any(axis=1 - axis))
        # A pixel of lower resolution lies about the first of the source pixels that it stands for (ISO/IEC 15444-1 F)
        ends = (np.array([inside[0], inside[-1] + 1]) - 0.5) * reduced + 0.5
        ends[1] = side if inside[-1] + 1 == mask.shape[axis] else ends[1]
        edges += np.clip(np.floor(ends), 0, side).astype(int).tolist()
    place = {"crop_top": edges[0], "crop_left": edges[2]}
    place |= {"crop_height": edges[1] - edges[0], "crop_width": edges[3] - edges[2]}
    place["flipped"] = breast_is_right(mask, laterality)
    top, tall, wide = placement(place, height, width, aspect)
    box = [(edge - 0.5) / reduced + 0.5 for edge in edges]
    small, breast = area_resize(pixels, tall, wide, box), area_resize(mask, tall, wide, box) >= 0.5
    if place["flipped"]:
        small, breast = small[:, ::-1], breast[:, ::-1]
    if background == "zero":
        small = np.where(breast, np.maximum(small, 1), 0)
    image = np.zeros((height, width), np.uint16)
    image[top : top + tall, :wide] = np.rint(small)
    return image, place
