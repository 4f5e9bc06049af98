"""What goes with the class: counts, Cramér's V against SciPy and by hand, shuffles by patient, table 1."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2_contingency

from mammolib import associations

CLASSES = ["solid", "scirrhous"]


def cohort(**columns) -> pd.DataFrame:
    """Eight images of four patients, two a patient; two patients a class."""
    table = pd.DataFrame({"patient": list("aabbccdd"), "label": ["solid"] * 4 + ["scirrhous"] * 4})
    table = table.assign(split="development", year="2010", Manufacturer="GE", ViewPosition=["CC", "MLO"] * 4)
    table = table.assign(pixel_spacing_mm=0.0941, breast_area_mm2=np.arange(1.0, 9), age="", breast_density="")
    return table.assign(lesion_size_mm="", specimen="", **columns)


def test_traits_are_words_and_what_is_not_known_is_one():
    spacing, area = [0.07, 0.0701, 0.1, None] * 2, [3, 1, 2, 9, 7, 8, np.nan, np.nan]
    table = cohort(pixel_spacing_mm=spacing, breast_area_mm2=area, year=["2010", ""] * 4, Manufacturer=["GE", None] * 4)
    found = associations.traits(table)
    assert found.columns.tolist() == ["year", "vendor", "view", "spacing (mm)", "breast size"]
    assert found["year"].tolist() == ["2010", "unknown"] * 4
    assert found["vendor"].tolist() == ["GE", "unknown"] * 4
    assert found["spacing (mm)"].tolist() == ["0.07", "0.07", "0.10", "unknown"] * 2
    assert found["breast size"].tolist() == ["middle", "small", "small", "large", "middle", "large", *["unknown"] * 2]
    nothing = associations.traits(cohort(pixel_spacing_mm=None, breast_area_mm2=np.nan))
    assert set(nothing["spacing (mm)"]) == set(nothing["breast size"]) == {"unknown"}


def test_counts_by_class():
    table = cohort(Manufacturer=["GE"] * 3 + ["Hologic"] * 5)
    counts = associations.class_by(table["label"], associations.traits(table)["vendor"])
    assert counts.loc["GE"].to_dict() == {"scirrhous": 0, "solid": 3}
    assert counts.loc["Hologic"].to_dict() == {"scirrhous": 4, "solid": 1}


def test_phi_squared_is_that_of_scipy():
    rng = np.random.default_rng(2)
    for rows, columns, n in itertools.product((2, 3), (2, 5), (30, 400)):
        labels, values = (np.append(np.arange(k), rng.integers(0, k, n - k)) for k in (rows, columns))
        chi2 = chi2_contingency(pd.crosstab(labels, values), correction=False).statistic
        assert associations.phi_squared(labels, values) == pytest.approx(chi2 / n, abs=1e-12)


def test_the_correction_takes_off_what_chance_gives():
    """Bergsma's formulas for a table of 3 x 4 and 101 images, by hand."""
    phi2, bias = 0.5, 2 * 3 / 100
    assert associations.corrected_v(0.5, 3, 4, 101) == pytest.approx(np.sqrt((phi2 - bias) / (3 - 4 / 100 - 1)))
    assert associations.corrected_v(0.05, 3, 4, 101) == 0
    assert associations.corrected_v(1.0, 2, 2, 10_000) == pytest.approx(1)
    assert associations.corrected_v(2.0, 3, 3, 3) == 0, "three images say nothing"


def test_a_shuffle_moves_whole_patients_among_those_with_as_many_images():
    patients = np.array([0, 1, 0, 2, 3, 2, 1, 4, 4, 4])
    labels = np.array([10, 20, 11, 30, 40, 31, 21, 50, 51, 52])
    met = set()
    for seed in range(60):
        dealt = associations.shuffled(labels, patients, np.random.default_rng(seed))
        pairs = [tuple(dealt[patients == patient]) for patient in range(3)]
        assert sorted(pairs) == [(10, 11), (20, 21), (30, 31)]
        assert dealt[4] == 40, "nobody else has one image"
        assert dealt[7:].tolist() == [50, 51, 52]
        met.add(tuple(pairs))
    assert len(met) == 6
    assert labels[0] == 10, "what is passed in stays as it is"


def test_p_is_the_share_of_all_shuffles():
    """Of the 24 ways to deal four patients' classes, 8 tell these vendors apart."""
    table = cohort(Manufacturer=["GE"] * 4 + ["Hologic"] * 4)
    result = associations.cramers_v(table, associations.traits(table), seed=1, shuffles=3999).loc["vendor"]
    assert result[["values", "images", "patients"]].tolist() == [2, 8, 4]
    assert result["p"] == pytest.approx(8 / 24, abs=0.03)
    assert result["cramers_v"] == pytest.approx(associations.corrected_v(1.0, 2, 2, 4))
    assert result["by_chance"] == pytest.approx(result["cramers_v"] / 3, abs=0.03)


def test_a_trait_of_the_patient_is_not_tested_as_if_images_were_patients():
    """Vendors dealt by chance to 30 patients of 8 images each: by images p is far below what it may be."""
    rng, found = np.random.default_rng(0), []
    for seed in range(40):
        vendor, label = np.repeat(rng.choice(["GE", "Hologic"], 30), 8), np.repeat(rng.permutation(CLASSES * 15), 8)
        table = pd.DataFrame({"patient": np.repeat(np.arange(30), 8), "label": label})
        found.append(associations.cramers_v(table, pd.DataFrame({"vendor": vendor}), seed, 99).iloc[0])
    ps, vs = (np.array([line[name] for line in found]) for name in ("p", "cramers_v"))
    assert vs.mean() < 0.12
    assert np.mean(ps < 0.05) <= 0.15
    assert 0.3 < np.mean(ps) < 0.7


def test_one_value_or_one_class_has_no_v():
    table = cohort()
    result = associations.cramers_v(table, associations.traits(table), 1, 9)
    assert result.index.tolist() == ["year", "vendor", "view", "spacing (mm)", "breast size"]
    assert result["cramers_v"].isna().tolist() == [True, True, False, True, False]
    assert result.loc["view", "p"] == 1
    alone = table.assign(label="solid")
    assert associations.cramers_v(alone, associations.traits(alone), 1, 9)["p"].isna().all()


def people(n=6, **columns) -> pd.DataFrame:
    """n patients of one class and part with two images each; columns are given a patient."""
    table = pd.DataFrame({"patient": [f"P{k}" for k in range(n)], "label": "solid", "split": "development"})
    blank = dict.fromkeys(("age", "lesion_size_mm", "breast_density", "specimen"), "")
    return pd.concat([table.assign(**(blank | columns))] * 2, ignore_index=True)


def test_table_one_counts_patients_and_says_how_many_are_unknown():
    table = people(age=["40", "50", "60", "70", "80", ""], breast_density=["a", "b", "b", "b", "", ""])
    column = associations.table_one(table, CLASSES)["development", "solid"]
    assert column.to_dict() == {
        ("patients", "n"): "6",
        ("age (years)", "median [quartiles]"): "60 [50, 70]",
        ("age (years)", "unknown"): "1",
        ("density (BI-RADS)", "a"): "1 (25%)",
        ("density (BI-RADS)", "b"): "3 (75%)",
        ("density (BI-RADS)", "unknown"): "2",
    }


def test_a_patient_counts_once_in_each_part_and_class_with_what_is_first_known():
    table = people(age="50", specimen="core")
    table.loc[:5, "age"] = ""  # her other image has it
    both = pd.concat([table, table.assign(label="scirrhous", specimen=""), table.assign(split="test")])
    found = associations.table_one(both, CLASSES)
    assert found.columns.tolist() == [("development", "solid"), ("development", "scirrhous"), ("test", "solid")]
    assert found.loc[("patients", "n")].tolist() == ["6"] * 3
    assert found.loc[("age (years)", "median [quartiles]")].tolist() == ["50 [50, 50]"] * 3
    assert found.loc[("specimen", "core")].tolist() == ["6 (100%)", "0", "6 (100%)"]
    assert found.loc[("specimen", "unknown")].tolist() == ["0", "6", "0"]


def test_no_patients_own_age_is_shown():
    found = associations.table_one(people(5, age=["41", "43", "47", "53", ""]), CLASSES)
    assert found.loc[("age (years)", "median [quartiles]")].tolist() == ["fewer than 5 known"]
    assert not found.map(lambda cell: any(age in cell for age in ("41", "43", "47", "53"))).any(axis=None)
    assert associations.table_one(people(), CLASSES).index.tolist() == [("patients", "n")]
