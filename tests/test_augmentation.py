import inspect
import re

import keras
import numpy as np
import pytest
from scipy import ndimage

from mammolib.augmentation import Augmentation, transforms
from mammolib.training import make_trainer, reseed

PLAIN = {"rotation": 0.0, "shift": 0.0, "flip_vertical": False, "flip_horizontal": False, "brightness": 0.0}
FILLS = [("constant", "grid-constant"), ("reflect", "reflect")]  # each with SciPy's name for it


def smooth(height: int = 20, width: int = 26) -> np.ndarray:
    """One image in [0, 1] whose edges are not 0, so that the fill shows."""
    return ndimage.gaussian_filter(np.random.default_rng(0).random((height, width)), 1).astype(np.float32)


def by_scipy(image: np.ndarray, angle: float, shift: np.ndarray, flips: np.ndarray, mode: str) -> np.ndarray:
    """Flip, rotate about the centre, shift by (rows, columns): built in SciPy's row-first convention, in float64."""
    rotate = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    matrix = np.diag(flips) @ rotate  # from output (row, column) about the centre to input
    centre = (np.array(image.shape) - 1) / 2
    offset = centre - matrix @ (centre + shift)
    return ndimage.affine_transform(image, matrix, offset, order=1, mode=mode)


@pytest.mark.parametrize(("fill", "mode"), FILLS)
@pytest.mark.parametrize("flips", [(1, 1), (-1, 1), (1, -1), (-1, -1)])
def test_resampling_equals_scipy(fill, mode, flips):
    image, angle, rows, columns = smooth(), 0.1, 1.7, -2.3
    values = [np.array([value], np.float32) for value in (angle, rows, columns, *flips)]
    result = keras.ops.image.affine_transform(
        image[None, ..., None], transforms(*values, *image.shape), interpolation="bilinear", fill_mode=fill
    )
    expected = by_scipy(image, angle, np.array([rows, columns]), np.array(flips), mode)
    # float32 coordinates of about 20 are good to 2e-6, and neighbours differ by less than 1
    np.testing.assert_allclose(np.asarray(result)[0, ..., 0], expected, atol=1e-5)


@pytest.mark.parametrize(("fill", "mode"), FILLS)
@pytest.mark.parametrize("stretch", [False, True])
def test_layer_equals_scipy_on_its_own_draw(fill, mode, stretch):
    """Ranges, flips, the maximum of the moved image, the product and the clip: all that the layer does, per image."""
    random = np.random.default_rng(1).random((16, 20, 26))
    images = ndimage.gaussian_filter(random, (0, 1, 1)).astype(np.float32)
    images *= np.float32(0.95) / images.max(axis=(1, 2), keepdims=True)  # only a part of the factors clips
    layer = Augmentation(rotation=0.3, shift=0.2, brightness=0.4, stretch=stretch, fill=fill, seed=3)
    result = np.asarray(layer(images[..., None], training=True))[..., 0]
    generator = keras.random.SeedGenerator(3)  # in the state in which the layer drew
    draw = np.asarray(keras.random.uniform((6, 16), -1, 1, dtype="float32", seed=generator)).astype(float)
    flips = np.where(draw[3:5] < 0, -1, 1)
    assert len(np.unique(flips, axis=1).T) == 4
    clipped = []
    for number, image in enumerate(images):
        shift = draw[1:3, number] * 0.2 * image.shape
        moved = by_scipy(image.astype(float), draw[0, number] * 0.3, shift, flips[:, number], mode)
        product = moved / (moved.max() if stretch else 1) * (1 + 0.4 * draw[5, number])
        clipped.append(product.max() > 1)
        # as above, and the factors (up to 1.4, and 1 by the maximum) enlarge the error by less than 2
        np.testing.assert_allclose(result[number], np.minimum(product, 1), atol=1e-5)
    assert 0 < sum(clipped) < 16


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


def test_stretch_divides_by_each_images_own_maximum():
    first, second = [[0, 0.2], [0.4, 0.1]], [[0.8, 0.2], [0, 0.4]]
    images = np.array([first, second, np.zeros((2, 2))], np.float32)[..., None]
    result = np.asarray(Augmentation(**PLAIN, stretch=True)(images, training=True))[..., 0]
    expected = [[[0, 0.5], [1, 0.25]], [[1, 0.25], [0, 0.5]], [[0, 0], [0, 0]]]
    np.testing.assert_allclose(result, expected, atol=1e-6)
    assert (result[2] == 0).all()
    # the factor comes after: the brightest is the factor itself, or 1
    bright = Augmentation(**{**PLAIN, "brightness": 0.5}, stretch=True)
    result = np.asarray(bright(np.repeat(images[:1], 16, axis=0), training=True))[..., 0]
    factors = result[:, 0, 1] / 0.5  # up to 1.5, which no clip reaches here
    np.testing.assert_allclose(result[:, 1, 0], np.minimum(factors, 1), atol=1e-6)
    assert factors.min() < 1 < factors.max()


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


def test_layer_is_saved_and_loaded_with_all_its_arguments(tmp_path):
    settings = {
        "rotation": 0.2, "shift": 0.3, "flip_vertical": False, "flip_horizontal": False, "brightness": 0.4,
        "stretch": True, "fill": "constant", "seed": 2**32 - 1, "name": "moves", "dtype": "float32",
    }  # fmt: skip
    arguments = inspect.signature(Augmentation).parameters
    own = set(arguments) - {"kwargs"}
    assert all(settings[name] != arguments[name].default for name in own)
    images = np.repeat(smooth()[None, ..., None], 2, axis=0)
    model = keras.Sequential([keras.Input(images.shape[1:]), Augmentation(**settings)])
    first = np.asarray(model(images, training=True))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    layer = loaded.get_layer("moves")
    config = layer.get_config()
    assert {name: config[name] for name in own} == {name: settings[name] for name in own}
    assert layer.compute_dtype == "float32"
    assert np.array_equal(np.asarray(loaded.predict_on_batch(images)), images)
    assert np.array_equal(np.asarray(loaded(images, training=True)), first)  # the seed, not the state, is saved
    for each in (model, loaded):
        reseed(each, 7, 2)
    again = np.asarray(model(images, training=True))
    assert np.array_equal(np.asarray(loaded(images, training=True)), again)
    assert not np.array_equal(again, first)


def test_layer_runs_in_the_compiled_step():
    image = keras.Input((16, 16, 1))
    logits = keras.layers.Dense(2, name="logits")(keras.layers.GlobalAveragePooling2D()(image))
    layer = Augmentation(stretch=True)
    trainer = make_trainer(keras.Model(image, logits), keras.optimizers.SGD(), layer)
    state = np.asarray(layer.generator.state)
    images = np.stack([smooth(16, 16), np.zeros((16, 16), np.float32)])[..., None]
    loss, _ = trainer.train_on_batch(images, np.array([0, 1]))
    assert np.isfinite(loss)
    assert not np.array_equal(np.asarray(layer.generator.state), state)  # the next step draws anew


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("rotation", -0.1, "0 <= rotation < inf"),
        ("rotation", np.inf, "0 <= rotation < inf"),
        ("shift", -0.1, "0 <= shift < 1"),
        ("shift", 1.0, "0 <= shift < 1"),
        ("brightness", -0.1, "0 <= brightness < 1"),
        ("brightness", 1.0, "0 <= brightness < 1"),
        ("brightness", np.nan, "0 <= brightness < 1"),
    ],
)
def test_range_that_is_not_allowed_is_refused(name, value, allowed):
    with pytest.raises(ValueError, match=rf"^{name}: {value}; allowed is {allowed}$"):
        Augmentation(**{name: value})


def test_unknown_fill_is_refused():
    message = "fill: 'nearest' is unknown; allowed are constant, reflect"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Augmentation(fill="nearest")
