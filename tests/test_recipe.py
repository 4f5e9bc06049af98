"""What a recipe's numbers mean: optimisers and their clipping, rates by epoch."""

import keras
import pytest

from mammolib.recipe import make_optimizer, rate_at


def test_rate_schedules():
    assert rate_at(7, 10, 0.1, "constant") == 0.1
    assert [rate_at(epoch, 4, 1.0, "cosine") for epoch in (1, 3)] == [1.0, pytest.approx(0.5)]


def test_clip_global_and_variable():
    assert make_optimizer("adam", 1e-5, "global", 0.001).global_clipnorm == 0.001
    assert make_optimizer("adam", 1e-5, "variable", 0.001).clipnorm == 0.001
    assert make_optimizer("sgd", 1e-3).clipnorm is None
    assert isinstance(make_optimizer("sgd", 1e-3), keras.optimizers.SGD)
    assert isinstance(make_optimizer("adam", 1e-3), keras.optimizers.Adam)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimizer": "lion"}, "optimizer: 'lion' is unknown; allowed are adam, sgd"),
        ({"clip": "value"}, "clip: 'value' is unknown; allowed are global, variable, none"),
        ({"learning_rate": 0.0}, "learning_rate: 0.0; allowed is above 0"),
        ({"clip": "global", "clip_norm": 0.0}, "clip_norm: 0.0"),
    ],
)
def test_bad_optimiser_is_named(settings, message):
    with pytest.raises(ValueError, match=message):
        make_optimizer(**{"optimizer": "adam", "learning_rate": 1e-5, **settings})
