"""VGG-16 (Simonyan and Zisserman, arXiv 1409.1556, configuration D) as one flat functional Keras model.

Layer names are those of ``keras.applications.VGG16`` (``block1_conv1`` ... ``block5_conv3``), so that maps and weights
find their layer by name; the last two layers are always ``logits`` (linear) and ``probabilities`` (softmax).
"""

import os
from pathlib import Path

import keras
import numpy as np
from IPython.utils.capture import capture_output

from mammolib.parameters import CHOICES, require_choice

BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # channels, convolutions; a 2 x 2 maximum follows each block
CONVOLUTIONS = tuple(f"block{block}_conv{i}" for block, (_, last) in enumerate(BLOCKS, 1) for i in range(1, last + 1))
FULLY_CONNECTED = 4096
INITIALIZERS = {
    "glorot_uniform": keras.initializers.GlorotUniform,
    "he_normal": keras.initializers.HeNormal,
    "he_uniform": keras.initializers.HeUniform,
}
IMAGENET_FILE = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"


def scaled(channels: int, width: float) -> int:
    """Return the number of channels at a share ``width`` of the published one (at least 1)."""
    return max(1, round(channels * width))


def build_network(
    input_shape: tuple[int, int, int],
    classes: int,
    *,
    width: float = 1.0,
    head: str = "fc",
    batch_normalization: bool = False,
    dropout: float = 0.0,
    initializer: str = "glorot_uniform",
    scaling: tuple[float, float] = (1.0, 0.0),
    seed: int = 0,
    dtype_policy: str = "float32",
) -> keras.Model:
    """Build VGG-16 at any width and input size.

    Parameters
    ----------
    input_shape
        (height, width, channels) of the float32 input in [0, 1]; at least 32 x 32, 1 or 3 channels.
    classes
        Number of classes, at least 2.
    width
        Share of the published channels: 1.0 is 64 to 512, 1/8 is 8 to 64. Fully connected layers shrink likewise.
    head
        ``fc``: flatten, two of 4096 * width, classes (the paper). ``dense256``: flatten, 256 (He normal), batch
        normalisation, dropout (the authors' public code). ``gap``: mean over the last block's cells, dropout.
    batch_normalization
        Normalise after each block's maximum: ``block5_conv3`` stays the rectified map in either case, and five layers
        on the smaller maps cost a few per cent where thirteen after the convolutions double the step.
    dropout
        Share dropped after each hidden layer of the head (before ``logits``, for ``gap``).
    initializer
        Of every kernel, each with its own seed drawn from `seed`; dense256's hidden layer is always He normal.
    scaling
        Factor and offset of the first layer, which is left out at (1, 0): the convolutions see factor * x + offset.
    dtype_policy
        ``float32`` or ``mixed_bfloat16``; logits and probabilities are float32 in either case.

    Returns
    -------
    keras.Model
        (n, height, width, channels) -> (n, classes) float32 probabilities. Not compiled.

    Raises
    ------
    ValueError
        Fewer than 32 pixels a side, other channels than 1 or 3, fewer than 2 classes, or an unknown head.
    """
    check_architecture(input_shape, classes, head)
    seeds = iter(np.random.SeedSequence(seed).generate_state(64))

    def kernel(name: str = initializer) -> keras.initializers.Initializer:
        return INITIALIZERS[name](seed=int(next(seeds)) >> 1)

    x = inputs = keras.Input(input_shape, name="image")
    if tuple(scaling) != (1.0, 0.0):
        x = keras.layers.Rescaling(scaling[0], scaling[1], name="scaling", dtype="float32")(x)
    for block, (channels, convolutions) in enumerate(BLOCKS, start=1):
        for index in range(1, convolutions + 1):
            name = f"block{block}_conv{index}"
            x = keras.layers.Conv2D(
                scaled(channels, width), 3, padding="same", activation="relu", name=name,
                kernel_initializer=kernel(), dtype=dtype_policy,
            )(x)  # fmt: skip
        x = keras.layers.MaxPooling2D(2, name=f"block{block}_pool", dtype=dtype_policy)(x)
        if batch_normalization:
            x = keras.layers.BatchNormalization(momentum=0.9, name=f"block{block}_normalization", dtype=dtype_policy)(x)
    x = add_head(x, head, width, dropout, kernel, seed, dtype_policy)
    x = keras.layers.Dense(classes, name="logits", kernel_initializer=kernel(), dtype="float32")(x)
    outputs = keras.layers.Activation("softmax", name="probabilities", dtype="float32")(x)
    return keras.Model(inputs, outputs, name="vgg16")


def add_head(x, head: str, width: float, dropout: float, kernel, seed: int, dtype_policy: str):
    """Return the head's last hidden tensor for the last block's output `x` (see `build_network`)."""
    layers = keras.layers
    if head == "gap":
        x = layers.GlobalAveragePooling2D(name="mean", dtype=dtype_policy)(x)
        return layers.Dropout(dropout, seed=seed, name="mean_dropout", dtype=dtype_policy)(x) if dropout else x
    x = layers.Flatten(name="flatten", dtype=dtype_policy)(x)
    hidden = [256] if head == "dense256" else [scaled(FULLY_CONNECTED, width)] * 2
    for index, units in enumerate(hidden, start=1):
        name = f"fc{index}"
        start = kernel("he_normal") if head == "dense256" else kernel()
        x = layers.Dense(units, activation="relu", name=name, kernel_initializer=start, dtype=dtype_policy)(x)
        if head == "dense256":
            x = layers.BatchNormalization(name=f"{name}_normalization", dtype=dtype_policy)(x)
        if dropout:
            x = layers.Dropout(dropout, seed=seed + index, name=f"{name}_dropout", dtype=dtype_policy)(x)
    return x


def check_architecture(input_shape: tuple[int, int, int], classes: int, head: str) -> None:
    """Raise a ValueError for a network that can't be built, before anything is."""
    height, columns, channels = input_shape
    require_choice("head", head, CHOICES["head"])
    if min(height, columns) < 32:
        raise ValueError(f"input size: {height} x {columns} is too small for five halvings; at least 32 x 32")
    if channels not in (1, 3):
        raise ValueError(f"channels: {channels}; allowed are 1 and 3")
    if classes < 2:
        raise ValueError(f"classes: {classes}; at least 2")


def take_weights(network: keras.Model, weights: str | None) -> list[dict]:
    """Set the layers of `network` that `weights` holds under the same name and in the same shapes.

    All 13 convolutions have to fit, or nothing is set; of the head is taken what fits. RGB kernels of ``block1_conv1``
    are summed for a one-channel network: grey in all three channels gives the same sums. A second call changes nothing.

    Parameters
    ----------
    weights
        None (nothing is set), ``imagenet`` (Keras' own file of VGG-16 without its top, looked for in ``models`` of
        KERAS_HOME, by default ``~/.keras``, and fetched where it is missing), or a VGG-16 in a ``.keras`` or
        ``.weights.h5`` file of Keras 3.6 or newer, by this module or ``keras.applications``: their names are the same.

    Returns
    -------
    list of dict
        One row for each layer of the network that has weights, then for each that only the file has: layer, taken
        (True or False), why (empty where simply taken), shapes (of its arrays in the network), stored (in the file).

    Raises
    ------
    FileNotFoundError
        The file is missing, or the ImageNet file is neither there nor to be had.
    ValueError
        Another kind of file, an unreadable one, or one whose convolutions are not this network's.
    """
    if weights == "imagenet" and (found := network.get_layer(CONVOLUTIONS[0]).filters) != BLOCKS[0][0]:
        raise ValueError(
            f"weights: imagenet has {BLOCKS[0][0]} channels first, this network {found}; allowed is width 1.0"
        )
    source, rows, fitting = stored_weights(weights), [], []
    for layer in [layer for layer in network.layers if layer.weights]:
        values, why = source.pop(layer.name, []), ""
        shapes, stored = shapes_of(layer.weights), shapes_of(values)
        if layer.name == CONVOLUTIONS[0] and stored.startswith("3 x 3 x 3 x") and shapes.startswith("3 x 3 x 1 x"):
            values, why = [values[0].sum(axis=2, keepdims=True), *values[1:]], "three channels summed"
        taken = shapes_of(values) == shapes
        if taken:
            fitting.append((layer, values))
        else:
            why = "other shapes" if values else "random" if weights is None else "not in the file"
        rows.append({"layer": layer.name, "taken": taken, "why": why, "shapes": shapes, "stored": stored})
    for name, values in source.items():
        row = {"layer": name, "taken": False, "why": "not in this network", "shapes": "", "stored": shapes_of(values)}
        rows.append(row)
    if weights is not None:
        check_convolutions(rows, weights)
    for layer, values in fitting:
        if not all(np.isfinite(array).all() for array in values):
            raise ValueError(f"weights: {weights}: {layer.name} holds values that are no finite numbers")
    for layer, values in fitting:
        layer.set_weights(values)
    return rows


def shapes_of(arrays: list) -> str:
    """Return the shapes of a layer's arrays in words: ``3 x 3 x 1 x 64, 64`` for a kernel and its bias."""
    return ", ".join(" x ".join(map(str, array.shape)) for array in arrays)


def check_convolutions(rows: list[dict], weights: str) -> None:
    """Raise a ValueError unless the rows of `take_weights` say that the file is a VGG-16 of the network's width."""
    for row in rows:
        name, stored = row["layer"], row["stored"]
        if name in CONVOLUTIONS and not stored:
            raise ValueError(f"weights: {weights} holds no layer named {name}; allowed is a VGG-16")
        if name in CONVOLUTIONS and not row["taken"]:
            raise ValueError(
                f"weights: {weights}: {name} is {stored}, in this network {row['shapes']}; see width and channels"
            )
        if "_conv" in name and name not in CONVOLUTIONS:
            raise ValueError(f"weights: {weights} holds {name} ({stored}), which VGG-16 does not have")


def stored_weights(weights: str | None) -> dict[str, list[np.ndarray]]:
    """Return {layer name: its arrays} of what `take_weights` was given."""
    if weights is None:
        return {}
    if weights == "imagenet":
        return imagenet_weights()
    if not weights.endswith((".keras", ".weights.h5")):
        raise ValueError(f"weights: {weights!r}; allowed are null, imagenet, or a path to a .keras or .weights.h5 file")
    if not Path(weights).is_file():
        raise FileNotFoundError(f"weights: {weights} does not exist")
    try:
        with capture_output():  # it prints the path that it opened
            file = keras.saving.KerasFileEditor(weights)
    except Exception as error:  # zip, HDF5 and JSON each fail in their own way
        raise ValueError(f"weights: {weights} can't be read as a file of Keras ({error})") from error
    source = {}
    for key, values in file.weights_dict.get("layers", {}).items():
        name = file.object_metadata.get(f"/layers/{key}", {}).get("name", key)
        source[name] = [values[number] for number in sorted(values) if isinstance(values[number], np.ndarray)]
    return {name: arrays for name, arrays in source.items() if arrays}


def imagenet_weights() -> dict[str, list[np.ndarray]]:
    """Return {layer name: its arrays} of Keras' VGG-16 without its top, from the user's folder or fetched once."""
    folder = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser() / "models"
    try:
        source = keras.applications.VGG16(include_top=False, weights="imagenet")
    except Exception as error:  # Keras raises a bare Exception where the download fails
        raise FileNotFoundError(
            f"weights: imagenet is neither whole in {folder} nor to be fetched; put {IMAGENET_FILE} there, in "
            f"models of KERAS_HOME, which has to be writable ({error})"
        ) from error
    return {layer.name: layer.get_weights() for layer in source.layers if layer.weights}


def freeze(network: keras.Model, blocks: int) -> None:
    """Make the first `blocks` of the five blocks untrainable and all other layers trainable.

    Fine-tuning in two phases is two calls: with 5 only the head trains, then with fewer, 0 for none. What was compiled
    before has to be compiled again, with a new optimiser. BatchNormalization in a frozen block computes as at inference
    also while the rest trains: from its stored mean and variance, which then stay as they are.

    Raises
    ------
    ValueError
        `blocks` is not 0 to 5.
    """
    if blocks not in range(len(BLOCKS) + 1):
        raise ValueError(f"frozen_blocks: {blocks}; allowed is 0 to {len(BLOCKS)}")
    frozen = tuple(f"block{block}_" for block in range(1, blocks + 1))
    for layer in network.layers:
        layer.trainable = not layer.name.startswith(frozen)


def layer_table(network: keras.Model) -> list[dict]:
    """Return one row a layer: name, kind, output shape (without the batch), number of parameters."""
    return [
        {
            "layer": layer.name,
            "kind": type(layer).__name__,
            "output": " x ".join(str(length) for length in layer.output.shape[1:]),
            "parameters": layer.count_params(),
        }
        for layer in network.layers
    ]
