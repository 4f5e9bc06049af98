"""From pixels to a network's image: read, find the breast, turn it to the left, crop, resize by area.

A *place* is where a network image came from, as in cohort.csv: `crop_top, crop_left, crop_height, crop_width` in
source pixels as stored (before any flip) and `flipped`. `source_to_network` and `network_to_source` convert between
the two with it. Positions are (x, y): x along a row, y down, whole numbers at pixel centres.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage
from scipy.sparse import csr_array
from skimage.filters import threshold_otsu

from mammolib.dicom import UnreadableImage, pixel_digest, read_dicom
from mammolib.parameters import CHOICES, require_choice

CROP = ("crop_top", "crop_left", "crop_height", "crop_width")
RASTER_SUFFIXES = (".png", ".pgm", ".tif", ".tiff")
MASK_SIDE = 320  # pixels of the longer side at which the breast is looked for
SKIN = 0.4  # where the breast begins, on the way from the level of air to that of tissue
SMALLEST_BREAST = 0.02  # share of the image


def read_image(path: Path) -> tuple[np.ndarray, dict]:
    """Presentation values (rows, columns) uint16 and header facts; by suffix a raster file, otherwise DICOM."""
    if not path.is_file():
        raise UnreadableImage("missing_file", "the registry names a file that is not there")
    return read_raster(path) if path.suffix.lower() in RASTER_SUFFIXES else read_dicom(path)


def read_raster(path: Path) -> tuple[np.ndarray, dict]:
    """Grey PNG, PGM or TIFF of 8 or 16 bits, dense tissue bright already: (rows, columns) uint16, and the digest."""
    try:
        with Image.open(path) as picture:
            mode, values = picture.mode, np.asarray(picture)
    except Exception as error:  # Pillow's plug-ins raise whatever they like
        raise UnreadableImage("unreadable", f"not a readable picture ({type(error).__name__})") from error
    if mode == "L":
        values = values.astype(np.uint16) * np.uint16(257)
    elif mode == "I" or mode.startswith("I;16"):
        low, high = int(values.min()), int(values.max())
        if low < 0 or high > 65535:
            raise UnreadableImage("unreadable", f"values {low} to {high}; 0 to 65535 are read")
        values = values.astype(np.uint16)
    else:
        raise UnreadableImage("unreadable", f"picture mode {mode}; 8 or 16 bits of grey are read")
    return values, {"digest": pixel_digest(values)}


def area_weights(source: int, target: int) -> csr_array:
    """Row-stochastic (target, source) float32: the share of each source pixel in each target pixel."""
    edges = np.union1d(np.arange(source + 1.0), np.arange(target + 1) * (source / target))
    edges = edges[np.append(np.diff(edges) > 1e-9, True)]  # rounding makes near twins
    middles, lengths = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    rows = np.minimum((middles * target / source).astype(int), target - 1)
    columns = np.minimum(middles.astype(int), source - 1)
    shares = lengths * target / source
    return csr_array((shares.astype(np.float32), (rows, columns)), shape=(target, source))


def area_resize(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Exact area average, (rows, columns) of any dtype to (height, width) float32; the mean is kept."""
    down = area_weights(pixels.shape[0], height) @ pixels.astype(np.float32)
    return (area_weights(pixels.shape[1], width) @ down.T).T


def breast_mask(pixels: np.ndarray) -> np.ndarray:
    """Where the breast is: (rows, columns) bool, one piece without holes.

    Otsu's threshold on square roots finds bright tissue; the skin line is darker, so the cut goes `SKIN` of the way
    from the air's level to it. Opened so that labels and tape come off, largest piece, filled; at no more than
    `MASK_SIDE` pixels a side.

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
    return mask[np.ix_(np.arange(rows) * len(mask) // rows, np.arange(columns) * mask.shape[1] // columns)]


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
        heights = part[:, columns].sum(axis=0)
        left, right = heights[:edge].mean(), heights[-edge:].mean()
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

    Returns
    -------
    image : (height, width) uint16
    place : dict
        `crop_top, crop_left, crop_height, crop_width, flipped`.
    """
    require_choice("background", background, CHOICES["background"])
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    place = {"crop_top": int(rows[0]), "crop_left": int(columns[0])}
    place |= {"crop_height": int(np.ptp(rows)) + 1, "crop_width": int(np.ptp(columns)) + 1}
    place["flipped"] = breast_is_right(mask, laterality)
    top, tall, wide = placement(place, height, width, aspect)
    small, breast = area_resize(pixels[box], tall, wide), area_resize(mask[box], tall, wide) >= 0.5
    if place["flipped"]:
        small, breast = small[:, ::-1], breast[:, ::-1]
    if background == "zero":
        small = np.where(breast, np.maximum(small, 1), 0)
    image = np.zeros((height, width), np.uint16)
    image[top : top + tall, :wide] = np.rint(small)
    return image, place
