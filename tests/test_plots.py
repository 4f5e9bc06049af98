"""What every figure shares."""

import itertools
import subprocess
import sys

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pytest

from mammolib import plots
from mammolib.names import class_name


@pytest.fixture
def ax():
    figure, axes = plt.subplots()
    yield axes
    plt.close(figure)


def test_grey_runs_over_the_full_range_of_uint16_and_over_the_values_of_others(ax):
    image = np.array([[100, 200], [300, 400]], dtype=np.uint16)
    assert plots.show_mammogram(image, ax, "left MLO") is ax
    assert ax.images[-1].get_clim() == (0, 65535)
    plots.show_mammogram(image.astype(np.float32), ax)
    assert ax.images[-1].get_clim() == (100, 400)
    assert (ax.get_title(), ax.axison) == ("left MLO", False)
    assert ax.images[-1].get_cmap().name == "gray"
    assert image.tolist() == [[100, 200], [300, 400]]


def test_the_bar_is_as_long_as_its_label_says(ax):
    plots.show_mammogram(np.zeros((100, 120)), ax, mm_per_pixel=2.0)
    left, right = ax.lines[-1].get_xdata()
    (label,) = [text.get_text() for text in ax.texts]
    assert label == "50 mm"
    assert (right - left) * 2.0 == pytest.approx(50)


@pytest.mark.parametrize("shape", [(4,), (4, 4, 1)])
def test_other_shapes_are_refused(ax, shape):
    with pytest.raises(ValueError, match="is allowed"):
        plots.show_mammogram(np.zeros(shape), ax)
    with pytest.raises(ValueError, match="positive"):
        plots.show_mammogram(np.zeros((4, 4)), ax, mm_per_pixel=0.0)


def test_classes_have_names_for_people_and_colours_that_differ_in_lightness():
    assert class_name("tubule_forming") == "tubule forming"
    palette = plots.class_palette(["tubule_forming", "solid", "scirrhous"])
    lightness = [float(np.dot(mpl.colors.to_rgb(colour), (0.2126, 0.7152, 0.0722))) for colour in palette.values()]
    assert min(abs(a - b) for a, b in itertools.pairwise(lightness)) > 0.02
    assert len(set(palette.values())) == 3
    with pytest.raises(ValueError, match="8 classes"):
        plots.class_palette(list("abcdefgh"))


def test_zones_and_tables_are_computed_without_a_plotting_library():
    script = "import sys, mammolib.zones, mammolib.report; sys.exit(str({'matplotlib', 'seaborn'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stderr.strip() == "set()"


def test_the_style_is_set_only_when_asked_for():
    with mpl.rc_context():
        plots.notebook_style()
        assert mpl.rcParams["figure.dpi"] == 90
        assert mpl.rcParams["image.cmap"] == "gray"
