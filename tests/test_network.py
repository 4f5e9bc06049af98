import keras
import numpy as np
import pytest

from mammolib.network import build_network, layer_table, take_weights


def convolutional(network: keras.Model) -> int:
    return sum(layer.count_params() for layer in network.layers if isinstance(layer, keras.layers.Conv2D))


def parameters(network: keras.Model) -> int:
    return sum(int(np.prod(variable.shape)) for variable in network.variables)


@pytest.fixture(scope="module")
def published() -> keras.Model:
    """VGG16 of keras.applications, random weights, no top: 14.7 million parameters, made once."""
    return keras.applications.VGG16(include_top=False, weights=None, input_shape=(32, 32, 3))


def test_parameter_counts_of_the_literature():
    """Configuration D of arXiv 1409.1556 (138 million at 224 px); at 32 px, lest a kernel of 103 million is drawn."""
    network = build_network((32, 32, 3), 1000, head="fc")
    assert convolutional(network) == 14_714_688
    # 224 px differ only in the first hidden layer: 7 x 7 cells of 512 channels come in, and not one
    assert parameters(network) + (7 * 7 - 1) * 512 * 4096 == 138_357_544


def test_fully_connected_head_has_the_published_shapes_at_224_pixels():
    with keras.device("cpu:0"):
        network = build_network((224, 224, 3), 1000, head="fc", width=1 / 16)
    units = [layer.units for layer in network.layers if isinstance(layer, keras.layers.Dense)]
    assert units == [256, 256, 1000]  # a sixteenth of 4096, twice, and the classes
    assert network.get_layer("flatten").output.shape[1] == 7 * 7 * 32
    assert parameters(network) == convolutional(network) + (7 * 7 * 32 + 1) * 256 + 257 * 256 + 257 * 1000


def test_names_are_those_of_keras_and_the_model_is_flat(published):
    network = build_network((64, 48, 1), 3, width=1 / 16)
    names = [layer.name for layer in network.layers]
    assert names[1:19] == [layer.name for layer in published.layers[1:]]
    assert names[-2:] == ["logits", "probabilities"]
    assert not any(isinstance(layer, keras.Model) for layer in network.layers)
    assert network.output.shape == (None, 3)


@pytest.mark.parametrize(
    ("head", "expected"),
    [("fc", ["flatten", "fc1", "fc2"]), ("dense256", ["flatten", "fc1", "fc1_normalization"]), ("gap", ["mean"])],
)
def test_heads(head, expected):
    network = build_network((32, 32, 1), 3, width=1 / 16, head=head)
    assert [layer.name for layer in network.layers[19:-2]] == expected


def test_authors_head_has_256_units_at_any_width_and_its_dropout():
    network = build_network((32, 32, 1), 3, width=1 / 16, head="dense256", dropout=0.5)
    assert network.get_layer("fc1").units == 256
    assert network.get_layer("fc1_dropout").rate == 0.5


def test_batch_normalisation_leaves_the_rectified_map_under_its_name():
    network = build_network((32, 32, 1), 3, width=1 / 16, head="gap", batch_normalization=True)
    assert network.get_layer("block5_conv3").activation is keras.activations.relu
    assert sum(isinstance(layer, keras.layers.BatchNormalization) for layer in network.layers) == 5


def test_seed_sets_every_layer_and_layers_differ():
    first, second, other = (build_network((32, 32, 1), 3, width=1 / 16, seed=seed) for seed in (3, 3, 4))
    assert all(np.array_equal(a, b) for a, b in zip(first.get_weights(), second.get_weights(), strict=True))
    assert not np.array_equal(first.get_weights()[0], other.get_weights()[0])
    block = [first.get_layer(f"block5_conv{index}").get_weights()[0] for index in (2, 3)]
    assert not np.array_equal(*block)


def test_initializer_spread():
    """He: variance 2 / fan-in; Glorot: 2 / (fan-in + fan-out). 20 736 draws, so 5 % is about five standard errors."""
    for name, fan in (("he_normal", 9 * 32), ("he_uniform", 9 * 32), ("glorot_uniform", 9 * 32 * 2)):
        kernel = build_network((32, 32, 1), 2, width=1 / 16, head="gap", initializer=name).get_layer("block5_conv2")
        assert np.var(kernel.get_weights()[0]) == pytest.approx(2 / fan, rel=0.07)


def test_one_channel_sums_rgb_kernels(published, tmp_path):
    published.save_weights(tmp_path / "vgg.weights.h5")
    network = build_network((32, 32, 1), 3, head="gap")
    taken = take_weights(network, str(tmp_path / "vgg.weights.h5"))
    assert len(taken) == 13
    last = keras.Model(network.input, network.get_layer("block5_pool").output)
    image = np.random.default_rng(0).random((1, 32, 32, 1)).astype(np.float32)
    grey = np.repeat(image, 3, axis=-1)
    # float32: three kernels summed before, not after, the products
    np.testing.assert_allclose(last(image), published(grey), rtol=1e-3, atol=1e-6)


def test_weights_of_a_keras_file_by_name_without_the_other_head(tmp_path):
    source = build_network((32, 32, 1), 3, width=1 / 16, head="gap", seed=1)
    source.save(tmp_path / "source.keras")
    network = build_network((64, 64, 1), 2, width=1 / 16, head="fc", seed=2)
    taken = take_weights(network, str(tmp_path / "source.keras"))
    assert taken == [name for name in taken if "conv" in name]
    assert len(taken) == 13
    for name in taken:
        pairs = zip(network.get_layer(name).get_weights(), source.get_layer(name).get_weights(), strict=True)
        assert all(np.array_equal(a, b) for a, b in pairs)
    with pytest.raises(ValueError, match=r"no convolution of .* fits this network"):
        take_weights(build_network((32, 32, 1), 3, width=1 / 8, head="gap"), str(tmp_path / "source.keras"))


def test_bad_weights_are_named(tmp_path):
    network = build_network((32, 32, 1), 3, width=1 / 16, head="gap")
    with pytest.raises(ValueError, match=r"allowed are null, imagenet, or a path"):
        take_weights(network, "weights.pth")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        take_weights(network, str(tmp_path / "none.keras"))


def test_an_unknown_head_and_too_small_an_image_are_named():
    with pytest.raises(ValueError, match="head: 'top' is unknown; allowed are fc, dense256, gap"):
        build_network((32, 32, 1), 3, head="top")
    with pytest.raises(ValueError, match="31 x 40 is too small"):
        build_network((31, 40, 1), 3)


def test_layer_table_adds_up():
    network = build_network((32, 32, 1), 3, width=1 / 16)
    rows = layer_table(network)
    assert sum(row["parameters"] for row in rows) == parameters(network)
    assert rows[0] == {"layer": "image", "kind": "InputLayer", "output": "32 x 32 x 1", "parameters": 0}


def test_scaling_stands_before_the_first_convolution_and_is_left_out_at_identity():
    scaled = build_network((32, 32, 1), 2, width=1 / 64, scaling=(2.0, -1.0))
    plain = build_network((32, 32, 1), 2, width=1 / 64)
    assert [layer.name for layer in scaled.layers[:3]] == ["image", "scaling", "block1_conv1"]
    assert [layer.name for layer in plain.layers[:2]] == ["image", "block1_conv1"]
    image = np.random.default_rng(0).random((1, 32, 32, 1), dtype=np.float32)
    plain.set_weights(scaled.get_weights())
    np.testing.assert_allclose(scaled(image), plain(2 * image - 1), rtol=1e-5)
