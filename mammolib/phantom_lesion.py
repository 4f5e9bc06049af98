"""The lesion of a phantom: a mass that is the same for every class, and the sign that tells the class.

The signs stand where the study's Grad-CAM looked: tubule forming in the surroundings (1.3-3 radii), solid at the
margin (0.7-1.3 radii), scirrhous as a distortion without a place of its own. That it is nodules and ducts, lobes and
spicules is our drawing of those words. A sign adds no mean brightness in any ring around the lesion and has the same
energy in every class; it is fine structure alone. Where that energy lies, and how it is shaped, is the class.
"""

import numpy as np
from scipy import ndimage

REACH = 3.0  # radii: no sign goes further
# Structures much wider than this are taken out of a sign: they would show as brightness and contrast.
FINE_MM = 4.0
SIGN_RMS = 0.10  # presentation units over the area of the lesion, at conspicuity 1


def polar(lesion: tuple[float, float, float], x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance in lesion radii and angle in radians of each pixel."""
    cx, cy, radius = lesion
    return np.hypot(x - cx, y - cy) / np.float32(radius), np.arctan2(y - cy, x - cx)


def draw_mass(
    rng: np.random.Generator,
    lesion: tuple[float, float, float],
    height: float,
    unevenness: float,
    x: np.ndarray,
    y: np.ndarray,
) -> np.ndarray:
    """A dense, uneven mass with an indistinct, slightly irregular margin: (rows, columns) float32.

    `height` is its mean and `unevenness` the standard deviation of what varies inside, in presentation units. Both
    differ between patients, whatever the class.
    """
    d, theta = polar(lesion, x, y)
    phases, heights = rng.uniform(0, 2 * np.pi, 3), rng.normal(0, [0.06, 0.04, 0.03])
    outline = 1 + sum(h * np.cos(k * theta + p) for k, (h, p) in enumerate(zip(heights, phases, strict=True), start=2))
    profile = 1 / (1 + np.exp(np.clip((d / outline - 0.95) / rng.uniform(0.16, 0.24), -30, 30)))
    # Waves of 7 to 20 mm in random directions: coarser than any sign, so that they hide its contrast, not its shape.
    waves, cx, cy = np.zeros_like(d), *lesion[:2]
    for turn, length, phase in rng.uniform((0, 7, 0), (np.pi, 20, 2 * np.pi), (8, 3)):
        waves += np.cos(2 * np.pi * ((x - cx) * np.cos(turn) + (y - cy) * np.sin(turn)) / length + phase) / 2
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
    points, widths, heights = [], [], []
    for angle in np.linspace(0, 2 * np.pi, 8, endpoint=False) + rng.uniform(-0.25, 0.25, 8):
        distance = radius * rng.uniform(1.55, 2.3)
        centre = np.array([cx + distance * np.cos(angle), cy + distance * np.sin(angle)])
        if rng.random() < 0.5:  # a nodule
            points.append(centre[None])
            widths.append(np.full(1, rng.uniform(4.5, 6.5)))
            heights.append(np.ones(1))
        else:  # a duct runs across the radius, a beaded line
            heading, steps = angle + np.pi / 2 + rng.normal(0, 0.35), np.linspace(-6, 6, 13)
            bend = rng.uniform(-0.03, 0.03) * steps**2
            line = centre + np.stack(
                [
                    steps * np.cos(heading) - bend * np.sin(heading),
                    steps * np.sin(heading) + bend * np.cos(heading),
                ],
                axis=1,
            )
            points.append(line)
            widths.append(np.full(13, 3.2))
            heights.append(np.full(13, 0.45))
    return stamp(np.concatenate(points), np.concatenate(widths), np.concatenate(heights), x, y)


def solid(rng, lesion, x, y, background):
    """A sharp, lobed edge with corners, 0.7 to 1.3 radii."""
    d, theta = polar(lesion, x, y)
    lobes, phase = rng.integers(3, 6), rng.uniform(0, 2 * np.pi)
    warped = theta + 0.25 * np.sin(theta + rng.uniform(0, 2 * np.pi))
    # |sin| makes round lobes that meet in sharp notches and corners.
    outline = 0.9 + 0.4 * np.abs(np.sin(0.5 * lobes * warped + phase)) ** 0.8
    return np.clip((outline - d) * lesion[2] / 0.8, -1, 1) * (d > 0.85)


def scirrhous(rng, lesion, x, y, background):
    """Radiating spicules and tissue pulled inwards; strongest nowhere in particular."""
    d, theta = polar(lesion, x, y)
    cx, cy, radius = lesion
    spicules = np.zeros_like(d)
    count = int(rng.integers(6, 10))
    for angle in np.linspace(0, 2 * np.pi, count, endpoint=False) + rng.uniform(-0.18, 0.18, count):
        length, curve = rng.uniform(1.7, 2.5), rng.normal(0, 0.08)
        off = np.angle(np.exp(1j * (theta - angle - curve * (d - 1)))) * d * radius
        width = 3.0 * np.clip(1.15 - 0.15 * d, 0.6, None)
        ramp = np.clip((d - 0.75) / 0.25, 0, 1) * np.clip((length - d) / 0.4, 0, 1)
        spicules += np.exp(-0.5 * (off / (width / 2.355)) ** 2) * ramp
    # Pulled tissue: each pixel shows what lay further out.
    pull = 0.25 * d * np.exp(-((d / 1.6) ** 2))
    dy, dx = (y - cy) * pull / (y[1, 0] - y[0, 0]), (x - cx) * pull / (x[0, 1] - x[0, 0])
    rows, columns = np.indices(d.shape, dtype=np.float32)
    pulled = ndimage.map_coordinates(background, [rows + dy, columns + dx], order=1, mode="nearest") - background
    return spicules + 0.5 * pulled


SIGNS = {"tubule_forming": tubule_forming, "solid": solid, "scirrhous": scirrhous}
ZONE = {"tubule_forming": (1.3, 3.0), "solid": (0.7, 1.3), "scirrhous": (0.75, 3.0)}  # lesion radii


def zero_mean_rings(field: np.ndarray, ring: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Subtract from each ring (integer label a pixel) its mean over the pixels inside; 0 elsewhere."""
    count = np.bincount(ring[inside])
    mean = np.bincount(ring[inside], weights=field[inside]) / np.maximum(count, 1)
    return np.where(inside, field - mean[np.where(inside, ring, 0)], 0)


def same_values(field: np.ndarray, inside: np.ndarray, count: int) -> np.ndarray:
    """Give the `count` most extreme pixels inside the same set of values whatever the class, in the order they had.

    Half are the brightest, half the darkest; their values are those of a sine wave, so that no class has longer tails
    for a histogram to see. The other pixels become 0.
    """
    half = min(count, int(inside.sum())) // 2
    pixels = np.flatnonzero(inside)
    order = pixels[np.argsort(field.ravel()[pixels], kind="stable")]
    values = np.sin(np.pi / 2 * (np.arange(half) + 0.5) / half)
    flat = np.zeros(field.size)
    flat[order[:half]], flat[order[-half:]] = -values[::-1], values
    return flat.reshape(field.shape)


def draw_sign(
    sign: str | None,
    rng: np.random.Generator,
    lesion: tuple[float, float, float],
    x: np.ndarray,
    y: np.ndarray,
    background: np.ndarray,
    breast: np.ndarray,
) -> np.ndarray:
    """Draw the sign of a class at conspicuity 1.

    Returns
    -------
    ndarray
        (rows, columns) float32 presentation units; zero mean in rings of one pixel, energy SIGN_RMS^2 x lesion area,
        0 outside the zone of the class and outside the breast.
    """
    full = np.zeros(breast.shape, np.float32)
    if sign is None:
        return full
    if sign not in SIGNS:
        raise ValueError(f"sign is {sign!r}; allowed: {', '.join(SIGNS)} or None")
    cx, cy, radius = lesion
    spacing = x[0, 1] - x[0, 0]
    rows = slice(max(0, int((cy - REACH * radius) / spacing)), int((cy + REACH * radius) / spacing) + 2)
    columns = slice(max(0, int((cx - REACH * radius) / spacing)), int((cx + REACH * radius) / spacing) + 2)
    x, y, inside = x[:, columns], y[rows], breast[rows, columns]
    d, _ = polar(lesion, x, y)
    low, high = ZONE[sign]
    inside = inside & (d >= low) & (d <= high)
    ring = np.rint(d * radius / spacing).astype(int)
    field = SIGNS[sign](rng, lesion, x, y, background[rows, columns])
    field = field - ndimage.gaussian_filter(field, FINE_MM / spacing)
    # A soft window, so that the zone's border draws no circle of its own.
    window = np.clip((d - low) / 0.15, 0, 1) * np.clip((high - d) / 0.15, 0, 1)
    field = zero_mean_rings(field, ring, inside) * window
    field = same_values(field, inside, int(np.pi * radius**2 / spacing**2))
    field = zero_mean_rings(field, ring, inside)
    energy = np.sum(field**2) * spacing**2
    full[rows, columns] = field * np.sqrt(SIGN_RMS**2 * np.pi * radius**2 / max(energy, 1e-12))
    return full
