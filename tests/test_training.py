import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from mammolib import checkpoint, training
from mammolib.augmentation import Augmentation
from mammolib.folds import patient_folds, require_batch, require_classes, shuffled, validation_part
from mammolib.network import build_network
from mammolib.network_input import input_scaling, to_network
from mammolib.recipe import make_optimizer
from mammolib.training import (
    check_loss,
    epoch_order,
    fit,
    make_deterministic,
    predict,
    resolve_dtype_policy,
    seed_of,
)


def separable(count: int = 48) -> tuple[np.ndarray, np.ndarray]:
    """Two classes told apart by brightness: class 1 is bright."""
    labels = np.arange(count) % 2
    noise = np.random.default_rng(0).integers(0, 20000, (count, 32, 32), dtype=np.uint16)
    return noise + (labels[:, None, None] * 40000).astype(np.uint16), labels


def train(images, labels, *, rows=None, validation_rows=None, seed=1, epochs=2, report=lambda line: None, **settings):
    make_deterministic(seed)
    network = build_network((32, 32, 1), 2, width=1 / 16, head="gap", initializer="he_normal", dropout=0.1, seed=seed)
    rows = np.arange(len(labels)) if rows is None else rows
    optimizer = make_optimizer("adam", **{"learning_rate": 3e-3, **settings})
    loop = {"seed": seed, "epochs": epochs, "batch_size": 8, "augmentation": Augmentation(seed=seed), "report": report}
    return network, fit(network, images, labels, rows, validation_rows, optimizer=optimizer, **loop)


def test_to_network_spans_zero_to_one():
    images = np.array([[[0, 65535], [13107, 1]]], np.uint16)
    result = to_network(images)
    assert result.shape == (1, 2, 2, 1)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result[0, :, :, 0], [[0, 1], [0.2, 1 / 65535]], rtol=1e-6)
    with pytest.raises(ValueError, match="allowed is uint16"):
        to_network(images.astype(float))


def test_folds_keep_patients_together_and_spread_classes():
    patients = np.repeat(np.arange(60), 2)
    labels = np.repeat(np.arange(60) % 3, 2)
    fold = patient_folds(labels, patients, 5, seed=0)
    assert sorted(set(fold)) == [0, 1, 2, 3, 4]
    assert all(len(set(fold[patients == patient])) == 1 for patient in range(60))
    counts = np.array([np.bincount(labels[fold == number], minlength=3) for number in range(5)])
    assert counts.min() >= 6  # 8 each if even; whole patients allow one patient more or less
    assert np.array_equal(fold, patient_folds(labels, patients, 5, seed=0))
    assert not np.array_equal(fold, patient_folds(labels, patients, 5, seed=1))


def test_validation_part_holds_out_whole_patients():
    patients, labels = np.repeat(np.arange(60), 2), np.repeat(np.arange(60) % 3, 2)
    part = validation_part(labels, patients, 0.1, seed=0)
    assert not set(patients[part == 0]) & set(patients[part == -1])
    assert 0.05 < np.mean(part == 0) < 0.15
    assert (validation_part(labels, patients, 0.0, seed=0) == -1).all()
    few = np.arange(12)
    with pytest.raises(
        ValueError, match=r"share: 0\.1 holds out .* of class 0 only 6 can be dealt out; allowed is 0\.167 or more"
    ):
        validation_part(few % 2, few, 0.1, seed=0)


def test_too_few_patients_name_class_and_count():
    with pytest.raises(ValueError, match="of class b only 1 can be dealt out; allowed is at most 1"):
        patient_folds(["a", "a", "a", "b", "b"], [0, 1, 2, 3, 3], 4, seed=0)
    with pytest.raises(ValueError, match=r"of class b only 1 can be dealt out; allowed is 0 \(nobody\)$"):
        validation_part(["a", "a", "a", "b", "b"], [0, 1, 2, 3, 3], 0.5, seed=0)
    require_classes(["a", "b", "a", "b"], np.array([0, 0, -1, -1]))
    with pytest.raises(ValueError, match="fold 1 has no image of class b; allowed are fewer folds"):
        require_classes(["a", "b", "a"], np.array([0, 0, 1]))
    many = np.arange(1332)  # 666 of each class: 0.0015 would be one in 667
    with pytest.raises(ValueError, match=r"allowed is 0\.002 or more"):
        validation_part(many % 2, many, 0.001, seed=0)


def test_two_runs_give_equal_weights_and_another_seed_others():
    images, labels = separable(24)
    first, history = train(images, labels)
    second, again = train(images, labels)
    other, _ = train(images, labels, seed=2, epochs=1)
    assert all(np.array_equal(a, b) for a, b in zip(first.get_weights(), second.get_weights(), strict=True))
    assert [row["loss"] for row in history] == [row["loss"] for row in again]
    assert not np.array_equal(first.get_weights()[0], other.get_weights()[0])


def test_learns_a_separable_set_and_not_shuffled_labels():
    images, labels = separable(72)
    rows, held_out = np.arange(48), np.arange(48, 72)
    lines = []
    network, history = train(images, labels, rows=rows, validation_rows=held_out, epochs=12, report=lines.append)
    assert history[-1]["validation_accuracy"] > 0.95
    assert (
        np.mean(predict(network, images[held_out]).argmax(axis=1) == labels[held_out])
        == history[-1]["validation_accuracy"]
    )
    assert len(lines) == 12
    assert "epoch  12/12" in lines[-1]
    mixed = shuffled(labels, rows, seed=0)
    assert np.array_equal(np.bincount(mixed[rows]), np.bincount(labels[rows]))
    assert np.array_equal(mixed[held_out], labels[held_out])
    _, history = train(images, mixed, rows=rows, validation_rows=held_out, epochs=12)
    assert history[-1]["accuracy"] < 0.75  # what images at random allow; 48 coin tosses exceed 0.73 once in a thousand


def test_order_follows_from_seed_and_epoch_alone():
    rows = np.arange(10, 40)
    assert np.array_equal(epoch_order(rows, 3, 2), epoch_order(rows, 3, 2))
    assert not np.array_equal(epoch_order(rows, 3, 2), epoch_order(rows, 3, 3))
    assert sorted(epoch_order(rows, 3, 2)) == rows.tolist()


def test_nan_loss_stops_with_epoch_and_rate():
    images, labels = separable(16)
    with pytest.raises(FloatingPointError, match="epoch 1 of model at learning rate"):
        train(images, labels, learning_rate=float("inf"))


def test_a_loss_that_explodes_stops_with_epoch_rate_and_hint_and_a_bad_start_that_falls_does_not():
    ten_times = 10 * np.log(3)
    for earlier, loss in (([], 50.0), ([50.0], 40.0), ([1.0], ten_times - 0.1), ([1.1, 1.0], 1.2)):
        check_loss(loss, earlier, 3, 2, "model", 1e-3)
    for earlier in ([1.0], [50.0, 1.0, 30.0], [ten_times + 1]):
        with pytest.raises(
            FloatingPointError, match=r"explodes to 12 .*epoch 7 of model_fold2 at learning rate 0.001; try"
        ):
            check_loss(ten_times + 1, earlier, 3, 7, "model_fold2", 1e-3)
    with pytest.raises(FloatingPointError, match="loss is inf in epoch 1"):
        check_loss(float("inf"), [], 3, 1, "model", 1e-3)


def test_a_rate_far_too_high_explodes_within_a_few_epochs():
    images, labels = separable(16)
    network = build_network((32, 32, 1), 2, width=1 / 16, head="gap", seed=1)
    loop = {"seed": 1, "epochs": 8, "batch_size": 8, "report": lambda line: None}
    with pytest.raises(FloatingPointError, match=r"loss (explodes|is) .* at learning rate 1; try a lower"):
        fit(network, images, labels, np.arange(16), optimizer=make_optimizer("adam", 1.0), **loop)


@pytest.mark.parametrize(("every", "kept"), [(0, []), (1, [1, 2, 3, 4, 5]), (2, [2, 4, 5]), (9, [5])])
def test_checkpoints_are_kept_every_so_many_epochs_and_after_the_last(tmp_path, monkeypatch, every, kept):
    images, labels = separable(8)
    network = build_network((32, 32, 1), 2, width=1 / 64, head="gap")
    written = []
    monkeypatch.setattr(checkpoint, "keep", lambda path, facts, history, variables: written.append(len(history)))
    loop = {"seed": 1, "epochs": 5, "batch_size": 8, "keep_in": tmp_path / "private" / "c.npz", "keep_every": every}
    fit(network, images, labels, np.arange(8), optimizer=make_optimizer("adam", 1e-3), report=lambda line: None, **loop)
    assert written == kept


def test_batch_larger_than_the_set_stops_before_training():
    images, labels = separable(4)
    with pytest.raises(ValueError, match="batch_size: 8; allowed is 1 to 4"):
        train(images, labels)


@pytest.mark.parametrize(
    ("fold", "downsampling", "allowed"),
    [
        ([-1] * 9, False, 9),
        ([-1] * 9, True, 6),  # 3 of one class, 6 of the other
        ([0, 0, -1, -1, -1, -1, -1, -1, -1], True, 2),  # one of three is left
        ([0, 1, 1, 0, 0, 0, 1, 1, 1], False, 4),  # fold 1's network has 4 left, fold 0's 5
        ([0, 1, 1, 0, 0, 0, 1, 1, 1], True, 2),
    ],
)
def test_a_batch_that_a_later_fold_cannot_fill_is_known_before_the_first(fold, downsampling, allowed):
    labels = np.repeat([0, 1], [3, 6])
    require_batch(allowed, labels, np.array(fold), downsampling)
    with pytest.raises(ValueError, match=f"batch_size: {allowed + 1}; allowed is 1 to {allowed}, "):
        require_batch(allowed + 1, labels, np.array(fold), downsampling)


def test_a_single_image_is_not_normalised_over_its_batch():
    images, labels = separable(4)
    network = build_network((32, 32, 1), 2, width=1 / 64, head="dense256")
    with pytest.raises(ValueError, match=r"batch_size: 1, .*allowed is 2"):
        fit(network, images, labels, np.arange(4), seed=1, epochs=1, batch_size=1, optimizer=make_optimizer("sgd", 1.0))


def test_predict_in_parts_equals_whole_and_output_is_probability():
    images, _ = separable(10)
    network = build_network((32, 32, 1), 3, width=1 / 16, head="gap")
    parts = predict(network, images, batch_size=4)
    np.testing.assert_allclose(parts, predict(network, images, batch_size=10), atol=1e-6)  # sums in another order
    np.testing.assert_allclose(parts.sum(axis=1), 1, atol=1e-6)
    rows = np.array([7, 0, 3, 2, 9, 1])
    assert np.array_equal(predict(network, images, 4, rows), predict(network, images[rows], 4))


def test_each_epoch_has_a_rate_an_order_and_an_augmentation_of_its_own(monkeypatch):
    images, labels = separable(16)
    augmentation, seen, real = Augmentation(seed=3), [], training.run_epoch

    def watched(trainer, *args):
        drawn = np.asarray(augmentation.generator.state).tolist()
        seen.append((float(trainer.optimizer.learning_rate), tuple(args[2]), tuple(drawn)))
        return real(trainer, *args)

    monkeypatch.setattr(training, "run_epoch", watched)
    network = build_network((32, 32, 1), 2, width=1 / 64, head="gap", seed=1)
    loop = {"seed": 1, "epochs": 3, "batch_size": 8, "schedule": "cosine", "report": lambda line: None}
    optimizer = make_optimizer("adam", 1e-3)
    fit(network, images, labels, np.arange(16), optimizer=optimizer, augmentation=augmentation, **loop)
    assert [len(set(column)) for column in zip(*seen, strict=True)] == [3, 3, 3]
    assert [rate for rate, _, _ in seen] == pytest.approx([1e-3, 7.5e-4, 2.5e-4])


def test_losses_are_means_over_images_in_nats_and_the_augmentation_acts_in_training_alone():
    images, labels = separable(12)
    still = {"seed": 1, "epochs": 1, "batch_size": 8, "report": lambda line: None}  # a whole batch and half a one
    turned = Augmentation(rotation=3, shift=0.5, seed=3)
    losses = []
    for augmentation in (None, turned):
        network = build_network((32, 32, 1), 2, width=1 / 16, head="fc", initializer="he_normal", seed=1)
        of_label = predict(network, images)[np.arange(12), labels]
        optimizer, rows = make_optimizer("sgd", 1e-12), np.arange(12)
        history = fit(network, images, labels, rows, rows, optimizer=optimizer, augmentation=augmentation, **still)
        losses.append([history[0]["loss"], history[0]["validation_loss"]])
    expected = -np.log(of_label).mean()
    assert losses[0] == pytest.approx([expected, expected], rel=1e-4)  # float32, and a step of 1e-12
    assert losses[1][1] == pytest.approx(expected, rel=1e-4)
    assert losses[1][0] != pytest.approx(expected, rel=1e-3)


def test_a_validation_loss_that_is_no_number_stops_with_its_name(monkeypatch):
    images, labels = separable(8)
    monkeypatch.setattr(training, "validate", lambda *args: (float("nan"), 0.5))
    with pytest.raises(FloatingPointError, match="validation loss is nan in epoch 1 of model"):
        train(images, labels, validation_rows=np.arange(8), epochs=1)


def test_many_networks_are_asked_without_a_warning():
    images, lines = separable(2)[0], []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: lines.append(record.getMessage())
    logging.getLogger("tensorflow").addHandler(handler)
    try:
        for seed in range(8):
            predict(build_network((32, 32, 1), 2, width=1 / 64, head="gap", seed=seed), images)
    finally:
        logging.getLogger("tensorflow").removeHandler(handler)
    assert lines == []


def test_a_batch_of_larger_images_holds_no_more_pixels():
    class Counting:
        input_shape, output_shape, seen = (None, 8, 8, 1), (None, 2), ()

        def predict_on_batch(self, batch):
            self.seen = (*self.seen, len(batch))
            return np.zeros((len(batch), 2), np.float32)

    for side, sizes in ((112, (64, 6)), (224, (64, 6)), (500, (12,) * 5 + (10,)), (2000, (1,) * 70)):
        network = Counting()
        assert len(predict(network, np.broadcast_to(np.uint16(0), (70, side, side)))) == 70
        assert network.seen == sizes


@pytest.mark.parametrize("device", ["gpu:0", "cuda:0"])
def test_dtype_policy_auto_is_bfloat16_on_a_gpu_and_where_the_processor_has_it(monkeypatch, tmp_path, device):
    monkeypatch.setattr(keras.distribution, "list_devices", lambda: ["cpu:0", device])
    assert resolve_dtype_policy("auto") == "mixed_bfloat16"
    assert resolve_dtype_policy("float32") == "float32"
    monkeypatch.setattr(keras.distribution, "list_devices", lambda: ["cpu:0"])
    for flags, policy in (("fma avx2", "float32"), ("avx512_bf16 fma", "mixed_bfloat16")):
        (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: {flags}\n")
        monkeypatch.setattr(training, "open", lambda path, **_: (tmp_path / "cpuinfo").open(), raising=False)
        assert resolve_dtype_policy("auto") == policy


def test_every_fold_has_a_seed_of_its_own_that_follows_from_the_run_s():
    seeds = [seed_of(seed, fold) for seed in (1, 2) for fold in range(5)]
    assert len(set(seeds)) == 10
    assert seeds[:5] == [seed_of(1, fold) for fold in range(5)]
    assert all(0 <= seed < 2**31 for seed in seeds)
    first, second = (build_network((32, 32, 1), 2, width=1 / 64, seed=seed).get_weights()[0] for seed in seeds[:2])
    assert not np.array_equal(first, second)


def test_bfloat16_trains_with_float32_output():
    images, labels = separable(16)
    network = build_network((32, 32, 1), 2, width=1 / 16, head="gap", dtype_policy="mixed_bfloat16")
    history = fit(
        network, images, labels, np.arange(16), seed=0, epochs=1, batch_size=8, optimizer=make_optimizer("adam", 1e-3)
    )
    assert np.isfinite(history[0]["loss"])
    assert keras.backend.standardize_dtype(network.output.dtype) == "float32"


def test_standardised_input_has_mean_0_and_sd_1_in_the_breast_and_unit_is_left_alone():
    images = np.zeros((3, 4, 4), np.uint16)
    images[:, :2] = np.array([10000, 20000], np.uint16).repeat(4).reshape(2, 4)  # the lower half is background
    rows = np.arange(3)
    assert input_scaling(images, "unit", rows) == (1.0, 0.0)
    factor, offset = input_scaling(images, "standardise", rows)
    seen = factor * images[images > 0] / 65535 + offset
    assert (seen.mean(), seen.std()) == pytest.approx((0, 1), abs=1e-9)
    other = np.concatenate([images, np.full((2, 4, 4), 60000, np.uint16)])
    assert input_scaling(other, "standardise", rows) == (factor, offset), "held-out images are not read"
    assert input_scaling(images, "imagenet", rows) == pytest.approx((255, -114.8), abs=0.01)
    with pytest.raises(ValueError, match="the training images are flat"):
        input_scaling(np.zeros((2, 4, 4), np.uint16), "standardise", np.arange(2))


def test_three_channels_hold_the_same_grey_and_a_network_takes_what_it_was_built_for():
    images, labels = separable(8)
    grey, colour = to_network(images), to_network(images, 3)
    assert colour.shape == (8, 32, 32, 3)
    assert all(np.array_equal(colour[..., [channel]], grey) for channel in range(3))
    network = build_network((32, 32, 3), 2, width=1 / 64, head="gap", seed=1)
    loop = {"seed": 1, "epochs": 1, "batch_size": 8, "report": lambda line: None}
    fit(network, images, labels, np.arange(8), np.arange(8), optimizer=make_optimizer("adam", 1e-3), **loop)
    assert predict(network, images).shape == (8, 2)


def test_images_are_judged_through_the_augmentation_only_where_that_is_asked_for():
    images, labels = separable(12)
    turned = Augmentation(rotation=0, shift=0, flip_horizontal=False, brightness=0, seed=3)  # upside down or not
    network = build_network((32, 32, 1), 2, width=1 / 16, head="fc", initializer="he_normal", seed=1)
    plain, upside_down = predict(network, images), predict(network, images[:, ::-1])
    drawn = predict(network, images, augmentation=turned)
    as_it_is, flipped = (np.isclose(drawn, other, atol=1e-6).all(axis=1) for other in (plain, upside_down))
    assert (as_it_is | flipped).all()
    assert as_it_is.any()
    assert flipped.any()
    again = predict(network, images, augmentation=Augmentation.from_config(turned.get_config()))
    assert np.array_equal(drawn, again)
    loop = {"seed": 1, "epochs": 1, "batch_size": 8, "augmentation": turned, "report": lambda line: None}
    losses = [
        fit(
            build_network((32, 32, 1), 2, width=1 / 16, head="fc", initializer="he_normal", seed=1), images, labels,
            np.arange(8), np.arange(8, 12), optimizer=make_optimizer("adam", 1e-3), augment_validation=through, **loop,
        )[0]
        for through in (False, True)
    ]  # fmt: skip
    assert losses[0]["loss"] == losses[1]["loss"]
    assert losses[0]["validation_loss"] != losses[1]["validation_loss"]


BOUNDED = """
import json, sys, threading
from pathlib import Path
import keras, numpy as np
from mammolib import training
from mammolib.recipe import make_optimizer

def held():
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) * 1024

path, count, side, batch = Path(sys.argv[1]), *map(int, sys.argv[2:])
with path.open("wb") as opened:  # holes, and noise at the top of each image: hardly any disk
    facts = {"descr": "<u2", "fortran_order": False, "shape": (count, side, side)}
    np.lib.format.write_array_header_1_0(opened, facts)
    first = opened.tell()
    opened.truncate(first + 2 * count * side**2)
    for number in range(count):
        opened.seek(first + 2 * number * side**2)
        opened.write(np.random.default_rng(number).integers(0, 2**16, side, dtype="<u2").tobytes())
size, before = path.stat().st_size, held()
images = np.load(path, mmap_mode="r")
path.unlink()  # the map stays, and nothing lies about where this process is killed

image = keras.Input((side, side, 1))
cells = keras.layers.Flatten()(keras.layers.AveragePooling2D(side // 8)(image))
network = keras.Model(image, keras.layers.Softmax()(keras.layers.Dense(2, name="logits")(cells)))

def watch():
    while not done.wait(0.01):
        seen.append(held())

seen, done = [], threading.Event()
watcher = threading.Thread(target=watch)
watcher.start()
rows, held_out = np.arange(count - count // 8), np.arange(count - count // 8, count)
loop = {"seed": 0, "epochs": 1, "batch_size": batch, "optimizer": make_optimizer("adam", 1e-3)}
try:
    history = training.fit(network, images, np.arange(count) % 2, rows, held_out, **loop)
finally:
    done.set()
watcher.join()
print(json.dumps({"size": size, "growth": max(seen) - before, "loss": history[0]["validation_loss"]}))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="this system does not tell what is held")
def test_an_epoch_over_a_mapped_file_holds_a_few_batches_however_large_the_file(tmp_path):
    # RssAnon alone: the pages of the mapped file are the system's cache, which the kernel takes back when it needs them
    command = [sys.executable, "-c", BOUNDED, str(tmp_path / "images.npy"), "750", "1024", "4"]
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, cwd=Path(__file__).parents[1], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["size"] > 1.5e9
    assert 16e6 < found["growth"] < 200e6, "a batch is 17 MB as float32"
    assert np.isfinite(found["loss"])
