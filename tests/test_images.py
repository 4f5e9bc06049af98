"""Raster files, area averaging, the breast's mask and side, and the way from source to network and back."""

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import DigitalMammographyXRayImageStorageForPresentation, ExplicitVRLittleEndian, JPEG2000Lossless

from mammolib.headers import UnreadableImage
from mammolib.images import (
    area_resize,
    breast_is_right,
    breast_mask,
    fit_to_network,
    network_to_source,
    read_breast,
    read_image,
    source_to_network,
)
from mammolib.phantom_dicom import write_dataset

RULES = {"storage_classes": ["mammography"], "keep_burned_in": False, "spacing_range_mm": [0.01, 2.0]}


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
    pixels, facts = read_image(tmp_path / f"a{suffix}", RULES)
    assert pixels.dtype == np.uint16
    np.testing.assert_array_equal(pixels, values.astype(int) * factor)
    assert len(facts.pop("digest")) == 64
    assert facts == {"rows": 2, "columns": 3, "reduced": 1}


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_grey_jpeg_is_read_also_where_it_was_saved_as_rgb(tmp_path, mode):
    values = np.repeat(np.arange(0, 256, 4, dtype=np.uint8)[None], 64, axis=0)
    Image.fromarray(values).convert(mode).save(tmp_path / "a.JPG", quality=95)
    pixels, _ = read_image(tmp_path / "a.JPG", RULES)
    assert pixels.shape == (64, 64)
    np.testing.assert_allclose(pixels, values * 257.0, atol=2 * 257)


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize(
    "options",
    [{}, {"progressive": True}, {"restart_marker_rows": 2}, {"quality": 100, "subsampling": 0}, {"optimize": True}],
)
def test_jpeg_is_read_where_it_is_whole(tmp_path, mode, options):
    """Also with something after it, as some cameras write; Pillow fills up what is missing, and is silent."""
    rng = np.random.default_rng(0)
    values = (drawn_breast()[0] // 257 + rng.integers(0, 20, (300, 200)) - 10 * (rng.random((300, 200)) > 0.5)) % 256
    Image.fromarray(values.astype(np.uint8)).convert(mode).save(tmp_path / "a.jpg", **options)
    whole = (tmp_path / "a.jpg").read_bytes()
    pixels, _ = read_image(tmp_path / "a.jpg", RULES)
    for more in (bytes(7), b"a maker's notes", whole):
        (tmp_path / "a.jpg").write_bytes(whole + more)
        np.testing.assert_array_equal(read_image(tmp_path / "a.jpg", RULES)[0], pixels)
    n = len(whole)
    for damaged in (
        whole[: n // 2] + b"\xff\xd9",
        whole[: n // 2] + whole[n * 4 // 5 :],
        whole[: n // 2] + bytes(n // 3) + whole[n // 2 + n // 3 :],
        whole[: n // 2] + bytes(n // 6) + whole[n // 2 + n // 6 :],
    ):
        (tmp_path / "a.jpg").write_bytes(damaged)
        with pytest.raises(UnreadableImage, match="unreadable"):
            read_image(tmp_path / "a.jpg", RULES)


def test_bad_raster_files_give_a_reason(tmp_path):
    with pytest.raises(UnreadableImage, match="missing_file"):
        read_image(tmp_path / "none.png", RULES)
    (tmp_path / "a.png").write_bytes(b"\x89PNG not really")
    Image.fromarray(np.full((4, 4, 3), (9, 9, 10), np.uint8)).save(tmp_path / "b.png")
    Image.fromarray(np.array([[0, -1]], np.int32)).save(tmp_path / "c.tif")
    Image.fromarray(np.array([[0, 65536]], np.int32)).save(tmp_path / "d.tif")
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "e.png", "BMP")
    for name in ("a.png", "b.png", "c.tif", "d.tif", "e.png"):
        with pytest.raises(UnreadableImage, match="unreadable"):
            read_image(tmp_path / name, RULES)


@pytest.mark.parametrize("target", [(2, 3), (3, 2), (5, 4), (6, 6), (7, 11), (1, 1)])
def test_area_resize_equals_averaging_of_repeated_pixels(target):
    pixels = np.random.default_rng(1).integers(0, 65536, (6, 6)).astype(np.uint16)
    height, width = target
    fine = np.repeat(np.repeat(pixels.astype(float), height, 0), width, 1)  # the oracle: every share is whole
    expected = fine.reshape(height, 6, width, 6).mean(axis=(1, 3))
    np.testing.assert_allclose(area_resize(pixels, height, width), expected, rtol=1e-5)  # float32


@pytest.mark.parametrize("target", [(2, 3), (3, 2), (1, 1), (9, 8)])
def test_area_resize_of_a_box_equals_averaging_of_repeated_pixels(target):
    """The box goes from -1.5 to 4.75 and from 1.25 to 7.5: quarters of pixels, some beyond the edges."""
    pixels = np.random.default_rng(1).integers(0, 65536, (6, 6)).astype(np.uint16)
    height, width = target
    beyond = np.pad(pixels.astype(float), 2, mode="edge")  # what lies beyond is as its neighbour
    fine = np.repeat(np.repeat(beyond, 4 * height, 0), 4 * width, 1)
    fine = fine[2 * height : 27 * height, 13 * width : 38 * width]
    expected = fine.reshape(height, 25, width, 25).mean(axis=(1, 3))
    np.testing.assert_allclose(area_resize(pixels, height, width, (-1.5, 4.75, 1.25, 7.5)), expected, rtol=1e-5)


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


def test_padding_in_the_breast_is_no_breast():
    pixels, _ = drawn_breast()
    background = np.zeros(pixels.shape, bool)
    background[140:160, 20:40] = True  # a label blotted out
    pixels = np.where(background, 0, pixels)
    mask = breast_mask(pixels)
    assert mask[background].all()
    np.testing.assert_array_equal(breast_mask(pixels, background), mask & ~background)
    with pytest.raises(UnreadableImage, match="no_breast"):
        breast_mask(pixels, np.ones(pixels.shape, bool))


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


def write_breast(path, values, syntax=JPEG2000Lossless, **elements) -> None:
    """A mammogram of 12 bits."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = DigitalMammographyXRayImageStorageForPresentation, "1.2.3"
    dataset.Modality, dataset.PhotometricInterpretation, dataset.PixelRepresentation = "MG", "MONOCHROME2", 0
    dataset.SamplesPerPixel, dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 1, 16, 12, 11
    dataset.Rows, dataset.Columns = values.shape
    for name, value in elements.items():
        setattr(dataset, name, value)
    dataset.PixelData = values.astype("<u2").tobytes()
    dataset["PixelData"].VR = "OW"
    write_dataset(path, dataset, syntax)


def large_breast(rows, columns, height=0.35, width=0.6, right=False) -> np.ndarray:
    """Half an ellipse of slowly varying tissue of 12 bits with a bright spot in the middle of its upper half."""
    y, x = np.mgrid[:rows, :columns].astype(float)
    depth = 1 - ((y - rows * 0.5) / (rows * height)) ** 2 - (x / (columns * width)) ** 2
    values = 50 + (depth > 0) * (1500 + 300 * np.sin(x / 90) * np.cos(y / 70))
    values += 1500 * np.exp(-((y - rows * (0.5 - height / 2)) ** 2 + (x - columns * width / 3) ** 2) / 900)
    values = values.astype(np.uint16)
    return values[:, ::-1] if right else values


def network_of(path, side, aspect="pad", **options) -> tuple[np.ndarray, dict, dict]:
    pixels, mask, facts = read_breast(path, side, side, aspect, RULES)
    size = facts["rows"], facts["columns"]
    image, place = fit_to_network(pixels, mask, side, side, aspect, reduced=facts["reduced"], source=size, **options)
    return image, place, facts


@pytest.mark.parametrize("right", [False, True])
@pytest.mark.parametrize(("rows", "columns"), [(2560, 1920), (2553, 1914)])
def test_a_smaller_reading_makes_the_same_image_at_the_same_place(tmp_path, rows, columns, right):
    values = large_breast(rows, columns, right=right)
    write_breast(tmp_path / "whole", values, ExplicitVRLittleEndian)
    write_breast(tmp_path / "reduced", values)
    whole, place, facts = network_of(tmp_path / "whole", 112)
    image, where, less = network_of(tmp_path / "reduced", 112)
    assert (facts["reduced"], less["reduced"]) == (1, 8 if rows == 2560 else 2)
    assert (less["rows"], less["columns"]) == (rows, columns)
    assert less["breast_pixels"] == pytest.approx(facts["breast_pixels"], rel=0.01)
    assert where["flipped"] == place["flipped"] == right
    for name in ("crop_top", "crop_left", "crop_height", "crop_width"):
        assert abs(where[name] - place[name]) <= less["reduced"], name  # the mask's own grain
    inside = (whole > 0) & (image > 0)
    assert np.abs(image[inside] / 65535 - whole[inside] / 65535).mean() < 0.005


@pytest.mark.parametrize("reduced", [1, 2, 4, 8])
@pytest.mark.parametrize("aspect", ["pad", "stretch"])
@pytest.mark.parametrize("right", [False, True])
@pytest.mark.parametrize("box", [(400, 2000, 160, 1600), (0, 2553, 0, 1914)])
def test_a_slope_has_its_value_where_the_coordinates_say_at_every_resolution(reduced, aspect, right, box):
    """Pixel k of a lower resolution is the source's at k times `reduced`; a slope's area mean is its middle's value."""
    y, x = np.mgrid[:2553, :1914]
    slope, mask = (10 * x + 5 * y + 1000).astype(np.uint16), np.zeros(x.shape, bool)
    mask[box[0] : box[1], box[2] : box[3]] = True
    mask[box[0] : box[0] + 500, box[2] if right else box[3] - 1] = False  # the wall is the taller edge
    mask[box[0] : box[0] + 500, box[2] + 1 if right else box[3] - 2] = False
    small, cut = slope[::reduced, ::reduced], mask[::reduced, ::reduced]
    image, place = fit_to_network(small, cut, 112, 96, aspect, reduced=reduced, source=slope.shape)
    for name, begin, extent in (("top", box[0], box[1] - box[0]), ("left", box[2], box[3] - box[2])):
        size = "height" if name == "top" else "width"
        whole = box == (0, 2553, 0, 1914)
        assert abs(place[f"crop_{name}"] - begin) <= (0 if whole else reduced / 2)
        assert abs(place[f"crop_{size}"] - extent) <= (0 if whole else reduced)
    y, x = np.mgrid[:112, :96]
    x, y = network_to_source(x, y, place, 112, 96, aspect)
    within = (x > 12) & (x < 1914 - 12) & (y > 15) & (y < 2553 - 15) & (image > 0)  # beyond the last pixel it is flat
    assert within.sum() > 5000
    errors = image[within] - (10 * x[within] + 5 * y[within] + 1000)
    # rounding, and pixels cut through by an edge are flat; half a pixel of eight would be 26 to 52 everywhere
    assert np.abs(errors).max() <= 0.6 + 0.8 * (reduced - 1)
    assert abs(errors.mean()) < 0.1


@pytest.mark.parametrize(
    ("height", "width", "aspect", "reduced"),
    [
        (0.4, 0.6, "pad", 8),  # of 2560 x 1920 pixels the breast has 2048 x 1152: 256 x 144 of 224
        (0.4, 0.6, "stretch", 4),
        (0.4, 0.2, "pad", 8),  # 2048 x 384
        (0.4, 0.2, "stretch", 1),
        (0.12, 0.2, "pad", 2),  # 614 x 384
        (0.08, 0.2, "pad", 1),  # 410 x 384
    ],
)
def test_the_crop_covers_the_network_image_or_is_read_finer(tmp_path, height, width, aspect, reduced):
    write_breast(tmp_path / "a", large_breast(2560, 1920, height, width))
    pixels, _, facts = read_breast(tmp_path / "a", 224, 224, aspect, RULES)
    assert facts["reduced"] == reduced
    assert pixels.shape == (2560 // reduced, 1920 // reduced)


def test_a_small_network_leaves_the_breast_large_enough_to_be_found(tmp_path):
    write_breast(tmp_path / "a", large_breast(2560, 1920))
    pixels, _, _ = read_breast(tmp_path / "a", 32, 32, "pad", RULES)
    assert pixels.shape == (320, 240)


def test_read_breast_counts_padding_and_breast_in_source_pixels(tmp_path):
    values = large_breast(2560, 1920)
    values[:, 1600:] = 0
    write_breast(tmp_path / "a", values, PixelPaddingValue=0)
    write_breast(tmp_path / "b", values, ExplicitVRLittleEndian, PixelPaddingValue=0)
    facts, whole = (read_breast(tmp_path / name, 112, 112, "pad", RULES)[2] for name in "ab")
    assert facts["reduced"] > 1
    assert whole["background"] == 2560 * 320
    assert facts["background"] == pytest.approx(2560 * 320, abs=2560 * 8)  # a column of reduced pixels
    Image.fromarray((values * 16).astype(np.uint16)).save(tmp_path / "c.png")
    assert read_breast(tmp_path / "c.png", 112, 112, "pad", RULES)[2]["background"] == 0


@pytest.mark.parametrize("wrong", [{"aspect": "crop"}, {"background": "black"}])
def test_unknown_choices_are_named(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(ValueError, match=f"{name}: '{value}' is unknown; allowed are"):
        fit_to_network(np.ones((9, 9), np.uint16), np.ones((9, 9), bool), 8, 8, **wrong)
