"""Calibration of probabilities: by hand, and on simulated models that are right or wrong by a known amount."""

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.special import softmax
from sklearn.metrics import log_loss

from mammolib import calibration
from mammolib.predictions import as_arrays

CLASSES = ["w", "x", "y", "z"]


def calibrated(n=4000, k=3, seed=0):
    """Truth drawn from probabilities, so that they are right; logits of ordinary size."""
    rng = np.random.default_rng(seed)
    probabilities = softmax(rng.normal(scale=1.5, size=(n, k)), axis=1)
    return (probabilities.cumsum(1) < rng.random((n, 1))).sum(1), probabilities


def too_sure(temperature, **how):
    """The same model with logits too large: dividing by `temperature` repairs them."""
    truth, probabilities = calibrated(**how)
    return truth, softmax(np.log(probabilities) * temperature, axis=1)


def predictions(truth, probabilities, split="test", fold=-1, first=0):
    """Predictions table of two images a patient."""
    classes = CLASSES[: probabilities.shape[1]]
    number = np.arange(len(truth))
    table = pd.DataFrame(probabilities, columns=[f"p_{name}" for name in classes])
    ids = {"image_id": [f"i{first + i}" for i in number], "patient": [f"p{(first + i) // 2}" for i in number]}
    return table.assign(**ids, label=np.array(classes)[truth], split=split, fold=fold)


def test_calibration_error_by_hand_and_its_floor():
    bins = np.array([0, 0, 1, 1])
    error = calibration.calibration_error(np.array([0.5, 0.7, 0.8, 1.0]), np.array([0, 1, 1, 1]), bins)
    assert error == pytest.approx((2 * 0.1 + 2 * 0.1) / 4)
    confidence = np.random.default_rng(0).uniform(1 / 3, 1, 5000)
    rest = (1 - confidence) / 2
    probabilities = np.stack([confidence, rest, rest], axis=1)
    rng = np.random.default_rng(1)
    right = np.where(rng.random(5000) < confidence, 0, 1)
    good = calibration.calibration(right, probabilities, seed=2)
    assert good["ece"] < 2.5 * good["ece_if_perfect"]
    assert good["ece_if_perfect_p"] > 0.05
    always_wrong = calibration.calibration(np.ones(5000, int), probabilities, seed=2)
    assert always_wrong["ece"] > 20 * always_wrong["ece_if_perfect"]
    assert always_wrong["ece_if_perfect_p"] == 0
    assert np.bincount(calibration.confidence_bins(probabilities[:131])).tolist() == [27, 26, 26, 26, 26]


@pytest.mark.parametrize("bins", [5, 10])
def test_what_a_perfect_model_shows_is_the_mean_of_a_half_normal(bins):
    """131 images in 10 bins show about 0.08: each bin's gap is close to normal, and E|z| is sqrt(2 / pi)."""
    confidence = np.linspace(0.65, 0.99, 131)
    bin_of = np.arange(131) * bins // 131
    variance = np.bincount(bin_of, confidence * (1 - confidence))
    expected = np.sqrt(2 / np.pi * variance).sum() / 131
    found = calibration.perfect_errors(confidence, bin_of, np.arange(131), seed=0).mean()
    assert found == pytest.approx(expected, rel=0.05)  # 500 draws: 1.5 %; a dozen coins are not quite normal
    assert found == pytest.approx({5: 0.057, 10: 0.080}[bins], abs=0.004)


def test_twins_of_an_image_show_the_error_of_half_as_many():
    """Views that are always alike are no second observation: the error is larger by the root of 2."""
    confidence = np.repeat(np.linspace(0.4, 0.99, 150), 2)
    bin_of, patient = np.arange(300) // 60, np.arange(300) // 2
    twins, alone = (calibration.perfect_errors(confidence, bin_of, who, 0) for who in (patient, np.arange(300)))
    half = calibration.perfect_errors(confidence[::2], bin_of[::2], np.arange(150), 0)
    assert twins == pytest.approx(half)
    assert twins.mean() == pytest.approx(np.sqrt(2) * alone.mean(), rel=0.06)  # 500 draws each: 2 %


def test_views_as_alike_as_real_ones_lie_between_the_two():
    truth, probabilities = calibrated(n=200)
    found = calibration.calibration(truth, probabilities, 0, np.arange(200) // 2)
    confidence, bin_of = probabilities.max(1), calibration.confidence_bins(probabilities)
    rng = np.random.default_rng(1)
    shared = np.repeat(rng.random((2000, 100)) < 0.4, 2, axis=1)  # of two patients in five the views go together
    drawn = np.where(shared, np.repeat(rng.random((2000, 100)), 2, axis=1), rng.random((2000, 200)))
    between = calibration.calibration_error(confidence, drawn < confidence, bin_of).mean()
    assert found["ece_if_perfect"] < between < found["ece_if_perfect_at_most"]


def test_few_patients_have_few_bins():
    truth, probabilities = calibrated(n=60)
    assert calibration.calibration(truth, probabilities, 0, np.arange(60) // 2)["bins"] == 3
    assert calibration.calibration(truth[:9], probabilities[:9], 0, np.arange(9))["bins"] == 1


@pytest.mark.parametrize("k", [2, 3, 4])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_is_found_again(k, temperature):
    truth, probabilities = too_sure(temperature, k=k)
    found = calibration.fit_temperature(truth, probabilities)
    assert found == pytest.approx(temperature, rel=0.08)  # 4,000 images: a standard error of about 2 to 3 %
    other = minimize(
        lambda t: log_loss(truth, softmax(np.log(probabilities) / t[0], axis=1), labels=range(k)),
        [1.3],
        method="Nelder-Mead",
    )
    assert found == pytest.approx(other.x[0], rel=1e-3)  # two ways down the same valley, which is flat


def test_the_log_loss_of_new_images_is_lower_and_no_answer_changes():
    fitted = calibration.fit_temperature(*too_sure(2.5, n=600, seed=1))
    truth, probabilities = too_sure(2.5, n=600, seed=2)
    scaled = calibration.apply_temperature(probabilities, fitted)
    assert log_loss(truth, scaled) < log_loss(truth, probabilities) - 0.05
    assert (scaled.argmax(1) == probabilities.argmax(1)).all()
    assert scaled.sum(1) == pytest.approx(1)


def test_a_certain_error_has_a_finite_logit():
    scaled = calibration.apply_temperature(np.array([[1.0, 0.0], [0.5, 0.5]]), 10.0)
    assert scaled[0] == pytest.approx([1 - 1.6e-4, 1.6e-4], abs=1e-5)  # exp(-87.3 / 10)
    assert scaled[1].tolist() == [0.5, 0.5]
    assert np.isfinite(calibration.fit_temperature(np.array([1, 0]), np.array([[1.0, 0.0], [0.5, 0.5]])))


def test_a_test_part_is_scaled_by_what_was_held_out():
    table, held_out = predictions(*too_sure(2.0, seed=3)), predictions(*too_sure(2.0, seed=4), "out_of_fold", 0, 9000)
    before = table.copy()
    scaled, found = calibration.scale_temperature(table, CLASSES[:3], held_out, 0)
    pd.testing.assert_frame_equal(table, before)
    assert found["value"] == pytest.approx(2, rel=0.08)
    assert found["fitted_on"] == {"n": 4000, "patients": 2000}
    assert all(found["after"][name] < found["before"][name] for name in ("ece", "log_loss", "brier"))
    truth, probabilities, _ = as_arrays(scaled, CLASSES[:3])
    assert found["after"]["log_loss"] == pytest.approx(log_loss(truth, probabilities))
    assert not {"note", "by_fold"} & set(found)
    several = held_out.assign(fold=np.arange(4000) // 2 % 4)
    assert "mean of 4" in calibration.scale_temperature(table, CLASSES[:3], several, 0)[1]["note"]
    with pytest.raises(ValueError, match="patient p4500 is in the test part too"):
        calibration.scale_temperature(predictions(*too_sure(2.0), first=9000), CLASSES[:3], held_out, 0)


def test_a_fold_is_scaled_by_the_others_alone():
    """Fold 1 is far too sure; its own temperature must come from fold 0, which is not."""
    parts = [predictions(*too_sure(t, seed=s), "out_of_fold", s, 9000 * s) for s, t in enumerate((1.0, 3.0))]
    table = pd.concat(parts, ignore_index=True)
    scaled, found = calibration.scale_temperature(table, CLASSES[:3], None, 0)
    assert found["by_fold"] == {0: pytest.approx(3, rel=0.08), 1: pytest.approx(1, rel=0.08)}
    assert found["value"] == pytest.approx(np.sqrt(np.prod(list(found["by_fold"].values()))))
    alone = calibration.apply_temperature(as_arrays(parts[1], CLASSES[:3])[1], found["by_fold"][1])
    assert as_arrays(scaled[4000:], CLASSES[:3])[1] == pytest.approx(alone)


def test_a_patient_in_two_folds_fits_nothing_of_her_own():
    table = predictions(*too_sure(2.0, n=200), "out_of_fold", np.arange(200) % 2)  # one view here, the other there
    assert "0 held-out patients" in calibration.scale_temperature(table, CLASSES[:3], None, 0)[1]["note"]


@pytest.mark.parametrize("patients", [0, 19])
def test_too_few_held_out_patients_fit_nothing(patients):
    table = predictions(*too_sure(2.0, n=100))
    held_out = predictions(*too_sure(2.0, n=2 * patients), "out_of_fold", 0, 900) if patients else None
    same, found = calibration.scale_temperature(table, CLASSES[:3], held_out, 0)
    assert found == {"note": f"not fitted: {patients} held-out patients to fit it on; 20 or more are needed"}
    pd.testing.assert_frame_equal(same, table)


def test_a_faultless_validation_has_no_temperature():
    truth, probabilities = calibrated(n=200)
    table, sure = predictions(truth, probabilities), predictions(probabilities.argmax(1), probabilities, first=900)
    assert "at an end of what was searched" in calibration.scale_temperature(table, CLASSES[:3], sure, 0)[1]["note"]
