"""VGG-16 (Simonyan and Zisserman, arXiv 1409.1556, configuration D) as one flat functional Keras model.

Layer names are those of ``keras.applications.VGG16`` (``block1_conv1`` ... ``block5_conv3``), so that maps and weights
find their layer by name; the last two layers are always ``logits`` (linear) and ``probabilities`` (softmax).
"""

from pathlib import Path

import keras
import numpy as np

from mammolib.parameters import CHOICES, require_choice

BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # channels, convolutions; a 2 x 2 maximum follows each block
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
    weights: str | None = None,
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
    weights
        None, ``imagenet``, or a file of weights (see `take_weights`).
    scaling
        Factor and offset of the first layer, which is left out at (1, 0): the convolutions see factor * x + offset.
    dtype_policy
        ``float32`` or ``mixed_bfloat16``; logits and probabilities are float32 in either case.

    Returns
    -------
    keras.Model
        (n, height, width, channels) -> (n, classes) float32 probabilities. Not compiled.
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
    network = keras.Model(inputs, outputs, name="vgg16")
    if weights is not None:
        take_weights(network, weights)
    return network


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


def take_weights(network: keras.Model, weights: str) -> list[str]:
    """Set the layers of `network` that `weights` holds under the same name and in the same shape.

    Parameters
    ----------
    weights
        ``imagenet`` (Keras' own file of VGG-16 without its top, looked for in ``~/.keras/models`` and fetched where it
        is missing), a ``.keras`` model, or the ``.weights.h5`` of a VGG-16. RGB kernels of ``block1_conv1`` are summed
        for a one-channel network: grey in all three channels gives the same sums.

    Returns
    -------
    list of str
        Names of the layers taken; the rest keep their random start.

    Raises
    ------
    FileNotFoundError
        The file is missing, or the ImageNet file is neither there nor reachable.
    ValueError
        Another kind of file, or no convolution fits.
    """
    source, taken = stored_weights(weights), []
    for layer in network.layers:
        values = source.get(layer.name)
        if not values:
            continue
        shapes = [value.shape for value in layer.get_weights()]
        if values[0].ndim == 4 and values[0].shape[2] == 3 and shapes[0][2] == 1:
            values = [values[0].sum(axis=2, keepdims=True), *values[1:]]
        if [value.shape for value in values] == shapes:
            layer.set_weights(values)
            taken.append(layer.name)
    if not any("_conv" in name for name in taken):
        widths = f"{network.get_layer('block1_conv1').filters} channels in block1_conv1"
        raise ValueError(f"weights: no convolution of {weights} fits this network ({widths}); see width")
    return taken


def stored_weights(weights: str) -> dict[str, list[np.ndarray]]:
    """Return {layer name: its arrays} of what `take_weights` was given."""
    if weights == "imagenet":
        try:
            source = keras.applications.VGG16(include_top=False, weights="imagenet")
        except Exception as error:  # Keras raises a bare Exception where the download fails
            raise FileNotFoundError(
                f"weights: imagenet could not be fetched; put {IMAGENET_FILE} into ~/.keras/models ({error})"
            ) from error
        return {layer.name: layer.get_weights() for layer in source.layers}
    path = Path(weights)
    if not path.name.endswith((".keras", ".weights.h5")):
        raise ValueError(f"weights: {weights!r}; allowed are null, imagenet, or a path to a .keras or .weights.h5 file")
    if not path.is_file():
        raise FileNotFoundError(f"weights: {weights} does not exist")
    if path.suffix == ".keras":
        return {layer.name: layer.get_weights() for layer in keras.saving.load_model(path, compile=False).layers}
    return convolutions_of_h5(path)


def convolutions_of_h5(path: Path) -> dict[str, list[np.ndarray]]:
    """Return VGG-16's 13 convolutions from a Keras 3 weights file, which numbers layers by kind and keeps no names."""
    import h5py

    names = [f"block{block}_conv{i}" for block, (_, count) in enumerate(BLOCKS, 1) for i in range(1, count + 1)]
    with h5py.File(path) as opened:
        stored = opened["layers"]
        keys = ["conv2d", *(f"conv2d_{number}" for number in range(1, len(names)))]
        missing = [key for key in keys if key not in stored]
        if missing:
            raise ValueError(f"weights: {path} holds no {missing[0]}; allowed is a VGG-16 with 13 convolutions")
        return {
            name: [np.asarray(stored[key]["vars"][index]) for index in ("0", "1")]
            for name, key in zip(names, keys, strict=True)
        }


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
