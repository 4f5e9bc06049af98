"""Closed lists: what the words of headers and registries become."""

import math

import pytest

from mammolib import terms


@pytest.mark.parametrize(
    ("text", "side"),
    [
        ("L", "L"),
        (" r ", "R"),
        ("Left", "L"),
        ("RIGHT", "R"),
        ("左", "L"),
        ("右", "R"),
        ("", ""),
        ("B", ""),
        ("Lee, Ann", ""),
    ],
)
def test_sides_are_l_and_r_or_nothing(text, side):
    assert terms.laterality(text) == side


@pytest.mark.parametrize(("text", "view"), [("CC", "CC"), ("mlo ", "MLO"), ("", ""), ("AP", ""), ("Ann Lee", "")])
def test_views_are_defined_terms_or_nothing(text, view):
    assert terms.view(text) == view


@pytest.mark.parametrize(
    ("text", "vendor"),
    [
        ("GE MEDICAL SYSTEMS", "GE"),
        ("George Smith", "other"),
        ("HOLOGIC, Inc.", "Hologic"),
        ("LORAD, A Hologic Company", "Lorad"),
        ("FUJIFILM Corporation", "Fujifilm"),
        ("FUJI PHOTO FILM Co., ltd.", "Fujifilm"),
        ("KONICA MINOLTA", "Konica Minolta"),
        ("TOSHIBA_MEC", "Toshiba"),
        ("mammolib phantom", "mammolib phantom"),
        ("Canonbury Hospital", "other"),
        ("ward of Hologic", "other"),
        (" ", ""),
    ],
)
def test_vendors_are_known_ones_or_other(text, vendor):
    assert terms.vendor(text) == vendor


@pytest.mark.parametrize(
    ("spacing", "fits"),
    [(0.01, True), (2.0, True), (0.009, False), (2.1, False), (None, False), (math.nan, False)],
)
def test_spacings_of_mammograms(spacing, fits):
    assert terms.plausible_spacing(spacing) is fits
