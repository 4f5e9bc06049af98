"""Calibration of probabilities: by hand, on simulated models that are right or wrong by a known amount."""

import numpy as np
import pytest

from mammolib import calibration


def test_calibration_error_by_hand_and_its_floor():
    bins = np.array([0, 0, 1, 1])
    error = calibration.calibration_error(np.array([0.5, 0.7, 0.8, 1.0]), np.array([0, 1, 1, 1]), bins)
    assert error == pytest.approx((2 * 0.1 + 2 * 0.1) / 4)
    confidence = np.random.default_rng(0).uniform(1 / 3, 1, 5000)
    rest = (1 - confidence) / 2
    probabilities = np.stack([confidence, rest, rest], axis=1)
    rng = np.random.default_rng(1)
    calibrated = np.where(rng.random(5000) < confidence, 0, 1)
    good = calibration.calibration(calibrated, probabilities, seed=2)
    assert good["ece"] < 2.5 * good["ece_if_perfect"]
    always_wrong = calibration.calibration(np.ones(5000, int), probabilities, seed=2)
    assert always_wrong["ece"] > 20 * always_wrong["ece_if_perfect"]
    assert np.bincount(calibration.confidence_bins(probabilities[:131])).tolist() == [27, 26, 26, 26, 26]
