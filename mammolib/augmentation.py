"""Augmentation of a batch in one resampling: rotation, shift and flips, then multiplicative brightness.

The report's ranges (rotation -0.1 to 0.1 rad, 10 % shift, 10 % brightness, both flips) are the defaults. One Keras
layer, so that it runs in the compiled step on any backend; it does nothing at inference. The networks of
`mammolib.training` are saved without it; a model saved with it loads where this module is imported.
"""

import math

import keras
from keras import ops

from mammolib.parameters import CHOICES, require_choice


def transforms(angles, rows, columns, flip_rows, flip_columns, height: int, width: int):
    """Return what `keras.ops.image.affine_transform` needs to flip, rotate about the centre, and shift.

    Parameters
    ----------
    angles
        (n,) float32 radians.
    rows, columns
        (n,) float32 shifts in pixels, downwards and to the right.
    flip_rows, flip_columns
        (n,) float32, -1 to flip upside down or left to right, 1 to leave.

    Returns
    -------
    tensor
        (n, 8) float32: output (x, y) is read from input (a0 x + a1 y + a2, b0 x + b1 y + b2); the last two are 0.
    """
    cosine, sine = ops.cos(angles), ops.sin(angles)
    middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
    a0, a1 = flip_columns * cosine, -flip_columns * sine
    b0, b1 = flip_rows * sine, flip_rows * cosine
    x, y = middle_x + columns, middle_y + rows  # where the input's centre lands
    a2, b2 = middle_x - a0 * x - a1 * y, middle_y - b0 * x - b1 * y
    nothing = ops.zeros_like(a0)
    return ops.stack([a0, a1, a2, b0, b1, b2, nothing, nothing], axis=1)


@keras.saving.register_keras_serializable(package="mammolib")
class Augmentation(keras.layers.Layer):
    """Random rotation, shift, flips and brightness of (n, height, width, channels) float32 images in [0, 1].

    Parameters
    ----------
    rotation
        Largest angle either way, radians.
    shift
        Largest shift either way, as a share of height and of width.
    flip_vertical, flip_horizontal
        Upside down, left to right; each with probability 1/2.
    brightness
        Values are multiplied by 1 - brightness to 1 + brightness (not added to, as Keras' RandomBrightness does) and
        clipped at 1.
    stretch
        Before that, divide each moved image by its own maximum, so that the brightest value is 1, as brightness_range
        of Keras' ImageDataGenerator did in 2018; an image of nothing but 0 stays so.
    fill
        Beyond the edge: ``reflect`` (d c b a | a b c d | d c b a), or ``constant`` 0, the background, which puts a
        black wedge between chest wall and frame that no mammogram has.
    seed
        Of the layer's own generator; `mammolib.training` resets its state at each epoch. A saved model holds the seed
        but no state: once loaded, it draws from the start.
    kwargs
        What Keras gives any layer; dtype is float32 unless it is among them, whatever the global policy.

    Raises
    ------
    ValueError
        A range or the fill that is not allowed.
    """

    def __init__(
        self,
        rotation: float = 0.1,
        shift: float = 0.1,
        flip_vertical: bool = True,
        flip_horizontal: bool = True,
        brightness: float = 0.1,
        stretch: bool = False,
        fill: str = "reflect",
        seed: int = 0,
        **kwargs,
    ) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        # a shift by 1 leaves nothing of the image, a factor of 0 nothing to see; NaN fails each comparison
        for name, value, end in (("rotation", rotation, math.inf), ("shift", shift, 1), ("brightness", brightness, 1)):
            if not 0 <= value < end:
                raise ValueError(f"{name}: {value}; allowed is 0 <= {name} < {end}")
        require_choice("fill", fill, CHOICES["fill"])
        self.rotation, self.shift, self.brightness = rotation, shift, brightness
        self.flip_vertical, self.flip_horizontal = flip_vertical, flip_horizontal
        self.stretch, self.fill, self.seed = stretch, fill, seed
        self.generator = keras.random.SeedGenerator(seed)

    def get_config(self) -> dict:
        """Return all arguments, for Keras to save and to build the layer again."""
        names = ("rotation", "shift", "flip_vertical", "flip_horizontal", "brightness", "stretch", "fill", "seed")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}

    def call(self, images, training: bool = False):
        """Return images of the same shape, unchanged unless `training`."""
        if not training:
            return images
        count, (height, width) = ops.shape(images)[0], images.shape[1:3]
        # one draw for everything: six numbers in [-1, 1) an image
        draw = keras.random.uniform((6, count), -1, 1, dtype="float32", seed=self.generator)
        flips = ops.where(draw[3:5] < 0, -1.0, 1.0)
        still = ops.ones_like(draw[0])
        transform = transforms(
            draw[0] * self.rotation,
            draw[1] * (self.shift * height),
            draw[2] * (self.shift * width),
            flips[0] if self.flip_vertical else still,
            flips[1] if self.flip_horizontal else still,
            height,
            width,
        )
        moved = ops.image.affine_transform(
            images, transform, interpolation="bilinear", fill_mode=self.fill, data_format="channels_last"
        )
        if self.stretch:
            brightest = ops.max(moved, axis=(1, 2, 3), keepdims=True)
            moved = moved / ops.where(brightest > 0, brightest, 1.0)
        factor = 1 + self.brightness * draw[5]
        return ops.minimum(moved * ops.reshape(factor, (-1, 1, 1, 1)), 1.0)
