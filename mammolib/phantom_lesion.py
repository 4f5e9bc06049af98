"""The lesion of a phantom: a mass that is the same for every class, and the sign that tells the class.

The signs stand where the study's Grad-CAM looked: tubule forming in the surroundings (1.3-3 radii), solid at the
margin (0.7-1.3 radii), scirrhous as a distortion without a place of its own. That it is nodules and ducts, lobes and
spicules is our drawing of those words. Every class has uneven tissue from 0.7 to 3 radii, into which its sign is woven
where it has one; each ring around the lesion then gets one set of values whatever the class, so that brightness,
contrast and histogram are the same. How the values are arranged is the class, and nothing else is. The tissue is as
coarse as the signs, so that how much energy a band of frequencies holds tells little; other statistics of texture still
tell more, for dots, edges and lines differ from waves wherever they lie.
"""

import numpy as np
from numpy.random import Generator
from scipy import ndimage

from mammolib.parameters import require_choice

Lesion = tuple[float, float, float]  # x, y and radius in mm
SIGN_SD = 0.25  # presentation units at the margin of the lesion, at conspicuity 1
UNEVEN_MM = (4.0, 12.0)  # wavelengths of the uneven tissue: from the spicules' at the margin to the lobes'
SIGN_OVER_UNEVEN = 2.0  # standard deviation of the sign over that of the tissue it is woven into


def polar(lesion: Lesion, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance in lesion radii and angle in radians of each pixel."""
    cx, cy, radius = lesion
    return np.hypot(x - cx, y - cy) / np.float32(radius), np.arctan2(y - cy, x - cx)


def plane_waves(
    rng: Generator, lesion: Lesion, lengths_mm: tuple[float, float], count: int, x: np.ndarray, y: np.ndarray
) -> np.ndarray:
    """Sum of waves in random directions, about unit variance: unevenness without structure, alike at every spacing."""
    turn, length, phase = rng.uniform((0, lengths_mm[0], 0), (np.pi, lengths_mm[1], 2 * np.pi), (count, 3)).T
    along_x = 2 * np.pi * np.cos(turn) / length * (x.T - lesion[0]) + phase
    along_y = 2 * np.pi * np.sin(turn) / length * (y - lesion[1])
    # cos(a + b), by two products of matrices
    waves = np.cos(along_y) @ np.cos(along_x).T - np.sin(along_y) @ np.sin(along_x).T
    return (waves * np.sqrt(2 / count)).astype(np.float32)


def draw_mass(
    rng: Generator, lesion: Lesion, height: float, unevenness: float, x: np.ndarray, y: np.ndarray
) -> np.ndarray:
    """A dense, uneven mass with an indistinct, slightly irregular margin: (rows, columns) float32.

    `height` is its mean and `unevenness` the standard deviation of what varies inside, in presentation units. Both
    differ between patients, whatever the class.
    """
    d, theta = polar(lesion, x, y)
    phases, heights = rng.uniform(0, 2 * np.pi, 3), rng.normal(0, [0.06, 0.04, 0.03])
    outline = 1 + sum(h * np.cos(k * theta + p) for k, (h, p) in enumerate(zip(heights, phases, strict=True), start=2))
    profile = 1 / (1 + np.exp(np.clip((d / outline - 0.95) / rng.uniform(0.16, 0.24), -30, 30)))
    waves = plane_waves(rng, lesion, (7, 20), 8, x, y)
    return ((height + unevenness * waves) * profile).astype(np.float32)


def stamp(points: np.ndarray, widths: np.ndarray, heights: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Sum of round Gaussians at points (n, 2) in mm with full widths (n,) in mm; x (1, columns), y (rows, 1)."""
    sigma = widths / 2.355
    along_x = np.exp(-0.5 * ((x[0][None] - points[:, :1]) / sigma[:, None]) ** 2) * heights[:, None]
    along_y = np.exp(-0.5 * ((y[:, 0][None] - points[:, 1:]) / sigma[:, None]) ** 2)
    return np.einsum("nr,nc->rc", along_y, along_x, optimize=True)


def tubule_forming(rng, lesion, x, y, background):
    """Nodules and ducts around the mass, 1.3 to 3 radii."""
    cx, cy, radius = lesion
    glands, steps = [], np.linspace(-4, 4, 9)
    # Side by side, 5.5 mm apart; the first row begins anywhere, so that no distance is brighter.
    for orbit in np.arange(1.3 * radius - rng.uniform(0, 5.5), 3 * radius + 5.5, 5.5):
        count = round(2 * np.pi * orbit / 5.5)
        for angle in np.linspace(0, 2 * np.pi, count, endpoint=False) + rng.uniform(0, 2 * np.pi):
            distance, angle = orbit + rng.uniform(-1.5, 1.5), angle + rng.uniform(-1, 1) / orbit
            centre = cx + cy * 1j + distance * np.exp(1j * angle)
            if rng.random() < 0.6:  # a nodule
                glands.append((np.array([centre]), rng.uniform(3, 4), 1.0))
            else:  # a duct runs across the radius, a beaded line
                heading = np.exp(1j * (angle + np.pi / 2 + rng.normal(0, 0.35)))
                line = steps + 1j * rng.uniform(-0.03, 0.03) * steps**2
                glands.append((centre + line * heading, 2.4, 0.45))
    points, sizes = np.concatenate([line for line, *_ in glands]), [len(line) for line, *_ in glands]
    widths, heights = (np.repeat([gland[k] for gland in glands], sizes) for k in (1, 2))
    return stamp(np.column_stack([points.real, points.imag]), widths, heights, x, y)


def solid(rng, lesion, x, y, background):
    """A sharp, lobed edge with corners, 0.7 to 1.3 radii."""
    _, theta = polar(lesion, x, y)
    lobes, phase = rng.integers(6, 9), rng.uniform(0, 2 * np.pi)
    warped = theta + 0.12 * np.sin(2 * theta + rng.uniform(0, 2 * np.pi))
    # |sin| makes round lobes that meet in sharp notches and corners.
    return np.abs(np.sin(0.5 * lobes * warped + phase))


def scirrhous(rng, lesion, x, y, background):
    """Radiating spicules and tissue pulled inwards; strongest nowhere in particular."""
    d, theta = polar(lesion, x, y)
    cx, cy, _ = lesion
    count, curve = int(rng.integers(14, 19)), rng.normal(0, 0.08)
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False) + rng.uniform(-0.08, 0.08, count)
    off = np.angle(np.exp(1j * (theta[None] - angles[:, None, None] - curve * (d[None] - 1))))
    spicules = np.exp(-0.5 * (off * count / 1.6) ** 2).max(axis=0)
    # Pulled tissue: each pixel shows what lay further out.
    pull = 0.25 * d * np.exp(-((d / 1.6) ** 2))
    dy, dx = (y - cy) * pull / (y[1, 0] - y[0, 0]), (x - cx) * pull / (x[0, 1] - x[0, 0])
    rows, columns = np.indices(d.shape, dtype=np.float32)
    shown = ndimage.map_coordinates(background, [rows + dy, columns + dx], order=1, mode="nearest")
    return spicules + np.nan_to_num(shown - background)  # from beyond the skin comes nothing


SIGNS = {"tubule_forming": tubule_forming, "solid": solid, "scirrhous": scirrhous}
ZONE = {"tubule_forming": (1.3, 3.0), "solid": (0.7, 1.3), "scirrhous": (0.7, 3.0)}  # lesion radii
REACH = (0.7, 3.0)  # radii: whatever the class, its drawing begins and ends here


def bright_share(d: np.ndarray) -> np.ndarray:
    """Share of a ring that is bright at a distance in radii: most of it at the margin, little of it further out.

    So lobes end at the margin and spicules taper, though every class has the same share.
    """
    return np.interp(d, (0.7, 1.0, 1.3, 3.0), (0.85, 0.65, 0.3, 0.25))


def equal_rings(field: np.ndarray, ring: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Give the pixels of each ring one set of values, zero mean and unit SD, in the order they had.

    Parameters
    ----------
    field
        (n,) values.
    ring
        (n,) int, the ring of each.
    share
        (n,) share of the ring that is bright; a soft step leads from dark to bright.
    """
    order, count = np.lexsort((field, ring)), np.bincount(ring)
    first = np.cumsum(count) - count
    place = np.empty(ring.size)
    place[order] = (np.arange(ring.size) - first[ring[order]] + 0.5) / count[ring[order]]
    values = 1 / (1 + np.exp((1 - share - place) / 0.09))
    mean = np.bincount(ring, values) / np.maximum(count, 1)
    values -= mean[ring]
    spread = np.sqrt(np.bincount(ring, values**2) / np.maximum(count, 1))
    return values / np.maximum(spread, 1e-6)[ring]


def strength(d: np.ndarray) -> np.ndarray:
    """Share of SIGN_SD at a distance in radii: rises at the margin, fades outwards, the same for every class."""
    rise, fade = np.clip((d - REACH[0]) / 0.2, 0, 1), np.clip((REACH[1] - d) / 0.6, 0, 1)
    return rise * fade * np.minimum(1, (1.15 / d) ** 0.5)


def draw_sign(
    sign: str | None,
    rng: Generator,
    lesion: Lesion,
    x: np.ndarray,
    y: np.ndarray,
    background: np.ndarray,
    breast: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw uneven tissue at conspicuity 1, alone and with the sign of a class woven in (alone again where it is None).

    The tissue is drawn first, so that it is the same whatever the sign.

    Returns
    -------
    uneven, sign : ndarray
        (rows, columns) float32 presentation units. Each ring of one pixel has mean 0 and the same values for every
        class; 0 beyond REACH and outside the breast.
    ring : ndarray
        (rows, columns) int32: the ring of each pixel, -1 beyond REACH and outside the breast.

    Raises
    ------
    ValueError
        Unknown sign.
    """
    if sign is not None:
        require_choice("sign", sign, SIGNS)
    cx, cy, radius = lesion
    spacing, reach = x[0, 1] - x[0, 0], REACH[1] * radius
    rows = slice(max(0, int((cy - reach) / spacing)), int((cy + reach) / spacing) + 2)
    columns = slice(max(0, int((cx - reach) / spacing)), int((cx + reach) / spacing) + 2)
    x, y, inside = x[:, columns], y[rows], breast[rows, columns]
    tissue = np.where(inside, background[rows, columns], np.nan)
    d, _ = polar(lesion, x, y)
    inside = inside & (d >= REACH[0]) & (d <= REACH[1])
    mixed = plane_waves(rng, lesion, UNEVEN_MM, 24, x, y)[inside]
    d = d[inside]
    ring = np.rint(d * radius / spacing).astype(int)
    of_ring = ring * spacing / radius
    share = bright_share(of_ring)
    scale, drawn = SIGN_SD * strength(of_ring), [mixed]
    if sign is not None:
        low, high = ZONE[sign]
        in_zone = np.clip((d - low) / 0.2, 0, 1) * np.clip((high - d) / 0.2, 0, 1)  # soft: its border draws no circle
        structure = SIGNS[sign](rng, lesion, x, y, tissue)[inside]
        drawn.append(mixed + SIGN_OVER_UNEVEN * in_zone * equal_rings(structure, ring, share))
    parts = [np.zeros(breast.shape, np.float32) for _ in drawn]
    for part, field in zip(parts, drawn, strict=True):
        part[rows, columns][inside] = scale * equal_rings(field, ring, share)
    rings = np.full(breast.shape, -1, np.int32)
    rings[rows, columns][inside] = ring
    return parts[0], parts[-1], rings


def with_values_of(pattern: np.ndarray, values: np.ndarray, ring: np.ndarray) -> np.ndarray:
    """Give each ring of `pattern` the values that `values` has there, in the pattern's order; (n,) each."""
    arranged = np.empty_like(values)
    arranged[np.lexsort((pattern, ring))] = values[np.lexsort((values, ring))]
    return arranged
