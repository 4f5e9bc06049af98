"""Closed lists: what the words of headers and registries become."""

import math

import pytest
from pydicom.sr.codedict import codes

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


def test_the_range_of_spacings_can_be_given():
    assert [terms.plausible_spacing(spacing, (0.05, 0.1)) for spacing in (0.049, 0.05, 0.1, 0.11)] == [0, 1, 1, 0]


def test_coded_views_and_kinds_are_of_the_context_groups_for_mammography():
    names = {*codes.cid4014.concepts, *codes.cid4015.concepts}
    assert {*terms.CODED_VIEWS, *terms.CODED_KINDS} <= names
    assert set(codes.cid4014.concepts) <= {*terms.CODED_VIEWS, *terms.CODED_KINDS}, "every view has its word"
    assert {*terms.CODED_VIEWS.values(), *terms.OLD_CODED_VIEWS.values(), *terms.BREAST_VIEWS} <= set(terms.VIEWS)


def test_every_kind_is_a_reason():
    kinds = {*terms.CODED_KINDS.values(), *terms.KIND_WORDS}
    assert kinds < set(terms.REASONS)
    assert len(kinds) == 7
