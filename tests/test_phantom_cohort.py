"""The cohort: numbers, traps, real files, and nothing that tells the class but the sign."""

import os
import shutil
import subprocess
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pandas as pd
import pytest
import yaml
from pydicom import dcmread
from pydicom.pixels import apply_voi_lut
from scipy import ndimage
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mammolib.phantom import Case, compose, draw_parts, pixel_grid
from mammolib.phantom_cohort import plan_cohort, write_cohort
from mammolib.phantom_dicom import SYNTAXES, UNITS, phantom_dataset, to_stored, write_dataset
from mammolib.phantom_lesion import SIGNS, polar
from mammolib.rooms import project_root

CASES = 900  # one view a patient, so that the images are independent
CHANCE, STANDARD_ERROR = 1 / 3, np.sqrt(2 / 9 / CASES)


def shipped_conspicuity() -> float:
    path = project_root() / "params" / "demo" / "00_synthetic_cohort.yaml"
    return yaml.safe_load(path.read_text(encoding="utf-8"))["conspicuity"]


def test_the_study_s_numbers_and_the_traps():
    plan = plan_cohort(1, 988, 131, [1, 1, 1])
    usual = plan[plan["trap"] == ""]
    assert usual["split"].value_counts().to_dict() == {"development": 988, "test": 131}
    assert usual.groupby("split")["number"].nunique().to_dict() == {"development": 494, "test": 66}
    assert plan["trap"].value_counts().drop("").to_dict() == {
        "outside_period": 6,
        "other_histology": 6,
        "magnification_view": 3,
        "subtype_not_stated": 2,
        "shared_pixels": 2,
        "cut_short": 2,
        "missing_file": 2,
        "not_a_mammogram": 2,
    }
    one_view = usual[usual["split"] == "test"].groupby("patient_id").size()
    assert one_view.value_counts().to_dict() == {2: 65, 1: 1}


def test_class_shares():
    patients = plan_cohort(1, 988, 131, [0.36, 0.19, 0.45]).query("trap == ''").drop_duplicates("number")
    shares = patients["sign"].value_counts(normalize=True)
    assert shares["tubule_forming"] == pytest.approx(0.36, abs=0.01)
    assert shares["solid"] == pytest.approx(0.19, abs=0.01)
    with pytest.raises(ValueError, match=r"class_shares is .*3 positive numbers"):
        plan_cohort(1, 988, 131, [1, 1])
    with pytest.raises(ValueError, match="test_images is 4; allowed: at least 6"):
        plan_cohort(1, 988, 4, [1, 1, 1])


def test_same_seed_same_cohort(tmp_path):
    plan = plan_cohort(5, 8, 7, [1, 1, 1])
    pd.testing.assert_frame_equal(plan, plan_cohort(5, 8, 7, [1, 1, 1]))
    assert not plan.equals(plan_cohort(6, 8, 7, [1, 1, 1]))
    for name in "ab":
        write_cohort(tmp_path / name, plan, 5, 2.0, 1, 1, workers=2)
    files = sorted(path.name for path in (tmp_path / "a" / "images").iterdir())
    assert len(files) == len(plan) - 2  # two missing files
    for file in files:
        assert (tmp_path / "a" / "images" / file).read_bytes() == (tmp_path / "b" / "images" / file).read_bytes()


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_files_show_what_was_drawn_and_pass_dciodvfy(tmp_path, unit, syntax):
    case, path = Case(3, 1, "MLO", "R", "solid"), tmp_path / "IM.dcm"
    drawn = compose(draw_parts(case, 1.0))
    day = pd.Timestamp("2010-03-04").date()
    write_dataset(path, phantom_dataset(drawn, case, "SYN00001", day, 1.0, unit, path.name), syntax)
    ds = dcmread(path)
    shown = apply_voi_lut(ds.pixel_array, ds).astype(float)
    shown = shown / 4095
    if ds.PhotometricInterpretation == "MONOCHROME1":
        shown = 1 - shown
    # 12 bits through a window, and the sigmoid's tails, which never reach black or white.
    assert np.abs(shown - drawn).max() < (0.011 if unit == "sigmoid" else 0.001)
    if shutil.which("dciodvfy") is None:
        if os.environ.get("REQUIRE_DCIODVFY"):
            pytest.fail("dciodvfy (Debian's dicom3tools) is missing though it was asked for")
        pytest.skip("dciodvfy (Debian's dicom3tools) is not installed")
    said = subprocess.run(["dciodvfy", "-new", path], capture_output=True, text=True).stderr
    assert "MammographyImageForPresentation" in said
    assert "Error" not in said, said


def test_stored_values_by_hand():
    # Linear: 0.5 lies half a value below the centre; the ends lie half a width away.
    np.testing.assert_array_equal(to_stored(np.array([0, 0.5, 1.0]), "linear"), [100, 1900, 3699])
    np.testing.assert_array_equal(to_stored(np.array([0, 1.0]), "inverted"), [3699, 100])
    np.testing.assert_array_equal(to_stored(np.array([0.5]), "sigmoid"), [2048])
    np.testing.assert_array_equal(to_stored(np.array([0, 1.0]), "lut"), [0, 4095])


# ---- Nothing tells the class but the sign ----


def describe(image: np.ndarray, parts: dict, spacing: float) -> dict:
    """Features a lazy classifier could use, and texture around the lesion that should see the sign where it is."""
    y, x = pixel_grid(spacing)
    d, _ = polar(parts["lesion"], x, y)
    breast = parts["breast"]
    ring = [image[breast & (d >= low) & (d < low + 0.25)] for low in np.arange(0, 3, 0.25)]
    lesion = image[d < 1]
    smooth = [ndimage.gaussian_filter(image, sigma / spacing) for sigma in (0.7, 1.4, 2.8, 5.6)]
    bands = [smooth[0] - smooth[1], smooth[1] - smooth[2], smooth[2] - smooth[3]]
    blank = breast & (d > 3.2)
    texture = [
        value
        for band in bands[:2]
        for low in np.arange(0, 3, 0.5)
        for part in [band[breast & (d >= low) & (d < low + 0.5)]]
        for value in ((part**2).mean(), (part**3).mean(), np.abs(part).mean())
    ]
    return {
        "band energy": [np.log(band[breast].var()) for band in bands],
        "histogram": np.histogram(image[breast], bins=24, range=(0, 1), density=True)[0],
        "ring means": [part.mean() if part.size else 0 for part in ring],
        "lesion mean and SD": [lesion.mean(), lesion.std()],
        "texture": texture,
        "sign blanked": [
            value
            for band in bands[:2]  # the coarsest would carry the sign over the border
            for value in ((band[blank] ** 2).mean(), (band[blank] ** 3).mean(), np.abs(band[blank]).mean())
        ]
        + list(np.histogram(image[blank], bins=24, range=(0, 1), density=True)[0]),
    }


def describe_case(number: int) -> list[dict]:
    """Features of one case at conspicuity 0, as shipped, clear, and with a planted brightness."""
    spacing, sign = 0.5, list(SIGNS)[number % 3]
    parts = draw_parts(Case(77, number, ("CC", "MLO")[number // 3 % 2], "L", sign), spacing)
    planted = np.clip(compose(parts, 1, 0) + 0.04 * (number % 3) * (parts["mass"] > 0.02), 0, 1)
    images = [compose(parts, 1, c) for c in (0.0, shipped_conspicuity(), 1.0)] + [planted]
    return [describe(image, parts, spacing) for image in images]


@pytest.fixture(scope="module")
def features():
    with ProcessPoolExecutor() as pool:
        cases = list(pool.map(describe_case, range(CASES), chunksize=30))
    names = ("none", "shipped", "clear", "planted")
    return {
        name: {key: np.array([case[k][key] for case in cases]) for key in cases[0][0]} for k, name in enumerate(names)
    }


def accuracy(x: np.ndarray) -> float:
    """Cross-validated accuracy of the better of two classifiers; the classes are in the order of the cases."""
    y = np.arange(len(x)) % 3
    models = (
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)),
        RandomForestClassifier(200, min_samples_leaf=5, random_state=0, n_jobs=2),
    )
    return max(cross_val_score(model, x, y, cv=5).mean() for model in models)


# The better of two classifiers is taken, so chance is a little above a third: 3 SE still covers it.
@pytest.mark.parametrize("kind", ["histogram", "ring means", "lesion mean and SD", "band energy", "texture"])
def test_without_the_sign_every_classifier_is_at_chance(features, kind):
    assert accuracy(features["none"][kind]) < CHANCE + 3 * STANDARD_ERROR


@pytest.mark.parametrize("kind", ["histogram", "ring means", "lesion mean and SD"])
def test_as_shipped_brightness_and_contrast_tell_nothing(features, kind):
    assert accuracy(features["shipped"][kind]) < CHANCE + 0.05


def test_as_shipped_texture_tells_the_class_as_the_readme_says(features):
    assert accuracy(features["shipped"]["texture"]) > 0.9


def test_as_shipped_nothing_is_left_when_the_sign_is_blanked(features):
    assert accuracy(features["shipped"]["sign blanked"]) < CHANCE + 3 * STANDARD_ERROR


def test_the_same_classifiers_find_what_is_there(features):
    assert accuracy(features["clear"]["texture"]) > 0.6
    for kind in ("histogram", "ring means", "lesion mean and SD"):
        assert accuracy(features["planted"][kind]) > CHANCE + 0.05 + 3 * STANDARD_ERROR, kind


def header_table(plan: pd.DataFrame) -> np.ndarray:
    """What a header, a file system and the order of the rows say of the images of one view a patient."""
    columns = {
        "order": plan.index.to_numpy(),
        "side": plan["ImageLaterality"].eq("L"),
        "unit": plan["unit"].astype("category").cat.codes,
        "syntax": plan["syntax"].astype("category").cat.codes,
        "date": pd.to_datetime(plan["diagnosis_date"]).astype("int64") // 86_400_000_000,
        "interval": plan["days_before"],
        "size": [len(name) for name in plan["image_path"]],
    }
    return np.column_stack([np.asarray(column, float) for column in columns.values()])


def test_headers_and_order_are_at_chance_and_a_planted_unit_is_found():
    plan = plan_cohort(9, 1800, 6, [1, 1, 1]).query("trap == ''").drop_duplicates("number").reset_index(drop=True)
    y, n = plan["sign"].to_numpy(), len(plan)
    forest = RandomForestClassifier(300, min_samples_leaf=5, random_state=0, n_jobs=2)
    bound = CHANCE + 3 * np.sqrt(2 / 9 / n)
    assert cross_val_score(forest, header_table(plan), y, cv=5).mean() < bound
    planted = plan.assign(unit=np.where(plan["sign"] == "solid", "lut", plan["unit"]))
    assert cross_val_score(forest, header_table(planted), y, cv=5).mean() > bound
