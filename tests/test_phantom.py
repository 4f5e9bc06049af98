"""The drawing: geometry, spectrum, parts that add up, signs without brightness."""

import numpy as np
import pytest
from scipy import ndimage

from mammolib.phantom import AIR, Case, anatomy, breast_depth, compose, draw, draw_parts, pixel_grid
from mammolib.phantom_lesion import REACH, SIGN_SD, SIGNS, ZONE, polar, strength

SPACING = 0.5


def parts_of(patient: int, sign: str | None = "solid", view: str = "CC", spacing: float = SPACING) -> dict:
    return draw_parts(Case(11, patient, view, "L", sign), spacing)


def radial_slope(images: list[np.ndarray]) -> float:
    """Exponent of the mean radial power spectrum over 0.15-0.7 cycles/mm, Hann window; the oracle of the field."""
    size = images[0].shape[0]
    window = np.outer(np.hanning(size), np.hanning(size))
    power = np.mean([np.abs(np.fft.fft2((i - np.average(i, weights=window)) * window)) ** 2 for i in images], axis=0)
    frequency = np.hypot(np.fft.fftfreq(size, SPACING)[:, None], np.fft.fftfreq(size, SPACING)[None])
    edges = np.linspace(0.15, 0.7, 16)
    bins = np.digitize(frequency, edges)
    levels = [power[bins == k].mean() for k in range(1, 16)]
    return np.polyfit(np.log((edges[:-1] + edges[1:]) / 2), np.log(levels), 1)[0]


def test_parenchyma_falls_as_the_third_power():
    interiors = []
    for patient in range(20):
        case = Case(11, patient, "CC", "L", None)
        a, image = anatomy(case), compose(parts_of(patient, None), mass=False, sign=False)
        row, column = int(a["nipple_y"] / SPACING), int(0.48 * a["depth"] / SPACING)
        interiors.append(image[row - 56 : row + 56, max(column - 56, 2) : max(column - 56, 2) + 112])
    assert radial_slope(interiors) == pytest.approx(-3.0, abs=0.3)


def test_a_flat_field_would_fail_the_spectrum():
    noise = np.random.default_rng(0).normal(size=(20, 112, 112))
    assert radial_slope(list(noise)) == pytest.approx(0, abs=0.3)


@pytest.mark.parametrize("view", ["CC", "MLO"])
def test_same_case_at_another_spacing_is_the_same_picture(view):
    fine, coarse = (parts_of(3, "scirrhous", view, spacing) for spacing in (0.25, 1.0))
    for part in ("background", "mass"):
        rows, columns = coarse[part].shape
        averaged = fine[part][: rows * 4, : columns * 4].reshape(rows, 4, columns, 4).mean(axis=(1, 3))
        inside = ndimage.binary_erosion(coarse["breast"], iterations=5)
        # The specks and the thin ligaments are narrower than a coarse pixel: they may differ, the picture may not.
        assert np.corrcoef(averaged[inside], coarse[part][inside])[0, 1] > 0.97
    assert fine["lesion"] == coarse["lesion"]


def test_parts_add_up_and_the_twin_has_no_lesion():
    parts = parts_of(5)
    twin = compose(parts, mass=False, sign=False)
    summed = np.clip(twin + parts["mass"] + 0.5 * parts["sign"], 0, 1)
    around = parts["ring"] >= 0
    np.testing.assert_allclose(compose(parts, 1, 0.5)[~around], summed[~around], atol=1e-6)
    assert np.corrcoef(compose(parts, 1, 0.5)[around], summed[around])[0, 1] > 0.99  # each ring keeps its order
    alone = parts_of(5, None)
    summed = np.clip(twin + parts["mass"] + 0.5 * alone["uneven"], 0, 1)
    np.testing.assert_allclose(compose(alone, 1, 0.5), summed, atol=1e-6)
    np.testing.assert_array_equal(compose(parts, 1, 0), compose(parts, 1, 1, sign=False))
    np.testing.assert_array_equal(compose(parts, 0, 0), twin)


def test_background_and_mass_do_not_know_the_class():
    drawn = [parts_of(6, sign) for sign in (*SIGNS, None)]
    for part in ("background", "mass", "noise", "marker"):
        for other in drawn[1:]:
            np.testing.assert_array_equal(drawn[0][part], other[part])


@pytest.mark.parametrize("patient", range(4))
def test_every_ring_holds_the_same_values_in_every_class(patient):
    drawn = [parts_of(patient, sign) for sign in (*SIGNS, None)]
    y, x = pixel_grid(SPACING)
    d, _ = polar(drawn[0]["lesion"], x, y)
    ring = np.rint(d * drawn[0]["lesion"][2] / SPACING).astype(int)
    for k in range(ring.max() + 1):
        first, *others = (np.sort(parts["sign"][(ring == k) & parts["breast"]]) for parts in drawn)
        assert abs(first.mean() if first.size else 0) < 1e-6
        for values in others:
            np.testing.assert_allclose(values, first, atol=1e-6)
    beyond = (d < REACH[0]) | (d > REACH[1]) | ~drawn[0]["breast"]
    assert all(parts["sign"].any() for parts in drawn)
    assert not any(parts["sign"][beyond].any() for parts in drawn)


@pytest.mark.parametrize(("visibility", "conspicuity"), [(1, 1.1), (0.5, 2), (0, 0.3)])
def test_every_ring_of_the_image_holds_the_same_values_in_every_class(visibility, conspicuity):
    drawn = [parts_of(8, sign) for sign in (*SIGNS, None)]
    images = [compose(parts, visibility, conspicuity) for parts in drawn]
    ring = drawn[0]["ring"]
    for image, parts in zip(images[:-1], drawn, strict=False):
        np.testing.assert_array_equal(parts["ring"], ring)
        assert np.abs(image - images[-1]).max() > 0.1 * conspicuity
        order = [np.lexsort((values.ravel(), ring.ravel())) for values in (image, images[-1])]
        np.testing.assert_array_equal(image.ravel()[order[0]], images[-1].ravel()[order[1]])


@pytest.mark.parametrize("sign", SIGNS)
def test_what_the_sign_adds_to_the_tissue_lies_in_the_zone_of_the_class(sign):
    with_sign, without = parts_of(7, sign), parts_of(7, None)
    y, x = pixel_grid(SPACING)
    d, _ = polar(with_sign["lesion"], x, y)
    added, (low, high) = with_sign["sign"] - without["sign"], ZONE[sign]
    border = 1 / (with_sign["lesion"][2] / SPACING)  # a ring is one pixel
    assert (added[(d > low + 0.2) & (d < high - 0.2) & with_sign["breast"]] != 0).mean() > 0.9
    assert not added[(d < low - border) | (d > high + border)].any()


def pattern(sign: str | None, patient: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What is drawn around a mass, its change along the radius and across it, in the zone of the class."""
    parts = parts_of(patient, sign)
    y, x = pixel_grid(SPACING)
    d, theta = polar(parts["lesion"], x, y)
    drawn = parts["sign"] / (SIGN_SD * np.maximum(strength(d), 0.2))
    down, right = np.gradient(ndimage.gaussian_filter(drawn, 1))
    low, high = ZONE.get(sign, REACH)
    zone = (d > low + 0.2) & (d < min(high - 0.2, 2.4)) & ndimage.binary_erosion(parts["breast"], iterations=4)
    along, across = right * np.cos(theta) + down * np.sin(theta), down * np.cos(theta) - right * np.sin(theta)
    fine = drawn - ndimage.gaussian_filter(drawn, 1.5 / SPACING)
    return fine[zone], along[zone], across[zone]


# Seen over 8 patients: 0.43-0.55, 2.5-7.4, 6.3-15.6, and 0.87-1.21 without a sign.
@pytest.mark.parametrize(
    ("sign", "low", "high"), [("tubule_forming", 0, 0.7), ("solid", 1.8, 99), ("scirrhous", 4, 99), (None, 0.7, 1.4)]
)
def test_ducts_run_round_the_mass_lobes_and_spicules_outwards_and_tissue_anywhere(sign, low, high):
    for patient in range(4):
        _, along, across = pattern(sign, patient)
        assert low < (across**2).mean() / (along**2).mean() < high


def test_the_uneven_tissue_is_as_fine_as_the_signs():
    energy = {sign: np.mean([(pattern(sign, k)[0] ** 2).mean() for k in range(8)]) for sign in (*SIGNS, None)}
    for sign in SIGNS:
        assert energy[sign] / energy[None] == pytest.approx(1, abs=0.35)  # a coarse tissue would give 3 and more


def test_right_breast_is_the_mirror_image_but_for_the_marker():
    left, right = (draw(Case(2, 1, "MLO", side, "solid"), SPACING) for side in "LR")
    top = slice(0, 380)  # above the burned marker
    np.testing.assert_array_equal(left[top], right[top, ::-1])
    assert not np.array_equal(left, right[:, ::-1])


def test_marker_lies_outside_the_breast_and_air_is_dark():
    for patient in range(12):
        parts = parts_of(patient, view="MLO" if patient % 2 else "CC")
        assert not (parts["marker"] * parts["breast"]).any()
        assert (parts["background"][~parts["breast"]] == np.float32(AIR)).all()


def test_lesion_lies_in_the_breast_and_in_front_of_the_muscle():
    for patient in range(200):
        for view in ("CC", "MLO"):
            a = anatomy(Case(4, patient, view, "L", None))
            x, y, radius = a["lesion"]
            assert radius * 1.2 < x < breast_depth(a, np.array(y)) - radius
            if a["pectoral"]:
                width, height = a["pectoral"]
                assert x > width * max(0, 1 - y / height)


def test_unknown_sign_and_spacing_are_named():
    with pytest.raises(ValueError, match=r"sign: 'lobular' is unknown; allowed are tubule_forming, solid, scirrhous"):
        parts_of(0, "lobular")
    with pytest.raises(ValueError, match=r"pixel_spacing_mm is 5; allowed: 0\.05 to 2 mm"):
        parts_of(0, spacing=5)
