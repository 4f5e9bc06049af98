"""Raster files, area averaging, the breast's mask and side, and the way from source to network and back."""

import numpy as np
import pytest
from PIL import Image

from mammolib.dicom import UnreadableImage
from mammolib.images import (
    area_resize,
    breast_is_right,
    breast_mask,
    fit_to_network,
    network_to_source,
    read_image,
    source_to_network,
)


def drawn_breast(rows=300, columns=200, right=False, air=0, top=0) -> tuple[np.ndarray, np.ndarray]:
    """Half an ellipse at the left edge, with a label and its true mask."""
    y, x = np.mgrid[:rows, :columns]
    truth = ((y - rows * 0.5) / (rows * 0.35)) ** 2 + (x / (columns * 0.6)) ** 2 < 1
    pixels = np.where(truth, 30000 + 3000 * np.sin(x / 7) * np.cos(y / 5), air).astype(np.uint16)
    pixels[10:40, columns - 40 : columns - 20] = 65535
    return (pixels[:, ::-1], truth[:, ::-1]) if right else (pixels, truth)


@pytest.mark.parametrize("suffix", [".png", ".pgm", ".tif"])
@pytest.mark.parametrize(("dtype", "factor"), [(np.uint8, 257), (np.uint16, 1)])
def test_raster_files_come_over_the_full_range(tmp_path, suffix, dtype, factor):
    values = np.array([[0, 1, 2], [100, 254, np.iinfo(dtype).max]], dtype)
    Image.fromarray(values).save(tmp_path / f"a{suffix}")
    pixels, facts = read_image(tmp_path / f"a{suffix}")
    assert pixels.dtype == np.uint16
    np.testing.assert_array_equal(pixels, values.astype(int) * factor)
    assert set(facts) == {"digest"}


def test_bad_raster_files_give_a_reason(tmp_path):
    with pytest.raises(UnreadableImage, match="missing_file"):
        read_image(tmp_path / "none.png")
    (tmp_path / "a.png").write_bytes(b"\x89PNG not really")
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "b.png")
    Image.fromarray(np.array([[0, -1]], np.int32)).save(tmp_path / "c.tif")
    Image.fromarray(np.array([[0, 65536]], np.int32)).save(tmp_path / "d.tif")
    for name in ("a.png", "b.png", "c.tif", "d.tif"):
        with pytest.raises(UnreadableImage, match="unreadable"):
            read_image(tmp_path / name)


@pytest.mark.parametrize("target", [(2, 3), (3, 2), (5, 4), (6, 6), (7, 11), (1, 1)])
def test_area_resize_equals_averaging_of_repeated_pixels(target):
    pixels = np.random.default_rng(1).integers(0, 65536, (6, 6)).astype(np.uint16)
    height, width = target
    fine = np.repeat(np.repeat(pixels.astype(float), height, 0), width, 1)  # the oracle: every share is whole
    expected = fine.reshape(height, 6, width, 6).mean(axis=(1, 3))
    np.testing.assert_allclose(area_resize(pixels, height, width), expected, rtol=1e-5)  # float32


@pytest.mark.parametrize("size", [(3328, 2560), (1024, 1023), (466, 358)])
def test_area_weights_stay_whole_at_real_sizes(size):
    np.testing.assert_allclose(area_resize(np.ones(size, np.uint8), 224, 112), 1, rtol=1e-5)


@pytest.mark.parametrize("right", [False, True])
@pytest.mark.parametrize("air", [0, 1500])
@pytest.mark.parametrize("size", [(300, 200), (1200, 800)])
def test_the_mask_is_the_breast_without_its_label(right, air, size):
    pixels, truth = drawn_breast(*size, right=right, air=air)
    mask = breast_mask(pixels)
    overlap = (mask & truth).sum() / (mask | truth).sum()
    assert overlap > 0.97  # the rest is the edge, smoothed over a pixel or two
    assert breast_is_right(mask) == right


def test_a_padded_film_with_tape_keeps_its_breast():
    pixels, truth = drawn_breast(300, 200, right=True, air=1500)
    pixels = pixels.copy()
    pixels[:, 3:12] = 60000  # tape along the film's edge
    film, inside = np.zeros((300, 400), np.uint16), np.zeros((300, 400), bool)
    film[:, 100:300], inside[:, 100:300] = pixels, truth
    mask = breast_mask(film)
    assert (mask & inside).sum() / (mask | inside).sum() > 0.95
    assert breast_is_right(mask)


@pytest.mark.parametrize("pixels", [np.zeros((50, 40)), np.full((50, 40), 9000), np.eye(200) * 60000])
def test_no_breast_is_a_reason(pixels):
    with pytest.raises(UnreadableImage) as caught:
        breast_mask(pixels.astype(np.uint16))
    assert caught.value.reason == "no_breast"


def test_laterality_decides_only_where_the_pixels_do_not():
    even, left = np.ones((40, 30), bool), drawn_breast()[1]
    assert breast_is_right(even, "R")
    assert not breast_is_right(even, "L")
    assert not breast_is_right(even)
    assert not breast_is_right(left, "R")
    filling = even.copy()  # skin cuts off the upper right, the wall's lower left: edges of one height
    filling[:15, 25:] = filling[25:, :5] = False
    assert not breast_is_right(filling, "R")
    assert breast_is_right(filling[:, ::-1], "L")


@pytest.mark.parametrize("right", [False, True])
def test_zero_background_is_exactly_the_outside(right):
    pixels, truth = drawn_breast(right=right)
    pixels = np.where(truth, pixels // 30000, 500).astype(np.uint16)  # inside there are zeros too
    image, place = fit_to_network(pixels, truth, 64, 64)
    assert place["flipped"] == right
    assert image.dtype == np.uint16
    x, y = np.meshgrid(np.arange(64), np.arange(64))
    x, y = (np.rint(a).astype(int) for a in network_to_source(x, y, place, 64, 64, "pad"))
    there = (x >= 0) & (x < 200) & (y >= 0) & (y < 300)
    expected = there & truth[y.clip(0, 299), x.clip(0, 199)]
    assert ((image > 0) == expected).mean() > 0.98  # a pixel's middle against half its area
    kept, _ = fit_to_network(pixels, truth, 64, 64, background="keep")
    assert (kept[image == 0] > 100).any()
    assert (kept[image > 0] == 0).any()


@pytest.mark.parametrize("aspect", ["pad", "stretch"])
@pytest.mark.parametrize("right", [False, True])
def test_a_marked_pixel_is_found_where_the_coordinates_say(aspect, right):
    pixels, truth = drawn_breast(right=right)
    row, column = 161, (130 if right else 69)
    pixels = np.where(truth, 100, 0).astype(np.uint16)
    pixels[row - 1 : row + 2, column - 1 : column + 2] = 60000
    image, place = fit_to_network(pixels, truth, 96, 80, aspect)
    x, y = source_to_network(column, row, place, 96, 80, aspect)
    weights = np.where(image > 150, image, 0).astype(float)
    found = [(weights.sum(axis=axis) * np.arange(n)).sum() / weights.sum() for axis, n in ((0, 80), (1, 96))]
    np.testing.assert_allclose(found, [x, y], atol=0.3)  # the mark's share of three pixels is not even
    np.testing.assert_allclose(network_to_source(x, y, place, 96, 80, aspect), [column, row])


def test_padding_keeps_proportions_and_stands_left_and_central():
    image, place = fit_to_network(np.full((100, 50), 9, np.uint16), np.ones((100, 50), bool), 40, 60)
    assert place == {"crop_top": 0, "crop_left": 0, "crop_height": 100, "crop_width": 50, "flipped": False}
    assert (image[:, :20] == 9).all()
    assert (image[:, 20:] == 0).all()
    image, _ = fit_to_network(np.full((30, 60), 9, np.uint16), np.ones((30, 60), bool), 60, 60)
    assert (image[15:45] == 9).all()
    assert image.sum() == 9 * 30 * 60
    image, _ = fit_to_network(np.full((30, 60), 9, np.uint16), np.ones((30, 60), bool), 60, 60, "stretch")
    assert (image == 9).all()


@pytest.mark.parametrize("wrong", [{"aspect": "crop"}, {"background": "black"}])
def test_unknown_choices_are_named(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(ValueError, match=f"{name}: '{value}' is unknown; allowed are"):
        fit_to_network(np.ones((9, 9), np.uint16), np.ones((9, 9), bool), 8, 8, **wrong)
