import re
import urllib.error
import zipfile

import h5py
import keras
import numpy as np
import pytest

from mammolib.network import IMAGENET_FILE, build_network, freeze, layer_table, take_weights


def convolutional(network: keras.Model) -> int:
    return sum(layer.count_params() for layer in network.layers if isinstance(layer, keras.layers.Conv2D))


def parameters(network: keras.Model) -> int:
    return sum(int(np.prod(variable.shape)) for variable in network.variables)


@pytest.fixture(scope="module")
def published() -> keras.Model:
    """VGG16 of keras.applications, random weights, no top: 14.7 million parameters, made once."""
    return keras.applications.VGG16(include_top=False, weights=None, input_shape=(32, 32, 3))


def taken(rows: list[dict]) -> list[str]:
    return [row["layer"] for row in rows if row["taken"]]


def same(layer: keras.Layer, other: keras.Layer) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(layer.get_weights(), other.get_weights(), strict=True))


def test_parameter_counts_of_the_literature():
    """Configuration D of arXiv 1409.1556: 138 million with 1,000 classes at 224 x 224 RGB (553 MB, built once)."""
    network = build_network((224, 224, 3), 1000, head="fc")
    assert convolutional(network) == 14_714_688
    assert parameters(network) == 138_357_544


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
    rows = take_weights(network, str(tmp_path / "vgg.weights.h5"))
    assert rows[0] == {
        "layer": "block1_conv1", "taken": True, "why": "three channels summed",
        "shapes": "3 x 3 x 1 x 64, 64", "stored": "3 x 3 x 3 x 64, 64",
    }  # fmt: skip
    assert taken(rows) == [layer.name for layer in published.layers if layer.weights]
    last = keras.Model(network.input, network.get_layer("block5_pool").output)
    image = np.random.default_rng(0).random((1, 32, 32, 1)).astype(np.float32)
    grey = np.repeat(image, 3, axis=-1)
    # float32: three kernels summed before, not after, the products
    np.testing.assert_allclose(last(image), published(grey), rtol=1e-3, atol=1e-6)


def test_file_of_keras_with_its_top_gives_the_same_network_but_for_the_other_name_of_the_last_layer(tmp_path):
    source = keras.applications.VGG16(weights=None, input_shape=(32, 32, 3), classes=5)
    source.save_weights(tmp_path / "vgg.weights.h5")
    network = build_network((32, 32, 3), 5, head="fc")
    rows = take_weights(network, str(tmp_path / "vgg.weights.h5"))
    shapes = "4096 x 5, 5"
    assert rows[-2:] == [
        {"layer": "logits", "taken": False, "why": "not in the file", "shapes": shapes, "stored": ""},
        {"layer": "predictions", "taken": False, "why": "not in this network", "shapes": "", "stored": shapes},
    ]
    assert len(taken(rows)) == 15
    assert all(same(network.get_layer(name), source.get_layer(name)) for name in taken(rows))
    network.get_layer("logits").set_weights(source.get_layer("predictions").get_weights())
    image = np.random.default_rng(0).random((2, 32, 32, 3)).astype(np.float32)
    np.testing.assert_allclose(network(image), source(image), rtol=1e-5)  # float32


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_own_file_gives_every_layer_back_and_prints_no_path(suffix, tmp_path, capsys):
    settings = {"width": 1 / 32, "head": "dense256", "batch_normalization": True, "dropout": 0.5, "scaling": (2, -1)}
    source = build_network((32, 32, 1), 3, **settings, seed=1)
    image = np.random.default_rng(0).random((4, 32, 32, 1), dtype=np.float32)
    source(image, training=True)  # moves the normalisations' means and variances from 0 and 1
    path = str(tmp_path / f"source{suffix}")
    source.save(path) if suffix == ".keras" else source.save_weights(path)
    network = build_network((32, 32, 1), 3, **settings, seed=2)
    rows = take_weights(network, path)
    assert all(same(*layers) for layers in zip(network.layers, source.layers, strict=True))
    assert taken(rows) == [layer.name for layer in source.layers if layer.weights]
    assert {row["why"] for row in rows} == {""}
    assert capsys.readouterr().out == ""


def test_head_that_does_not_fit_stays_as_it_was_and_is_said(tmp_path):
    build_network((64, 64, 1), 3, width=1 / 16, head="fc", seed=1).save(tmp_path / "source.keras")
    network = build_network((32, 32, 1), 2, width=1 / 16, head="fc", seed=2)
    before = [network.get_layer(name).get_weights()[0] for name in ("fc1", "logits")]
    rows = take_weights(network, str(tmp_path / "source.keras"))
    other = [row for row in rows if not row["taken"]]
    assert other == [
        {"layer": "fc1", "taken": False, "why": "other shapes", "shapes": "32 x 256, 256", "stored": "128 x 256, 256"},
        {"layer": "logits", "taken": False, "why": "other shapes", "shapes": "256 x 2, 2", "stored": "256 x 3, 3"},
    ]
    after = [network.get_layer(name).get_weights()[0] for name in ("fc1", "logits")]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


def test_no_weights_are_a_report_of_random_layers():
    network = build_network((32, 32, 1), 3, width=1 / 64, head="gap")
    rows = take_weights(network, None)
    assert [row["layer"] for row in rows] == [layer.name for layer in network.layers if layer.weights]
    assert {(row["taken"], row["why"], row["stored"]) for row in rows} == {(False, "random", "")}


def test_weights_of_another_width_name_file_layer_and_both_shapes_and_set_nothing(tmp_path):
    path = str(tmp_path / "wide.weights.h5")
    build_network((32, 32, 1), 3, width=1 / 8, head="gap").save_weights(path)
    network = build_network((32, 32, 1), 3, width=1 / 16, head="gap")
    before = network.get_weights()
    message = (
        f"weights: {path}: block1_conv1 is 3 x 3 x 1 x 8, 8, in this network 3 x 3 x 1 x 4, 4; see width and channels"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        take_weights(network, path)
    assert all(np.array_equal(a, b) for a, b in zip(before, network.get_weights(), strict=True))


def test_networks_that_are_no_vgg_16_are_named(tmp_path):
    network = build_network((32, 32, 1), 3, width=1 / 64, head="gap")
    image = keras.Input((32, 32, 1))
    flat = keras.layers.Flatten()(image)
    keras.Model(image, keras.layers.Dense(2)(flat)).save(tmp_path / "dense.keras")
    with pytest.raises(ValueError, match=r"dense\.keras holds no layer named block1_conv1; allowed is a VGG-16"):
        take_weights(network, str(tmp_path / "dense.keras"))
    deeper = keras.layers.Conv2D(8, 3, padding="same", name="block5_conv4")(network.get_layer("block5_conv3").output)
    keras.Model(network.input, deeper).save(tmp_path / "vgg19.keras")
    with pytest.raises(
        ValueError, match=r"vgg19\.keras holds block5_conv4 \(3 x 3 x 8 x 8, 8\), which VGG-16 does not"
    ):
        take_weights(network, str(tmp_path / "vgg19.keras"))


def test_files_that_are_missing_unreadable_or_of_another_kind_are_named(tmp_path):
    network = build_network((32, 32, 1), 3, width=1 / 64, head="gap")
    with pytest.raises(ValueError, match=r"'weights\.pth'; allowed are null, imagenet, or a path to a \.keras"):
        take_weights(network, "weights.pth")
    with pytest.raises(FileNotFoundError, match=r"none\.keras does not exist"):
        take_weights(network, str(tmp_path / "none.keras"))
    network.save(tmp_path / "whole.keras")
    network.save_weights(tmp_path / "whole.weights.h5")
    for suffix in (".keras", ".weights.h5"):
        content = (tmp_path / f"whole{suffix}").read_bytes()
        for name, part in (("empty", b""), ("text", b"version https://git-lfs"), ("cut", content[: len(content) // 2])):
            (tmp_path / (name + suffix)).write_bytes(part)
            with pytest.raises(ValueError, match=rf"{name}{suffix} can't be read as a file of Keras \(.+\)"):
                take_weights(network, str(tmp_path / (name + suffix)))
    with zipfile.ZipFile(tmp_path / "other.keras", "w") as archive:
        archive.writestr("data.pkl", b"")
    with pytest.raises(ValueError, match=r"other\.keras can't be read"):
        take_weights(network, str(tmp_path / "other.keras"))
    h5py.File(tmp_path / "hollow.weights.h5", "w").close()
    with pytest.raises(ValueError, match=r"hollow\.weights\.h5 holds no layer named block1_conv1"):
        take_weights(network, str(tmp_path / "hollow.weights.h5"))


@pytest.mark.parametrize("content", [None, b"half of a download"])
def test_imagenet_without_internet_names_the_file_and_the_folder_of_keras_home(content, tmp_path, monkeypatch):
    def unreachable(*_):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr("keras.src.utils.file_utils.urlretrieve", unreachable)
    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path))  # Keras reads KERAS_HOME when imported
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    (tmp_path / "models").mkdir()
    if content:
        (tmp_path / "models" / IMAGENET_FILE).write_bytes(content)
    with pytest.raises(FileNotFoundError) as error:
        take_weights(build_network((32, 32, 1), 3, head="gap"), "imagenet")
    said = str(error.value)
    assert f"neither whole in {tmp_path}/models nor to be fetched; put {IMAGENET_FILE} there" in said
    assert f"{IMAGENET_FILE}: None -- no route to host" in said  # Keras asked for the very file that is named


def test_imagenet_is_taken_by_keras_own_loader(published, monkeypatch):
    asked = []
    monkeypatch.setattr(keras.applications, "VGG16", lambda **arguments: asked.append(arguments) or published)
    network = build_network((32, 32, 3), 3, head="gap")
    take_weights(network, "imagenet")
    assert asked == [{"include_top": False, "weights": "imagenet"}]
    assert all(same(network.get_layer(layer.name), layer) for layer in published.layers if layer.weights)


def test_imagenet_for_another_width_is_refused_before_it_is_fetched(monkeypatch):
    monkeypatch.setattr(keras.applications, "VGG16", lambda **_: pytest.fail("fetched"))
    with pytest.raises(ValueError, match=r"imagenet has 64 channels first, this network 8; allowed is width 1\.0"):
        take_weights(build_network((32, 32, 1), 3, width=1 / 8, head="gap"), "imagenet")


def step(network: keras.Model) -> set[str]:
    """Take one step of SGD on 8 random images and return the names of the layers with other arrays than before."""
    before = [layer.get_weights() for layer in network.layers]
    network.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    network.train_on_batch(np.random.default_rng(0).random((8, 32, 32, 1), dtype=np.float32), np.arange(8) % 3)
    return {
        layer.name
        for layer, old in zip(network.layers, before, strict=True)
        if any(not np.array_equal(a, b) for a, b in zip(layer.get_weights(), old, strict=True))
    }


def test_frozen_blocks_keep_every_array_and_the_rest_moves():
    """Blocks 1 to 2 with 4 convolutions; the running means and variances of their normalisations stay as well."""
    network = build_network((32, 32, 1), 3, width=1 / 16, head="dense256", batch_normalization=True)
    names = {layer.name for layer in network.layers if layer.weights}
    low = {f"block{block}_{part}" for block in (1, 2) for part in ("conv1", "conv2", "normalization")}
    freeze(network, 2)
    assert step(network) == names - low
    freeze(network, 5)  # phase one of fine-tuning: the head alone
    assert step(network) == {"fc1", "fc1_normalization", "logits"}
    freeze(network, 0)
    assert step(network) == names


def test_frozen_normalisation_uses_its_stored_mean_and_variance_while_the_rest_trains():
    network = build_network((32, 32, 1), 3, width=1 / 16, head="gap", batch_normalization=True)
    image = np.random.default_rng(1).random((8, 32, 32, 1), dtype=np.float32)
    blocks = keras.Model(network.input, network.get_layer("mean").output)
    assert not np.array_equal(blocks(image, training=True), blocks(image, training=False))
    freeze(network, 5)
    np.testing.assert_array_equal(blocks(image, training=True), blocks(image, training=False))


@pytest.mark.parametrize(("blocks", "frozen"), [(0, 0), (1, 2), (2, 4), (3, 7), (4, 10), (5, 13)])
def test_blocks_of_two_two_three_three_and_three_convolutions_are_frozen(blocks, frozen):
    network = build_network((32, 32, 1), 3, width=1 / 64, head="fc")
    freeze(network, blocks)
    assert [layer.name for layer in network.layers if "_conv" in layer.name and not layer.trainable] == [
        layer.name for layer in network.layers if "_conv" in layer.name
    ][:frozen]
    assert all(network.get_layer(name).trainable for name in ("fc1", "fc2", "logits"))


def test_more_blocks_than_five_cannot_be_frozen():
    network = build_network((32, 32, 1), 3, width=1 / 64)
    for blocks in (-1, 6):
        with pytest.raises(ValueError, match=rf"frozen_blocks: {blocks}; allowed is 0 to 5"):
            freeze(network, blocks)


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


def test_weights_that_are_no_numbers_are_refused_with_file_and_layer(tmp_path):
    network = build_network((32, 32, 1), 2, width=1 / 64, head="gap", seed=1)
    kernel, bias = network.get_layer("block3_conv2").get_weights()
    network.get_layer("block3_conv2").set_weights([np.full_like(kernel, np.nan), bias])
    path = tmp_path / "broken.keras"
    network.save(path)
    with pytest.raises(ValueError, match=r"broken\.keras: block3_conv2 holds values that are no finite numbers"):
        take_weights(network, str(path))
