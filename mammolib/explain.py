"""Class activation maps of a flat Keras network: the one door to tf-keras-vis.

Maps are taken from the logits. The gradient of a softmax output vanishes where the network is sure of itself, and maps
made from it come out as zeros. Maps stay raw and signed, at the layer's own resolution, because scaling an image's map
to 0-1 makes noise look like a finding; `display_maps` scales for the eye alone.
"""

from collections import Counter
from collections.abc import Sequence

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from tf_keras_vis.gradcam import Gradcam
from tf_keras_vis.layercam import Layercam

from mammolib.network_input import to_network


def _in_float32(gradients: tf.Tensor) -> tf.Tensor:
    """The library sums products in the layer's own type: in bfloat16 that would cost most digits."""
    return tf.cast(gradients, tf.float32)


# name: (visualiser, what happens to the gradients before they weigh the activations)
METHODS = {
    "gradcam": (Gradcam, _in_float32),  # Selvaraju et al., arXiv 1610.02391, without its last ReLU
    "layercam": (Layercam, lambda gradients: tf.nn.relu(_in_float32(gradients))),  # Jiang et al., TIP 2021
}


def require_flat(model: keras.Model) -> None:
    """Refuse models that tf-keras-vis can't cut open.

    Raises
    ------
    ValueError
        For a Sequential, subclassed or nested model, a model without a layer `logits`, and another backend than
        TensorFlow.
    """
    if keras.backend.backend() != "tensorflow":
        raise ValueError(f"maps need the TensorFlow backend; KERAS_BACKEND is {keras.backend.backend()}")
    if isinstance(model, keras.Sequential) or not isinstance(model, keras.Model) or not hasattr(model, "operations"):
        raise ValueError(f"model {model.name!r} is a {type(model).__name__}: maps need a flat functional model")
    nested = [layer.name for layer in model.layers if isinstance(layer, keras.Model)]
    if nested:
        raise ValueError(f"model {model.name!r} holds a model as its layer {nested[0]!r}: maps need a flat one")
    if "logits" not in {layer.name for layer in model.layers}:
        raise ValueError(f"model {model.name!r} has no layer 'logits' before its softmax: maps are taken from there")


def spatial_layers(model: keras.Model) -> pd.DataFrame:
    """List the layers that maps can be taken from, in the network's order.

    Returns
    -------
    table : DataFrame
        `layer, rows, columns, channels, cell, field`; `cell` is the side of one cell in network pixels: the product of
        all strides up to the layer, which on a chain such as VGG is exact where pooling drops an odd row. Where
        branches make that product disagree with the grid, it is the input's height over the grid's. `field` is the
        side of what a cell can depend on, its theoretical receptive field, in network pixels, of a chain.
    """
    height = model.inputs[0].shape[1]
    stride, field, found = 1, 1, []
    for layer in model.layers:
        reach = getattr(layer, "kernel_size", None) or getattr(layer, "pool_size", 1)
        field += ((reach if isinstance(reach, int) else reach[0]) - 1) * stride
        steps = getattr(layer, "strides", 1)
        stride *= steps if isinstance(steps, int) else steps[0]
        shape = getattr(getattr(layer, "output", None), "shape", ())
        if isinstance(layer, keras.layers.InputLayer) or len(shape) != 4:
            continue
        rows, columns, channels = shape[1:]
        exact = rows in (height // stride, -(-height // stride))
        found.append((layer.name, rows, columns, channels, float(stride if exact else height / rows), field))
    return pd.DataFrame(found, columns=["layer", "rows", "columns", "channels", "cell", "field"])


def last_of_each_grid(model: keras.Model) -> pd.DataFrame:
    """The deepest convolution of each resolution (block1_conv2 ... block5_conv3 in VGG-16), as in `spatial_layers`."""
    convolutions = [layer.name for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    table = spatial_layers(model)
    return table[table["layer"].isin(convolutions)].drop_duplicates("cell", keep="last").reset_index(drop=True)


def require_spatial(model: keras.Model, layer: str) -> None:
    """Refuse a layer that doesn't exist or has no height and width; the error lists the layers that would do."""
    usable = list(spatial_layers(model)["layer"])
    if layer in usable:
        return
    exists = layer in {known.name for known in model.layers}
    why = "has no spatial extent" if exists else "does not exist"
    raise ValueError(f"layer {layer!r} {why} in model {model.name!r}; layers with spatial extent: {', '.join(usable)}")


def class_maps(
    model: keras.Model,
    images: np.ndarray,
    layer: str,
    classes: Sequence[int],
    method: str = "gradcam",
    batch_size: int = 32,
) -> np.ndarray:
    """Raw class maps of a batch of images.

    Parameters
    ----------
    model : keras.Model
        Flat functional model with a layer `logits`.
    images : ndarray
        (n, height, width) uint16 as stored (a memory map will do: it is read batch by batch), or
        (n, height, width, 1) float32 in [0, 1] as the network takes them.
    layer : str
        Name of a layer with spatial extent.
    classes : sequence of int
        Indices of the logits to explain.
    method : str
        `gradcam` or `layercam`.
    batch_size : int
        Images a pass; bounds the memory.

    Returns
    -------
    maps : ndarray
        (n, len(classes), rows, columns) float32 in logits; positive where the layer speaks for the class. Neither
        clipped, enlarged nor scaled.

    Raises
    ------
    ValueError
        For an unknown class or layer, or a model that is not flat.
    """
    require_flat(model)
    require_spatial(model, layer)
    units = model.get_layer("logits").output.shape[-1]
    if unknown := [c for c in classes if not 0 <= c < units]:
        raise ValueError(f"class {unknown[0]} is not among the model's {units} logits (0 to {units - 1})")

    visualiser, gradient_modifier = METHODS[method]
    # the layer that was named, not the nearest convolution
    how = {"penultimate_layer": layer, "seek_penultimate_conv_layer": False, "gradient_modifier": gradient_modifier}
    how |= {"activation_modifier": None, "expand_cam": False, "normalize_cam": False}  # signed, raw
    explain = visualiser(keras.Model(model.inputs, model.get_layer("logits").output))
    grid = model.get_layer(layer).output.shape[1:3]
    maps = np.empty((len(images), len(classes), *grid), np.float32)
    for start in range(0, len(images), batch_size):
        stored = images[start : start + batch_size]
        batch = tf.constant(to_network(stored, model.input_shape[-1]) if stored.dtype == np.uint16 else stored)
        for k, index in enumerate(classes):
            maps[start : start + batch_size, k] = explain(
                lambda logits, index=index: tf.cast(logits[:, index], tf.float32), batch, **how
            )
    return maps


def unseen_maps(
    models: Sequence[tuple[int, keras.Model]], images: np.ndarray, folds: np.ndarray, layer: str,
    classes: Sequence[int], **how,
) -> np.ndarray:  # fmt: skip
    """Maps of each image by the models that did not see it, the mean of several, as the predictions are theirs.

    Parameters
    ----------
    models : sequence of (int, keras.Model)
        Each with the fold that it did not train on.
    images : ndarray
        (n, height, width) uint16.
    folds : ndarray
        (n,) int; -1 for images that no model saw (the test part): all models.
    layer, classes, **how
        As in `class_maps`.

    Returns
    -------
    maps : ndarray
        (n, len(classes), rows, columns) float32.
    """
    counts = Counter(fold for fold, _ in models)
    if unknown := sorted({int(fold) for fold in folds} - set(counts) - {-1}):
        raise ValueError(f"fold {unknown[0]} has no model; there are models for {sorted(counts)}")
    maps = None
    for fold, model in models:
        for rows, share in ((folds == fold, 1 / counts[fold]), (folds == -1, 1 / len(models))):
            if rows.any():
                part = share * class_maps(model, images[rows], layer, classes, **how)
                maps = np.zeros((len(images), *part.shape[1:]), np.float32) if maps is None else maps
                maps[rows] += part
    if maps is None:
        raise ValueError("there is no image to explain")
    return maps


def flag_empty(maps: np.ndarray) -> np.ndarray:
    """True for maps without any positive (or any finite) value, over the last two axes: such a map names no place."""
    return ~(np.nan_to_num(maps, nan=0.0, posinf=0.0, neginf=0.0) > 0).any(axis=(-2, -1))


def display_maps(maps: np.ndarray) -> np.ndarray:
    """Positive part over the largest value of the image, one scale for all its classes.

    Parameters
    ----------
    maps : ndarray
        (n, classes, rows, columns) raw maps.

    Returns
    -------
    display : ndarray
        Same shape, float32 in [0, 1]; zeros where all of an image's maps are empty. A class whose map is weak beside
        another's stays weak.
    """
    positive = np.maximum(maps, 0).astype(np.float32)
    peak = positive.max(axis=(1, 2, 3), keepdims=True)
    return np.divide(positive, peak, out=np.zeros_like(positive), where=peak > 0)


def randomised(model: keras.Model, seed: int) -> keras.Model:
    """A copy whose weights are shuffled within each array: same numbers, nothing learned (after arXiv 1810.03292)."""
    rng = np.random.default_rng(seed)
    copy = keras.models.clone_model(model)
    copy.set_weights([rng.permuted(weights, axis=None) for weights in model.get_weights()])
    return copy


def map_similarity(maps: np.ndarray, others: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Spearman correlation of two sets of raw maps over the cells inside the breast.

    Parameters
    ----------
    maps, others : ndarray
        (n, rows, columns).
    inside : ndarray
        (n, rows, columns) bool.

    Returns
    -------
    similarity : ndarray
        (n,) in [-1, 1]; NaN where a map is constant.
    """
    pairs = [(pd.Series(a[w]), pd.Series(b[w])) for a, b, w in zip(maps, others, inside, strict=True)]
    flat = [a.nunique() < 2 or b.nunique() < 2 for a, b in pairs]
    return np.array([np.nan if f else a.corr(b, method="spearman") for (a, b), f in zip(pairs, flat, strict=True)])
