"""Draw a mammogram phantom: breast, parenchyma, mass and class sign, in millimetres, at any pixel spacing.

Everything is laid out in the frame of a left breast: x in mm from the chest wall, y in mm from the top of the detector.
A right breast is the mirror image. Values are presentation values in [0, 1], dense tissue bright.
The parenchyma follows the inverse power law of mammograms, power ~ f^-3 (Burgess, Med Phys 2001;28:419-437).
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import fft, ndimage

from mammolib.phantom_lesion import draw_mass, draw_sign, with_values_of

DETECTOR_MM = (233.0, 179.0)  # height, width: a 24 x 18 cm detector, 3328 x 2560 pixels of 0.070 mm
FIELD_MM = 0.5  # grid of the random field: it holds frequencies up to 1 cycle/mm, where f^-3 has faded
FIELD_SHAPE = (480, 384)  # the period of the field, 240 x 192 mm, covers the detector
EXPONENT = 2.9  # of the field; with the structures drawn into it the picture falls as f^-3
AIR, FAT = 0.02, 0.26

# One stream of random numbers a purpose, so that the class touches nothing but the sign.
STREAMS = ("patient", "view", "parenchyma", "structures", "mass", "sign", "noise")


@dataclass(frozen=True)
class Case:
    """One view of one patient: what is needed to draw it again, alone, in any order."""

    seed: int
    patient: int
    view: str  # "CC" or "MLO"
    laterality: str  # "L" or "R"
    sign: str | None  # a key of phantom_lesion.SIGNS, or None


def stream(case: Case, purpose: str) -> np.random.Generator:
    """Random numbers of one purpose; the patient's are shared by both views."""
    view = 0 if purpose == "patient" else 1 + ("CC", "MLO").index(case.view)
    return np.random.default_rng([case.seed, case.patient, view, STREAMS.index(purpose)])


def anatomy(case: Case) -> dict:
    """Sizes of one view in mm and its density; lesion size, density and breast size belong to the patient.

    Returns
    -------
    dict
        All in mm: depth, half_height and nipple_y of the breast, thickness_roll of its edge, lesion (x, y, radius),
        pectoral (width, height; MLO, else None). Also density in [0, 1], contrast of the parenchyma about 1,
        mass_height and mass_unevenness in presentation units, and axilla, the share of the depth that reaches the top
        edge (MLO, else 0).
    """
    patient, view = stream(case, "patient"), stream(case, "view")
    depth, half_height = patient.uniform(66, 96), patient.uniform(58, 82)
    radius, density, level = patient.uniform(8, 13), patient.beta(1.5, 1.5), patient.uniform(0.25, 0.85)
    mlo = case.view == "MLO"
    nipple_y = (108 if mlo else 116) + view.uniform(-8, 8)
    half_height = min(half_height * view.uniform(0.95, 1.05), DETECTOR_MM[0] - nipple_y - 4)
    depth *= view.uniform(0.95, 1.05)
    pectoral = (view.uniform(28, 44), view.uniform(75, 110)) if mlo else None
    # The lesion keeps its depth between views, as radiologists expect; its height is free.
    x = np.clip(level * depth, 1.6 * radius, depth - 1.5 * radius - 6)
    reach = half_height * np.sqrt(1 - (x / depth) ** 2) - 1.3 * radius - 4
    low, high = (-0.35, 0.8) if mlo else (-0.8, 0.8)
    y = nipple_y + max(reach, 0) * view.uniform(low, high)
    if mlo:  # in front of the pectoral muscle
        x = max(x, pectoral[0] * max(0.0, 1 - y / pectoral[1]) + 1.3 * radius)
    return {
        "depth": depth,
        "half_height": half_height,
        "nipple_y": nipple_y,
        "density": density,
        "thickness_roll": patient.uniform(5, 9),
        "lesion": (float(x), float(y), float(radius)),
        "mass_height": patient.uniform(0.11, 0.18),
        "mass_unevenness": patient.uniform(0.01, 0.04),
        "contrast": patient.lognormal(0, 0.1),
        "pectoral": pectoral,
        "axilla": view.uniform(0.45, 0.6) if mlo else 0.0,
    }


def pixel_grid(pixel_spacing_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """Pixel centres y (rows, 1) and x (1, columns) in mm, float32."""
    sides = (round(side / pixel_spacing_mm) for side in DETECTOR_MM)
    y, x = ((np.arange(n, dtype=np.float32) + 0.5) * np.float32(pixel_spacing_mm) for n in sides)
    return y[:, None], x[None, :]


def breast_depth(a: dict, y: np.ndarray) -> np.ndarray:
    """Distance from the chest wall to the skin (mm) at each height y, 0 where there is no breast."""
    t = (y - a["nipple_y"]) / a["half_height"]
    profile = np.sqrt(np.clip(1 - np.abs(t) ** 2.2, 0, None))
    # MLO: the upper contour runs out into the axilla instead of closing.
    upper = a["axilla"] + (1 - a["axilla"]) * np.exp(-0.5 * (np.clip(-t, 0, None) / 0.42) ** 2)
    return a["depth"] * np.where((t < 0) & (a["axilla"] > 0), upper, profile)


def power_law_field(rng: np.random.Generator, pixel_spacing_mm: float) -> np.ndarray:
    """Gaussian random field with power ~ f^-2.9, unit variance, over the detector at a pixel spacing.

    The field is the same at every spacing: it is drawn on one fixed grid, seen through the aperture of the pixel and
    sampled at the pixel centres.
    """
    fy = fft.fftfreq(FIELD_SHAPE[0], FIELD_MM).astype(np.float32)[:, None]
    fx = fft.rfftfreq(FIELD_SHAPE[1], FIELD_MM).astype(np.float32)[None, :]
    # The knee at 1/40 mm keeps the largest structures from becoming a gradient over the whole breast.
    amplitude = (fx**2 + fy**2 + np.float32(1 / 40) ** 2) ** np.float32(-EXPONENT / 4)
    amplitude[0, 0] = 0
    power = amplitude**2
    power[:, 1:-1] *= 2
    amplitude *= np.float32(FIELD_SHAPE[0] * FIELD_SHAPE[1]) / np.sqrt(power.sum())
    amplitude *= np.sinc(fy * pixel_spacing_mm) * np.sinc(fx * pixel_spacing_mm)
    noise = rng.standard_normal((2, *amplitude.shape), dtype=np.float32)
    field = fft.irfft2((noise[0] + 1j * noise[1]) * (amplitude / np.sqrt(np.float32(2))), s=FIELD_SHAPE)
    y, x = pixel_grid(pixel_spacing_mm)
    if pixel_spacing_mm == FIELD_MM:
        return field[: y.size, : x.size]
    rows, columns = np.broadcast_arrays(y / FIELD_MM - 0.5, x / FIELD_MM - 0.5)
    return ndimage.map_coordinates(field, [rows, columns], order=3, mode="grid-wrap", output=np.float32)


def draw_curves(curves: list[np.ndarray], width_mm: float, shape: tuple[int, int], spacing: float) -> np.ndarray:
    """Curves of Gaussian cross-section and unit height, each an (n, 2) array of x, y in mm spaced 0.4 mm."""
    points = np.concatenate(curves)
    columns, rows = np.floor(points / spacing).astype(int).T
    inside = (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])
    hits = np.bincount(rows[inside] * shape[1] + columns[inside], minlength=shape[0] * shape[1])
    sigma = max(width_mm / 2.355, 0.5 * spacing)
    # Each point stands for 0.4 mm of line: this factor brings the ridge of a straight line to 1.
    height = 0.4 * np.sqrt(2 * np.pi) * sigma / spacing**2
    return ndimage.gaussian_filter(hits.reshape(shape).astype(np.float32) * height, sigma / spacing, truncate=3)


def wander(rng: np.random.Generator, start: np.ndarray, heading: float, length: float, bend: float) -> np.ndarray:
    """A meandering path (n, 2) of x, y in mm with a point every 0.4 mm; bend is the drift in radians per sqrt(mm)."""
    steps = max(2, int(length / 0.4))
    angle = heading + np.cumsum(rng.normal(0, bend * np.sqrt(0.4), steps))
    return start + 0.4 * np.cumsum(np.stack([np.cos(angle), np.sin(angle)], axis=1), axis=0)


def draw_structures(case: Case, a: dict, shape: tuple[int, int], spacing: float) -> np.ndarray:
    """Ligaments, vessels, benign blobs and scattered calcifications, presentation units."""
    rng = stream(case, "structures")
    nipple = np.array([a["depth"], a["nipple_y"]])

    def place(margin: float) -> np.ndarray:
        y = a["nipple_y"] + rng.uniform(-0.9, 0.9) * a["half_height"]
        return np.array([rng.uniform(0.03, 0.97) * max(breast_depth(a, np.array(y)) - margin, 5.0), y])

    def towards_nipple(start: np.ndarray, spread: float) -> float:
        return float(np.arctan2(*(nipple - start)[::-1]) + rng.normal(0, spread))

    def paths(count: int, margin: float, spread: float, lengths: tuple[float, float], bend: float) -> list[np.ndarray]:
        starts = (place(margin) for _ in range(count))  # drawn one by one, each with its path
        return [wander(rng, start, towards_nipple(start, spread), rng.uniform(*lengths), bend) for start in starts]

    ligaments, vessels = paths(28, 4, 0.9, (10, 35), 0.08), paths(rng.integers(2, 5), 20, 0.5, (40, 90), 0.05)
    drawn = 0.03 * draw_curves(ligaments, 0.9, shape, spacing)
    drawn += 0.05 * draw_curves(vessels, 1.8, shape, spacing)
    y, x = pixel_grid(spacing)
    for _ in range(rng.poisson(1.5)):
        (cx, cy), size = place(15), rng.uniform(2, 5)
        drawn += rng.uniform(0.04, 0.09) * np.exp(-((np.hypot(x - cx, y - cy) / size) ** 4))
    specks = np.array([place(6) for _ in range(1 + rng.poisson(6))])
    return drawn + 0.25 * draw_curves([specks], 0.5, shape, spacing)


def view_marker(case: Case, shape: tuple[int, int], spacing: float) -> np.ndarray:
    """The lead letters that technologists lay beside the breast ("R MLO"), burned into the corner, 0 to 1.

    In the frame of a left breast, so that of a right one the letters are mirrored here and read well once it is turned.
    """
    text, height = f"{case.laterality} {case.view}", max(6, int(9 / spacing))
    canvas = Image.new("L", (shape[1], shape[0]))
    # In the lower corner far from the chest wall there is no breast in either view.
    right = case.laterality == "R"
    position = (4 / spacing if right else shape[1] - 4 / spacing, shape[0] - 4 / spacing)
    anchor = "ls" if right else "rs"
    ImageDraw.Draw(canvas).text(position, text, fill=255, font=ImageFont.load_default(height), anchor=anchor)
    letters = np.asarray(canvas, dtype=np.float32) / 255
    return letters[:, ::-1] if right else letters


def draw_parts(case: Case, pixel_spacing_mm: float) -> dict:
    """Draw one view in parts, which `compose` puts together.

    Parameters
    ----------
    case
        Who, which view and which class sign.
    pixel_spacing_mm
        Side of a pixel in mm, 0.05 to 2.

    Returns
    -------
    dict
        background, mass, uneven, sign, noise: (rows, columns) float32 in presentation units; breast: bool mask; ring:
        int32, see `draw_sign`; marker: float32; lesion: (x, y, radius) in mm. All in the frame of a left breast.
    """
    if not 0.05 <= pixel_spacing_mm <= 2:
        raise ValueError(f"pixel_spacing_mm is {pixel_spacing_mm}; allowed: 0.05 to 2 mm")
    a = anatomy(case)
    y, x = pixel_grid(pixel_spacing_mm)
    shape = (y.size, x.size)
    breast = x < breast_depth(a, y)
    skin = ndimage.distance_transform_edt(breast_with_edges(breast))[1:-1, 1:] * np.float32(pixel_spacing_mm)
    roll = 0.45 + 0.55 * (1 - np.exp(-skin / a["thickness_roll"]))
    # Glandular disc: behind the nipple, wider and brighter in dense breasts.
    reach = np.hypot((x - 0.55 * a["depth"]) / (0.55 * a["depth"]), (y - a["nipple_y"]) / (0.75 * a["half_height"]))
    gland = 1 / (1 + np.exp((reach - 0.6 - 0.5 * a["density"]) / 0.12))
    parenchyma = power_law_field(stream(case, "parenchyma"), pixel_spacing_mm)
    tissue = FAT + (0.03 + 0.17 * a["density"]) * gland
    tissue += a["contrast"] * (0.035 + (0.013 + 0.035 * a["density"]) * gland) * parenchyma
    tissue += draw_structures(case, a, shape, pixel_spacing_mm)
    if a["pectoral"]:
        width, height = a["pectoral"]
        edge = width * np.sqrt(np.clip(1 - y / height, 0, None)) - x
        tissue += 0.16 / (1 + np.exp(-np.clip(edge, -30, 30) / 1.2))
    tissue = roll * tissue + 0.12 * np.exp(-(((skin - 1) / 0.8) ** 2))  # the skin line, 1.5 mm
    background = np.where(breast, np.clip(tissue, 0.08, None), np.float32(AIR)).astype(np.float32)
    mass = draw_mass(stream(case, "mass"), a["lesion"], a["mass_height"], a["mass_unevenness"], x, y) * breast
    uneven, sign, ring = draw_sign(case.sign, stream(case, "sign"), a["lesion"], x, y, background, breast)
    # Quantum noise: the same spectral density at every spacing, so more in a smaller pixel.
    noise = stream(case, "noise").standard_normal(shape, dtype=np.float32) * np.float32(0.0035 / pixel_spacing_mm * 0.5)
    return {
        "background": background,
        "mass": mass,
        "uneven": uneven,
        "sign": sign,
        "ring": ring,
        "noise": noise,
        "breast": breast,
        "marker": view_marker(case, shape, pixel_spacing_mm),
        "lesion": a["lesion"],
    }


def breast_with_edges(breast: np.ndarray) -> np.ndarray:
    """Pad the mask so that only the skin, not the chest wall or a detector edge within the breast, counts as border."""
    return np.pad(np.pad(breast, ((0, 0), (1, 0)), constant_values=True), ((1, 1), (0, 0)), mode="edge")


def compose(
    parts: dict, visibility: float = 1.0, conspicuity: float = 1.0, mass: bool = True, sign: bool = True
) -> np.ndarray:
    """Put the parts together: (rows, columns) float32 in [0, 1], left-breast frame.

    `mass=False, sign=False` is the lesion-free twin: the same breast, noise and marker. `visibility` scales the mass,
    `conspicuity` the uneven tissue with the class sign in it. Whatever the class, each ring around the lesion ends with
    the values that it has with uneven tissue alone, whatever lies beneath: the sign only says where they stand.
    """
    image = parts["background"] + parts["noise"]
    if mass:
        image = image + np.float32(visibility) * parts["mass"]
    if sign:
        around = parts["ring"] >= 0
        uneven, drawn = (image[around] + np.float32(conspicuity) * parts[name][around] for name in ("uneven", "sign"))
        image[around] = with_values_of(drawn, uneven, parts["ring"][around])
    return np.clip(np.maximum(image, 0.9 * parts["marker"]), 0, 1)


def draw(case: Case, pixel_spacing_mm: float, visibility: float = 1.0, conspicuity: float = 1.0) -> np.ndarray:
    """Draw one view as the detector shows it: (rows, columns) float32 in [0, 1], a right breast on the right."""
    image = compose(draw_parts(case, pixel_spacing_mm), visibility, conspicuity)
    return image[:, ::-1] if case.laterality == "R" else image
