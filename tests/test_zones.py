"""Zones and their shares, counted by hand or by a slow loop."""

import numpy as np
import pandas as pd
import pytest

from mammolib.images import breast_mask, fit_to_network
from mammolib.phantom import Case, compose, draw_parts
from mammolib.resolution import THICKNESS, cells_inside, choose_layer, network_scale, resolvable_zones
from mammolib.zones import (
    ZONES,
    breasts_of,
    lesion_distance,
    outside_shares,
    zone_grid,
    zone_shares,
    zone_summary,
    zone_table,
)

WHOLE = {"crop_top": 0, "crop_left": 0, "crop_height": 48, "crop_width": 48, "flipped": False}
LESION = pd.DataFrame({"x": [20.0], "y": [24.0], "radius": [7.0]})
EVERYWHERE = {zone: True for zone in ZONES}


def test_distance_is_the_smallest_over_lesions_in_radii():
    two = pd.DataFrame({"x": [0.0, 10.0], "y": [0.0, 0.0], "radius": [2.0, 5.0]})
    np.testing.assert_allclose(lesion_distance(np.array([4.0, 6.0, 10.0]), np.zeros(3), two), [1.2, 0.8, 0])
    assert lesion_distance(np.zeros(1), np.zeros(1), two[:0])[0] == np.inf
    with pytest.raises(ValueError, match=r"radius 0\.0 of a lesion; a positive"):
        lesion_distance(np.zeros(1), np.zeros(1), two.assign(radius=[0.0, 1.0]))


def test_zones_equal_a_slow_loop():
    breast = np.ones((48, 48), bool)
    breast[:, 30:] = False
    grid = zone_grid(WHOLE, LESION, breast, "pad")[1::3, 1::3]  # the middle part of each pixel
    for y in range(48):
        for x in range(48):
            d = np.hypot(x - 20, y - 24) / 7
            inside = 0 if d < 0.7 else 1 if d < 1.3 else 2 if d < 3 else 3
            assert grid[y, x] == (inside if breast[y, x] else 4), (x, y)
    assert set(np.unique(grid)) == {0, 1, 2, 3, 4}


def test_areas_are_those_of_the_circles():
    _, area = zone_shares(np.ones((1, 48, 48)), 1.0, zone_grid(WHOLE, LESION, np.ones((48, 48), bool), "pad"))
    core, margin = np.pi * 4.9**2, np.pi * (9.1**2 - 4.9**2)
    assert area[0] * 48**2 == pytest.approx(core, rel=0.02)  # ninths of pixels along a circle of 31
    assert area[1] * 48**2 == pytest.approx(margin, rel=0.02)


def test_shares_add_up_to_one_and_the_negative_part_counts_for_nothing():
    breast = np.ones((48, 48), bool)
    breast[:, 30:] = False
    maps = np.random.default_rng(0).normal(size=(3, 12, 12))
    energy, area = zone_shares(maps, 4.0, zone_grid(WHOLE, LESION, breast, "pad"))
    np.testing.assert_allclose(energy.sum(axis=1), 1)
    assert area.sum() == pytest.approx(1)
    again, _ = zone_shares(np.where(maps > 0, 5 * maps, 100 * maps), 4.0, zone_grid(WHOLE, LESION, breast, "pad"))
    np.testing.assert_allclose(again, energy)


@pytest.mark.parametrize("zone", range(5))
def test_a_map_in_one_zone_gives_it_all_energy(zone):
    breast = np.ones((48, 48), bool)
    breast[:, 36:] = False
    grid = zone_grid(WHOLE, LESION, breast, "pad")
    whole = (grid.reshape(48, 3, 48, 3) == zone).all(axis=(1, 3))  # pixels that lie in the zone with all their parts
    assert whole.any()
    energy, _ = zone_shares(np.where(whole, 2.0, -1.0)[None], 1.0, grid)
    np.testing.assert_allclose(energy[0], np.eye(5)[zone])


@pytest.mark.parametrize("flipped", [False, True])
def test_a_lesion_is_found_again_through_crop_flip_and_scale(flipped):
    """A crop of 96 x 64 source pixels in a frame of 48 x 48: half the size, 32 columns of image, 16 of padding."""
    place = {"crop_top": 10, "crop_left": 200, "crop_height": 96, "crop_width": 64, "flipped": flipped}
    lesion = pd.DataFrame({"x": [215.0], "y": [58.0], "radius": [8.0]})
    grid = zone_grid(place, lesion, np.ones((48, 48), bool), "pad")
    assert (grid == -1).mean() == pytest.approx(1 / 3)
    columns = np.flatnonzero((grid != -1).any(axis=0)) // 3
    y, x = (np.flatnonzero((grid == 0).any(axis=axis)).mean() / 3 - 1 / 3 for axis in (1, 0))
    across = 63 - 15 if flipped else 15  # source columns from the crop's edge that became the left one
    assert x - columns[0] == pytest.approx((across + 0.5) / 2 - 0.5, abs=0.2)
    assert y == pytest.approx((58 - 10 + 0.5) / 2 - 0.5, abs=0.2)
    assert (grid == 0).sum() / 9 == pytest.approx(np.pi * (0.7 * 4) ** 2, rel=0.05)


def test_padding_takes_no_share():
    place = WHOLE | {"crop_width": 24}
    energy, area = zone_shares(np.ones((1, 48, 48)), 1.0, zone_grid(place, LESION, np.ones((48, 48), bool), "pad"))
    np.testing.assert_allclose(energy[0], area)  # an even map, so no zone gains
    only_padding = np.zeros((1, 48, 48))
    only_padding[:, :, 30:] = 1
    assert np.isnan(zone_shares(only_padding, 1.0, zone_grid(place, LESION, np.ones((48, 48), bool), "pad"))[0]).all()


def table_of_two_patients():
    """Class a: patient p has images 1 and 2, patient q image 3, whose map of a is empty."""
    images = pd.DataFrame({"image_id": ["1", "2", "3", "4"], "patient": list("ppqr"), "label": list("aaab"), **WHOLE})
    maps = np.random.default_rng(2).random((4, 2, 12, 12))
    maps[2, 0] = -1
    annotations = pd.DataFrame({"image_id": ["1", "2", "3"], "x": 20.0, "y": [24.0, 20.0, 24.0], "radius": 7.0})
    breasts = np.ones((4, 48, 48), bool)
    return zone_table(maps, 4.0, images, annotations, breasts, ["a", "b"], "pad")


def test_the_table_leaves_out_images_without_annotation():
    table = table_of_two_patients()
    assert set(table["image_id"]) == {"1", "2", "3"}
    assert len(table) == 3 * 2 * 5
    sums = table.groupby(["image_id", "map_class"])["energy"].sum(min_count=5)
    np.testing.assert_allclose(sums.dropna(), 1)
    assert list(sums[sums.isna()].index) == [("3", "a")]


def test_a_summary_takes_own_maps_of_own_images_and_no_empty_one():
    table = table_of_two_patients()
    zones = zone_summary(table, ["a", "b"], EVERYWHERE | {"margin": False}, draws=200, seed=0)
    own = table[table["image_id"].isin(["1", "2"]) & (table["map_class"] == "a") & (table["zone"] == "core")]
    core = zones["a"]["core"]
    assert core["energy"]["value"] == pytest.approx(own["energy"].mean(), abs=1e-6)
    assert (core["energy"]["n"], core["energy"]["patients"]) == (2, 1)
    assert core["enrichment"]["value"] == pytest.approx(own["energy"].mean() / own["area"].mean(), abs=1e-5)
    other = table[table["image_id"].isin(["1", "2"]) & (table["map_class"] == "b") & (table["zone"] == "core")]
    gap = own["energy"].mean() - other["energy"].mean()  # no part is outside the breast here
    assert core["contrast"]["value"] == pytest.approx(gap / own["area"].mean(), abs=1e-5)
    assert zones["a"]["outside"]["enrichment"]["value"] is None
    assert zones["a"]["margin"]["contrast"]["note"].startswith("not resolvable")
    assert zones["a"]["margin"]["enrichment"]["value"] is None
    assert zones["a"]["margin"]["enrichment"]["note"].startswith("not resolvable")
    assert zones["b"]["core"]["energy"]["value"] is None, "no annotated image of b"


def test_contrast_is_against_the_class_whose_maps_are_nearest():
    """Above 0 on average is not enough: class a's map is c's, and only b's differs."""
    images = pd.DataFrame({"image_id": list("123"), "patient": list("pqr"), "label": list("abc"), **WHOLE})
    maps = np.ones((3, 3, 12, 12))
    maps[:, [0, 2], 4:8, 4:8] = 9
    lesions = pd.DataFrame({"image_id": list("123"), "x": 24.0, "y": 24.0, "radius": 7.0})
    table = zone_table(maps, 4.0, images, lesions, np.ones((3, 48, 48), bool), list("abc"), "pad")
    core = zone_summary(table, list("abc"), EVERYWHERE, draws=100, seed=0)["a"]["core"]
    assert core["enrichment"]["value"] > 2
    assert (core["contrast"]["value"], core["contrast"]["against"]) == (0, "c")


def test_a_map_even_inside_the_breast_is_enriched_nowhere():
    """However little of the image the breast fills, and even where the map is dark outside."""
    images = pd.DataFrame({"image_id": list("12"), "patient": list("pq"), "label": list("ab"), **WHOLE})
    breasts = np.zeros((2, 48, 48), bool)
    breasts[0, :, :36], breasts[1, :, :24] = True, True
    maps = np.repeat(breasts[:, None].astype(float), 2, axis=1)
    annotations = pd.DataFrame({"image_id": list("12"), "x": 12.0, "y": 24.0, "radius": 4.0})
    table = zone_table(maps, 1.0, images, annotations, breasts, ["a", "b"], "pad")
    for zones in zone_summary(table, ["a", "b"], EVERYWHERE, draws=100, seed=0).values():
        for zone in ZONES[:4]:
            assert zones[zone]["enrichment"]["value"] == pytest.approx(1.0, abs=1e-6)
            assert zones[zone]["contrast"]["value"] == pytest.approx(0.0, abs=1e-6)
        assert sum(part["energy"]["value"] for part in zones.values()) == pytest.approx(1)


def test_without_annotations_nothing_is_estimable():
    empty = zone_table(
        np.ones((1, 2, 6, 6)),
        8.0,
        pd.DataFrame([WHOLE | {"image_id": "1", "patient": "p", "label": "a"}]),
        pd.DataFrame({"image_id": [], "x": [], "y": [], "radius": []}),
        np.ones((1, 48, 48), bool),
        ["a", "b"],
        "pad",
    )
    found = zone_summary(empty, ["a", "b"], EVERYWHERE, draws=100, seed=0)
    assert found["a"]["core"]["enrichment"]["value"] is found["a"]["core"]["contrast"]["value"] is None


def test_scale_and_layer_choice():
    images = pd.DataFrame({"crop_height": [96, 48], "crop_width": [64, 96]})
    np.testing.assert_allclose(network_scale(images, 48, 48), [2, 2])
    thin = pd.DataFrame({"crop_height": [97], "crop_width": [5]})  # 2.47 columns, drawn as 2: no reason to be coarser
    np.testing.assert_allclose(network_scale(thin, 48, 48), [97 / 48])
    layers = pd.DataFrame({"layer": ["one", "two", "three"], "cell": [1.0, 2.0, 4.0]})
    assert choose_layer(layers, radius=7.0) == "three"  # 0.6 radii are 4.2 pixels
    assert choose_layer(layers, radius=6.0) == "two"
    assert choose_layer(layers, radius=1.0) == "one"  # resolves nothing, but is the finest
    assert choose_layer(layers, radius=np.nan) == "three"
    assert {"core": 1.4, "margin": 0.6, "surroundings": 1.7, "remote": np.inf, "outside": np.inf} == THICKNESS
    seen = resolvable_zones(cell=4.0, radius=3.0)
    assert seen == {"core": True, "margin": False, "surroundings": True, "remote": True, "outside": True}


@pytest.mark.parametrize("patient", [0, 1, 2])
@pytest.mark.parametrize("view", ["CC", "MLO"])
def test_the_breast_is_found_again_where_its_background_was_kept(patient, view):
    parts = draw_parts(Case(3, patient, view, "L", "solid"), 0.7)
    pixels = (compose(parts) * 65535).astype(np.uint16)
    images, truth = (
        fit_to_network(source, breast_mask(pixels), 112, 112, "pad", "keep", "L")[0][None]
        for source in (pixels, parts["breast"] * np.uint16(65535))
    )
    found, truth = breasts_of(images, "keep"), truth > 65535 // 2
    assert (found & truth).sum() / (found | truth).sum() > 0.95  # the rest is the skin's edge, a pixel wide
    assert (images[~truth] > 0).any(), "not every pixel outside is 0, as it would be under `zero`"


def test_energy_outside_needs_no_annotation():
    images = np.zeros((1, 48, 48), np.uint16)
    images[:, :, :24] = 9
    breasts = breasts_of(images, "zero")
    np.testing.assert_array_equal(cells_inside(breasts, 8.0, 6, 6)[0], np.tile([True] * 3 + [False] * 3, (6, 1)))
    maps = np.zeros((1, 2, 6, 6))
    maps[0, 0, :, :4] = 1  # three columns of cells in the breast, one beyond
    energy, area = outside_shares(maps, 8.0, pd.DataFrame([WHOLE]), breasts, "pad")
    assert energy[0, 0] == pytest.approx(0.25)
    assert np.isnan(energy[0, 1])
    assert area[0] == pytest.approx(0.5)
