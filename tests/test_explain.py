"""Maps against an independent GradientTape, on networks of 32 pixels."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mammolib.explain import (
    class_maps,
    display_maps,
    flag_empty,
    last_of_each_grid,
    map_similarity,
    randomised,
    require_flat,
    spatial_layers,
    unseen_maps,
)

LAYERS = ("block1_conv1", "block1_conv2", "block1_pool", "block2_conv1")


def small_network(seed: int = 0, side: int = 32, classes: int = 3, policy: str = "float32") -> keras.Model:
    initial = {"kernel_initializer": keras.initializers.GlorotNormal(seed), "dtype": policy}
    x = inputs = keras.Input((side, side, 1))
    for name in LAYERS:
        if name.endswith("pool"):
            x = keras.layers.MaxPooling2D(name=name, dtype=policy)(x)
        else:
            x = keras.layers.Conv2D(4, 3, padding="same", activation="relu", name=name, **initial)(x)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dense(classes, name="logits", kernel_initializer=keras.initializers.GlorotNormal(seed + 1))(x)
    return keras.Model(inputs, keras.layers.Activation("softmax", name="probabilities")(x))


@pytest.fixture(scope="module")
def network():
    return small_network()


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(1).integers(0, 65536, (5, 32, 32), dtype=np.uint16)


def oracle(network, images, layer, index, method):
    """One image at a time, from the papers' formulas, without tf-keras-vis."""
    cut = keras.Model(network.inputs, [network.get_layer(layer).output, network.get_layer("logits").output])
    maps = []
    for image in images:
        x = tf.constant(image[None, :, :, None] / 65535.0, tf.float32)
        with tf.GradientTape() as tape:
            activations, logits = cut(x)
            score = logits[0, index]
        gradients = tape.gradient(score, activations).numpy()[0].astype(float)
        weights = gradients.mean(axis=(0, 1)) if method == "gradcam" else np.maximum(gradients, 0)
        maps.append((activations.numpy()[0] * weights).sum(axis=-1))
    return np.array(maps)


@pytest.mark.parametrize("method", ["gradcam", "layercam"])
@pytest.mark.parametrize("layer", LAYERS)
def test_raw_maps_equal_the_tape(network, images, layer, method):
    maps = class_maps(network, images, layer, (2, 0), method, batch_size=2)
    assert maps.dtype == np.float32
    for k, index in enumerate((2, 0)):
        expected = oracle(network, images, layer, index, method)
        assert maps[:, k].shape == expected.shape
        # float32 sums of four channels, in another order
        np.testing.assert_allclose(maps[:, k], expected, rtol=1e-4, atol=1e-6 * np.abs(expected).max())
    if method == "gradcam":
        assert (maps < 0).any(), "the sign is kept"


def test_a_sure_network_still_has_maps(network, images):
    """Softmax saturates at logits hundreds apart; maps of logits only grow with the last layer's weights."""
    sure = keras.models.clone_model(network)
    sure.set_weights(network.get_weights())
    kernel, bias = sure.get_layer("logits").get_weights()
    sure.get_layer("logits").set_weights([1e4 * kernel, bias])
    assert sure.predict_on_batch(images[..., None] / np.float32(65535)).max() == 1
    plain = class_maps(network, images, "block2_conv1", (0, 1, 2))
    np.testing.assert_allclose(class_maps(sure, images, "block2_conv1", (0, 1, 2)), 1e4 * plain, rtol=1e-3)


def test_stored_and_converted_images_give_the_same_maps(network, images):
    floats = (images[..., None] / np.float64(65535)).astype(np.float32)
    stored = class_maps(network, images, "block1_pool", (1,))
    np.testing.assert_allclose(stored, class_maps(network, floats, "block1_pool", (1,)), rtol=1e-4, atol=1e-6)


def test_bfloat16_networks_give_float32_maps(images):
    half = small_network(policy="mixed_bfloat16")
    half.set_weights(small_network().get_weights())
    maps = class_maps(half, images, "block2_conv1", (0, 1, 2))
    exact = class_maps(small_network(), images, "block2_conv1", (0, 1, 2))
    assert maps.dtype == np.float32
    # bfloat16 has 8 bits; errors add up over two layers and four channels
    assert np.abs(maps - exact).max() < 0.05 * np.abs(exact).max()


def test_layers_are_listed_with_their_cells(network):
    table = spatial_layers(network)
    assert list(table["layer"]) == list(LAYERS)
    assert list(table["rows"]) == [32, 32, 16, 16]
    assert list(table["cell"]) == [1, 1, 2, 2]
    assert list(table["field"]) == [3, 5, 6, 10]  # 3 x 3 twice, 2 x 2, then 3 x 3 at two pixels a step
    assert list(last_of_each_grid(network)["layer"]) == ["block1_conv2", "block2_conv1"]


def test_a_dropped_row_does_not_change_the_cell():
    assert list(spatial_layers(small_network(side=33))["cell"]) == [1, 1, 2, 2]  # 33 // 2 = 16 rows of 2 pixels


def test_bad_layers_and_classes_are_named(network, images):
    with pytest.raises(ValueError, match=r"'block9_conv1' does not exist .*block1_conv1, block1_conv2, block1_pool"):
        class_maps(network, images, "block9_conv1", (0,))
    with pytest.raises(ValueError, match=r"'logits' has no spatial extent .*block2_conv1"):
        class_maps(network, images, "logits", (0,))
    with pytest.raises(ValueError, match=r"class 3 is not among the model's 3 logits"):
        class_maps(network, images, "block1_pool", (0, 3))


def test_models_that_can_not_be_cut_are_refused(network):
    nested = keras.Sequential([keras.Input((32, 32, 1)), network])
    outer = keras.Input((32, 32, 1))
    with pytest.raises(ValueError, match="is a Sequential: maps need a flat functional model"):
        require_flat(nested)
    with pytest.raises(ValueError, match="holds a model as its layer"):
        require_flat(keras.Model(outer, network(outer)))
    with pytest.raises(ValueError, match="no layer 'logits'"):
        require_flat(keras.Model(outer, keras.layers.Flatten()(outer)))


def test_each_image_is_explained_by_the_model_that_did_not_see_it(images):
    models = [(0, small_network(0)), (1, small_network(7))]
    folds = np.array([0, 1, -1, 1, -1])
    maps = unseen_maps(models, images, folds, "block1_pool", (0, 1))
    each = [class_maps(model, images, "block1_pool", (0, 1)) for _, model in models]
    np.testing.assert_allclose(maps[0], each[0][0], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(maps[[1, 3]], each[1][[1, 3]], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(maps[[2, 4]], (each[0] + each[1])[[2, 4]] / 2, rtol=1e-5, atol=1e-7)
    twice = unseen_maps([*models, (0, models[1][1])], images, folds, "block1_pool", (0, 1))
    np.testing.assert_allclose(twice[0], (each[0] + each[1])[0] / 2, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(twice[1], maps[1], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(twice[2], (each[0] + 2 * each[1])[2] / 3, rtol=1e-5, atol=1e-7)
    with pytest.raises(ValueError, match="fold 2 has no model"):
        unseen_maps(models, images, folds + 1, "block1_pool", (0,))


def test_empty_maps_are_flagged_and_display_keeps_one_scale():
    maps = np.array([[[[-1.0, 0.0]], [[2.0, -3.0]], [[1.0, 0.5]]], [[[-1.0, -2.0]], [[0.0, 0.0]], [[np.nan, -1.0]]]])
    np.testing.assert_array_equal(flag_empty(maps), [[True, False, False], [True, True, True]])
    shown = display_maps(np.nan_to_num(maps))
    np.testing.assert_array_equal(shown[0], [[[0, 0]], [[1, 0]], [[0.5, 0.25]]])
    np.testing.assert_array_equal(shown[1], 0)


def test_randomised_weights_are_the_same_numbers_elsewhere(network):
    mixed = randomised(network, seed=3)
    for before, after in zip(network.get_weights(), mixed.get_weights(), strict=True):
        np.testing.assert_array_equal(np.sort(before, axis=None), np.sort(after, axis=None))
    assert not np.array_equal(network.get_weights()[0], mixed.get_weights()[0])
    again = randomised(network, seed=3)
    np.testing.assert_array_equal(mixed.get_weights()[0], again.get_weights()[0])


def test_similarity_is_a_rank_correlation_inside_the_breast():
    maps = np.arange(12.0).reshape(2, 2, 3)
    inside = np.ones((2, 2, 3), bool)
    inside[:, 0, 0] = False
    other = np.exp(maps)  # same ranks
    other[:, 0, 0] = 1e9  # outside: must not count
    other[1] = 7  # constant
    similarity = map_similarity(maps, other, inside)
    assert similarity[0] == pytest.approx(1)
    assert np.isnan(similarity[1])
    assert map_similarity(maps[:1], -maps[:1], inside[:1])[0] == pytest.approx(-1)
