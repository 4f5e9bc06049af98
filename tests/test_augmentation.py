import keras
import numpy as np
import pytest
from scipy import ndimage

from mammolib.augmentation import Augmentation, transforms
from mammolib.training import reseed

PLAIN = {"rotation": 0.0, "shift": 0.0, "flip_vertical": False, "flip_horizontal": False, "brightness": 0.0}


def smooth(height: int = 20, width: int = 26) -> np.ndarray:
    """One image in [0, 1] whose edges are not 0, so that the fill shows."""
    return ndimage.gaussian_filter(np.random.default_rng(0).random((height, width)), 1).astype(np.float32)


@pytest.mark.parametrize(("fill", "mode"), [("constant", "grid-constant"), ("reflect", "reflect")])
@pytest.mark.parametrize("flips", [(1, 1), (-1, 1), (1, -1), (-1, -1)])
def test_resampling_equals_scipy(fill, mode, flips):
    """Flip, rotate about the centre, shift: built in SciPy's row-first convention from the three steps."""
    image, angle, rows, columns = smooth(), 0.1, 1.7, -2.3
    values = [np.array([value], np.float32) for value in (angle, rows, columns, *flips)]
    result = keras.ops.image.affine_transform(
        image[None, ..., None], transforms(*values, *image.shape), interpolation="bilinear", fill_mode=fill
    )
    rotate = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    matrix = np.diag(flips) @ rotate  # from output (row, column) about the centre to input
    centre = (np.array(image.shape) - 1) / 2
    offset = centre - matrix @ (centre + np.array([rows, columns]))
    expected = ndimage.affine_transform(image, matrix, offset, order=1, mode=mode)
    # float32 coordinates of about 20 are good to 2e-6, and neighbours differ by less than 1
    np.testing.assert_allclose(np.asarray(result)[0, ..., 0], expected, atol=1e-5)


def test_shift_moves_down_and_right():
    image = np.zeros((1, 8, 8, 1), np.float32)
    image[0, 2, 3, 0] = 1
    one, still = np.ones(1, np.float32), np.zeros(1, np.float32)
    result = keras.ops.image.affine_transform(image, transforms(still, 2 * one, 3 * one, one, one, 8, 8))
    assert np.asarray(result)[0, 4, 6, 0] == pytest.approx(1)


def test_nothing_happens_at_inference_or_with_all_ranges_zero():
    images = np.repeat(smooth()[None, ..., None], 3, axis=0)
    assert np.array_equal(np.asarray(Augmentation()(images, training=False)), images)
    np.testing.assert_allclose(np.asarray(Augmentation(**PLAIN)(images, training=True)), images, atol=1e-6)


def test_brightness_multiplies_within_its_range_and_keeps_the_background():
    images = np.full((64, 8, 8, 1), 0.5, np.float32)
    images[:, :4] = 0
    result = np.asarray(Augmentation(**{**PLAIN, "brightness": 0.1})(images, training=True))
    factors = result[:, 4:].mean(axis=(1, 2, 3)) / 0.5
    assert (result[:, :4] == 0).all()
    assert 0.9 <= factors.min() < 0.92
    assert 1.08 < factors.max() <= 1.1
    bright = np.asarray(Augmentation(**{**PLAIN, "brightness": 0.1})(np.ones_like(images), training=True))
    assert bright.max() == 1


def test_both_flips_occur_in_all_four_combinations():
    image = np.arange(4, dtype=np.float32).reshape(1, 2, 2, 1) / 4
    settings = {**PLAIN, "flip_vertical": True, "flip_horizontal": True}
    result = np.asarray(Augmentation(**settings)(np.repeat(image, 64, axis=0), training=True)).round(3)
    corners, counts = np.unique(result[:, 0, 0, 0], return_counts=True)
    assert corners.tolist() == [0, 0.25, 0.5, 0.75]
    assert counts.min() >= 5  # 16 expected, standard deviation 3.5


def test_draws_follow_from_seed_and_epoch():
    images = np.repeat(smooth()[None, ..., None], 2, axis=0)
    model = keras.Sequential([keras.Input(images.shape[1:]), Augmentation(seed=5)])

    def draw(epoch: int) -> np.ndarray:
        reseed(model, 7, epoch)
        return np.asarray(model(images, training=True))

    first = draw(1)
    assert np.array_equal(first, draw(1))
    assert not np.array_equal(first, draw(2))
    assert not np.array_equal(first[0], first[1])
