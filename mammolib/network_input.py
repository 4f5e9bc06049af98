"""What a network gets of the images: numbers in [0, 1] a batch at a time, and the scaling of its first layer."""

import numpy as np

from mammolib.parameters import CHOICES, require_choice

IMAGENET_GREY = (103.939 + 116.779 + 123.68) / 3  # means of blue, green, red that keras.applications.vgg16 subtracts


def to_network(images: np.ndarray, channels: int = 1) -> np.ndarray:
    """Convert (n, height, width) uint16 to (n, height, width, channels) float32 in [0, 1], the grey in each channel."""
    if images.dtype != np.uint16 or images.ndim != 3:
        raise ValueError(f"images: {images.dtype} of shape {images.shape}; allowed is uint16 (n, height, width)")
    grey = np.multiply(images[..., None], np.float32(1 / 65535), dtype=np.float32)
    return grey if channels == 1 else np.repeat(grey, channels, axis=-1)


def input_scaling(images: np.ndarray, kind: str, rows: np.ndarray) -> tuple[float, float]:
    """Return the factor and offset of the network's first layer.

    Parameters
    ----------
    images
        (n, height, width) uint16.
    rows
        Row numbers of the training images; up to 256 of them, evenly spaced, are read.
    kind
        ``unit`` leaves values in [0, 1]. ``standardise`` brings pixels above 0 (the breast, where the background is
        zero) to mean 0 and standard deviation 1: without it, what all breasts share outweighs what tells them apart,
        and small steps learn nothing. ``imagenet`` is what Keras' ImageNet kernels were trained on: 0 to 255 minus the
        mean grey of its photographs.
    """
    require_choice("input_scaling", kind, CHOICES["input_scaling"])
    if kind == "unit":
        return 1.0, 0.0
    if kind == "imagenet":
        return 255.0, -IMAGENET_GREY
    sample = images[rows[:: -(-len(rows) // 256)]]
    breast = sample[sample > 0].astype(np.float64) / 65535
    if breast.size == 0 or breast.std() == 0:
        raise ValueError("input_scaling: standardise, but the training images are flat; allowed for them is unit")
    return float(1 / breast.std()), float(-breast.mean() / breast.std())
