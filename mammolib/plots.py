"""What every figure shares: style, the grey mammogram, and one colour a class."""

import sys
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes

# Okabe and Ito's colours, told apart with any colour vision; yellow left out for want of contrast on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")


def notebook_style(jpeg: bool = False) -> None:
    """Set the look of a notebook's figures (inline, about 90 dpi, the same bytes for the same data) and tables.

    Parameters
    ----------
    jpeg
        Store inline figures as JPEG (quality 85): panels of mammograms get about 4 times smaller.
    """
    pd.set_option("display.max_colwidth", None)  # a reason or a note is read to its end
    palette = seaborn.color_palette(COLOURS)
    seaborn.set_theme(context="notebook", style="ticks", palette=palette, font_scale=0.85)
    looks = dict.fromkeys(("axes.spines.top", "axes.spines.right", "legend.frameon"), False)
    looks |= {"figure.dpi": 90, "savefig.dpi": 90, "savefig.bbox": "tight", "svg.hashsalt": "mammolib"}
    mpl.rcParams.update(looks | {"image.cmap": "gray", "image.interpolation": "nearest"})
    if "IPython" in sys.modules and sys.modules["IPython"].get_ipython() is not None:
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        set_matplotlib_formats("jpeg", pil_kwargs={"quality": 85}) if jpeg else set_matplotlib_formats("png")


def show_mammogram(image: np.ndarray, ax: Axes, title: str | None = None, mm_per_pixel: float | None = None) -> Axes:
    """Draw a mammogram in grey, dense tissue bright, without axes.

    Parameters
    ----------
    image
        (height, width). Grey runs over the full range for uint16, so that images of one cohort can be compared, else
        from the image's least to its largest value.
    mm_per_pixel
        Spacing of the pixels shown; a bar of 10, 20 or 50 mm is drawn where it is given.
    """
    if image.ndim != 2:
        raise ValueError(f"image has shape {image.shape}; (height, width) is allowed")
    low, high = (0, 65535) if image.dtype == np.uint16 else (float(image.min()), float(image.max()))
    ax.imshow(image, cmap="gray", vmin=low, vmax=high)
    ax.set_axis_off()
    if title is not None:
        ax.set_title(title)
    if mm_per_pixel is not None:
        _scale_bar(ax, image.shape, mm_per_pixel)
    return ax


def _scale_bar(ax: Axes, shape: tuple[int, int], mm_per_pixel: float) -> None:
    """Draw a bar of about a quarter of the width, bottom right (the breast stands on the left)."""
    if not mm_per_pixel > 0:
        raise ValueError(f"mm_per_pixel = {mm_per_pixel}; a positive number of millimetres is allowed")
    height, width = shape
    length_mm = next((mm for mm in (50, 20, 10, 5, 2) if mm / mm_per_pixel <= 0.3 * width), 1)
    right, bottom = 0.96 * width, 0.96 * height
    ax.plot([right - length_mm / mm_per_pixel, right], [bottom, bottom], color="white", linewidth=2, clip_on=True)
    middle = right - length_mm / mm_per_pixel / 2
    ax.text(middle, bottom - 0.02 * height, f"{length_mm} mm", color="white", ha="center", va="bottom", fontsize=7)


def class_palette(classes: Sequence[str]) -> dict[str, str]:
    """Return one colour a class, in order, told apart with any colour vision; up to seven classes."""
    if len(classes) > len(COLOURS):
        raise ValueError(f"{len(classes)} classes; at most {len(COLOURS)} have a colour")
    return dict(zip(classes, COLOURS, strict=False))
