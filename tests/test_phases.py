"""Phases of a training: the head first, down-sampling draws, and the epoch that is kept."""

import keras
import numpy as np
import pytest

from mammolib.folds import downsampled
from mammolib.network import build_network
from mammolib.phases import Phase, kept_epoch, phases, train
from mammolib.recipe import make_optimizer

LOOP = {"seed": 1, "batch_size": 4, "report": lambda line: None}


def adam(rate: float) -> keras.optimizers.Optimizer:
    return make_optimizer("adam", rate)


def noise(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Images without a sign, of classes by turns: validation loss rises and falls."""
    return np.random.default_rng(0).integers(1, 65535, (count, 32, 32)).astype(np.uint16), np.arange(count) % 2


def small(head: str = "gap") -> keras.Model:
    return build_network((32, 32, 1), 2, width=1 / 64, head=head, initializer="he_normal", seed=1)


def test_one_phase_or_the_head_first():
    assert phases(50, 1e-5, "constant", 2) == [Phase(0, 50, 2, 1e-5, "constant")]
    assert phases(30, 1e-4, "cosine", 1, 5, 0.01) == [
        Phase(0, 5, 5, 0.01, "constant"),
        Phase(5, 25, 1, 1e-4, "cosine"),
    ]


def test_draws_follow_each_other_and_the_head_opens_the_first():
    assert phases(50, 1e-3, "constant", downsampling_draws=2) == [
        Phase(0, 50, 0, 1e-3, "constant", 0),
        Phase(50, 50, 0, 1e-3, "constant", 1),
    ]
    assert [(phase.after, phase.epochs, phase.draw) for phase in phases(4, 1e-3, "cosine", 0, 1, 0.1, 3)] == [
        (0, 1, 0),
        (1, 3, 0),
        (4, 4, 1),
        (8, 4, 2),
    ]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"head_epochs": 8}, "head_epochs: 8; allowed is 0 to 7"),
        ({"head_epochs": -1}, "head_epochs: -1"),
    ],
)
def test_phases_that_can_not_be_are_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        phases(**{"epochs": 8, "learning_rate": 1e-5, "schedule": "constant", **wrong})


def test_in_the_first_phase_the_head_alone_moves_and_epochs_go_on_counting():
    images, labels = noise(8)
    network, moved = small(), []

    def changed(before: dict, after: dict) -> set:
        return {name for name in before if any(map(np.any, map(np.not_equal, before[name], after[name])))}

    def optimizer(rate: float) -> keras.optimizers.Optimizer:  # made as each phase begins
        moved.append({layer.name: layer.get_weights() for layer in network.layers})
        return adam(rate)

    history = train(
        network, images, labels, np.arange(8), np.arange(0), phases(4, 1e-2, "cosine", 1, 2, 1e-2), optimizer, **LOOP
    )
    end = {layer.name: layer.get_weights() for layer in network.layers}
    assert changed(*moved) == {"logits"}
    second = changed(moved[1], end)
    assert not {name for name in second if name.startswith("block1")}
    assert {"block2_conv1", "block5_conv3", "logits"} <= second
    assert [row["epoch"] for row in history] == [1, 2, 3, 4]
    assert [row["learning_rate"] for row in history] == pytest.approx([1e-2, 1e-2, 1e-2, 5e-3])
    assert all(layer.trainable for layer in network.layers), "who loads the file trains all of it"


def test_downsampling_takes_as_many_of_each_class_as_the_rarest_has():
    labels = np.array([0] * 9 + [1] * 4 + [2] * 2)
    rows = np.arange(1, 14)  # 8, 4 and 1
    drawn = downsampled(rows, labels, 3)
    assert np.bincount(labels[drawn]).tolist() == [1, 1, 1]
    assert set(drawn) <= set(rows)
    drawn = downsampled(np.arange(15), labels, 3)
    assert np.bincount(labels[drawn]).tolist() == [2, 2, 2]
    assert len(set(drawn)) == 6
    assert np.array_equal(drawn, downsampled(np.arange(15), labels, 3))
    assert not np.array_equal(drawn, downsampled(np.arange(15), labels, 3, 1)), "another draw"
    assert downsampled(np.arange(0), labels, 1).size == 0


def test_each_draw_trains_on_its_own_images(monkeypatch):
    images, labels = noise(12)
    labels = (np.arange(12) > 7).astype(int)  # 8 and 4
    seen = []
    monkeypatch.setattr("mammolib.training.run_epoch", lambda *args: (seen.append(set(args[3])), (0.5, 0.5))[1])
    train(
        small(),
        images,
        labels,
        np.arange(12),
        np.arange(0),
        phases(2, 1e-3, "constant", downsampling_draws=2),
        adam,
        **LOOP,
    )
    assert [len(rows) for rows in seen] == [8] * 4
    assert seen[0] == seen[1] == set(downsampled(np.arange(12), labels, 1))
    assert seen[2] == seen[3] != seen[0]


def test_space_is_asked_for_the_largest_optimiser_of_all_phases_before_the_first_epoch(tmp_path, monkeypatch):
    images, labels = noise(8)
    seen, network = [], small("fc")
    monkeypatch.setattr(
        "mammolib.checkpoint.require_space", lambda path, variables, runs: seen.append((variables, runs))
    )
    plan = phases(2, 1e-3, "constant", head_epochs=1)
    rows = np.arange(8), np.arange(0)
    train(network, images, labels, *rows, plan, adam, keep_in=tmp_path / "private" / "c.npz", facts={}, runs=3, **LOOP)
    ((variables, runs),) = seen
    assert runs == 3
    size = sum(int(np.prod(variable.shape)) for variable in variables)
    assert size == pytest.approx(3 * network.count_params(), abs=2), "weights and two moments of all; step and rate"


def test_lines_count_the_epochs_of_all_phases():
    images, labels = noise(8)
    lines, plan = [], phases(2, 1e-3, "constant", head_epochs=1, downsampling_draws=2)
    history = train(
        small(), images, labels, np.arange(8), np.arange(0), plan, adam, **LOOP | {"report": lines.append, "name": "m"}
    )
    assert [line.split("  loss")[0] for line in lines] == [f"m  epoch   {epoch}/4" for epoch in range(1, 5)]
    assert [row["images"] for row in history] == [8] * 4


def test_best_ends_with_the_weights_of_the_lowest_validation_loss():
    images, labels = noise(16)
    rows, held_out, plan = np.arange(10), np.arange(10, 16), phases(6, 3e-2, "constant")
    best, last = small(), small()
    history = train(best, images, labels, rows, held_out, plan, adam, keep="best", **LOOP)
    train(last, images, labels, rows, held_out, plan, adam, **LOOP)
    losses = [row["validation_loss"] for row in history]
    epoch = kept_epoch(history, "best")
    assert epoch == int(np.argmin(losses)) + 1 < 6 == kept_epoch(history, "last"), "else nothing is tested"
    stopped = small()
    train(stopped, images, labels, rows, held_out, phases(epoch, 3e-2, "constant"), adam, **LOOP)
    assert all(map(np.array_equal, best.get_weights(), stopped.get_weights()))
    assert not all(map(np.array_equal, best.get_weights(), last.get_weights()))


def test_best_needs_someone_held_out():
    images, labels = noise(8)
    with pytest.raises(ValueError, match="keep: best, but nobody is held out"):
        train(
            small(), images, labels, np.arange(8), np.arange(0), phases(1, 1e-3, "constant"), adam, keep="best", **LOOP
        )
