"""Checkpoints: what is taken up and what is not; and runs that are killed for real, in an epoch and in a write."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest

from mammolib import checkpoint, rooms
from mammolib.checkpoint import clear_after, keep, place, require_space, run_facts, take_up

ROOT = Path(__file__).parents[1]
FACTS = {"parameters": {"learning_rate": 1e-5, "epochs": 9}, "inputs": {"cohort.csv": "ab12"}, "machine": {"cores": 2}}
HISTORY = [{"epoch": 1, "loss": 0.1 + 0.2, "validation_loss": float("nan")}]

# Trains as the notebook does, with everything that has a state; `die_at` counts batches, `die_in` checkpoints.
CHILD = """
import os, signal, sys
from pathlib import Path
import numpy as np
from mammolib import checkpoint, training
from mammolib.recipe import make_optimizer
from mammolib.phases import phases, train
from mammolib.augmentation import Augmentation
from mammolib.network import build_network

folder, folds, draws, die_at, die_in = Path(sys.argv[1]), *map(int, sys.argv[2:])
training.make_deterministic(1)
die = lambda: os.kill(os.getpid(), signal.SIGKILL)
batches, whole = iter(range(1, 1000)), np.savez
writes = iter(range(1, 1000))
to_network = training.to_network

def network_input(images, channels):
    if len(images) == 8 and next(batches) == die_at:
        die()
    return to_network(images, channels)

def torn(opened, **arrays):
    whole(opened, **arrays)
    if next(writes) == die_in:
        opened.truncate(opened.tell() // 2)
        opened.flush()
        die()

training.to_network, checkpoint.np.savez = network_input, torn
labels = np.arange(30) % 2
images = np.random.default_rng(0).integers(0, 20000, (30, 32, 32), dtype=np.uint16)
images += (labels[:, None, None] * 40000).astype(np.uint16)
fold = np.arange(30) // 2 % 5
plan = phases(3, 1e-3, "cosine", head_epochs=int(draws > 0), head_learning_rate=1e-2, downsampling_draws=draws)
for number in range(folds):
    seed = training.seed_of(1, number)
    network = build_network((32, 32, 1), 2, width=1 / 32, head="fc", dropout=0.3, batch_normalization=True, seed=seed)
    rows, held_out = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
    history = train(
        network, images, labels, rows, held_out, plan, lambda rate: make_optimizer("adam", rate, "global"), seed=seed,
        keep="best" if draws else "last", batch_size=8, augmentation=Augmentation(seed=seed), runs=folds,
        name=f"fold {number}", keep_in=folder / "private" / f"checkpoint_fold{number}.npz", facts={},
    )
    losses = [[row["epoch"], row["loss"], row["validation_loss"]] for row in history]
    whole(folder / f"end_{number}.npz", np.array(losses), *network.get_weights())
"""


def train(folder: Path, folds: int, draws: int = 0, die_at: int = 0, die_in: int = 0) -> tuple[int, list[str]]:
    """Train in another process; return how it ended and its lines, the seconds left out."""
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-u", "-c", CHILD, str(folder), *map(str, (folds, draws, die_at, die_in))]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr[-3000:]
    return done.returncode, [line.partition("/")[0] for line in done.stdout.splitlines()]


def ends(folder: Path) -> list[np.ndarray]:
    return [np.load(path)[name] for path in sorted(folder.glob("end_*.npz")) for name in np.load(path).files]


@pytest.mark.parametrize("folds", [1, 2])
def test_a_run_killed_in_an_epoch_and_in_a_write_ends_with_the_weights_of_one_that_was_not(tmp_path, folds):
    whole, broken, killed = tmp_path / "whole", tmp_path / "broken", -signal.SIGKILL
    stopped = "of a run that was stopped"
    assert train(whole, folds) == (0, [f"fold {k}  epoch   {n}" for k in range(folds) for n in (1, 2, 3)])
    # three batches an epoch: the fifth is in the middle of the second epoch
    assert train(broken, folds, die_at=5) == (killed, ["fold 0  epoch   1"])
    status, lines = train(broken, folds, die_in=2)
    assert (status, lines) == (killed, [f"fold 0: goes on after epoch 1 {stopped}", "fold 0  epoch   2"])
    assert (broken / "private" / ".checkpoint_fold0.partial.npz").stat().st_size > 10_000, "killed in the write"
    if folds == 2:
        status, lines = train(broken, folds, die_at=8)
        assert status == killed
        assert lines[0] == f"fold 0: goes on after epoch 2 {stopped}"
        assert lines[1:] == ["fold 0  epoch   3", "fold 1  epoch   1"], "killed in the second epoch of fold 1"
    status, lines = train(broken, folds)
    assert status == 0
    if folds == 1:
        assert lines == [f"fold 0: goes on after epoch 2 {stopped}", "fold 0  epoch   3"]
    else:
        assert lines[:2] == [f"fold 0: goes on after epoch 3 {stopped}", f"fold 1: goes on after epoch 1 {stopped}"]
        assert lines[2:] == ["fold 1  epoch   2", "fold 1  epoch   3"], "a finished fold is not trained again"
    assert len(ends(whole)) > 30 * folds
    assert all(np.array_equal(a, b) for a, b in zip(ends(whole), ends(broken), strict=True))
    assert {path.name for path in (broken / "private").iterdir()} == {f"checkpoint_fold{k}.npz" for k in range(folds)}


def test_a_run_of_phases_and_draws_that_keeps_the_best_epoch_ends_alike_wherever_it_was_killed(tmp_path):
    whole, broken, killed = tmp_path / "whole", tmp_path / "broken", -signal.SIGKILL
    # one epoch of the head, two of the first draw, three of the second; three batches an epoch
    epochs = [f"fold 0  epoch   {n}" for n in range(1, 7)]
    assert train(whole, 1, 2) == (0, epochs)
    goes_on = "fold 0: goes on after epoch {} of a run that was stopped"
    assert train(broken, 1, 2, die_at=2) == (killed, [])
    assert train(broken, 1, 2, die_at=5) == (killed, epochs[:1])
    status, lines = train(broken, 1, 2, die_in=3)  # in the second draw's first write
    assert (status, lines) == (killed, [goes_on.format(1), *epochs[1:3]]), (
        "with an optimiser of its own after the head's"
    )
    assert train(broken, 1, 2, die_at=5) == (killed, [goes_on.format(3), epochs[3]])
    assert train(broken, 1, 2) == (0, [goes_on.format(4), *epochs[4:]])
    assert all(np.array_equal(a, b) for a, b in zip(ends(whole), ends(broken), strict=True))
    assert train(broken, 1, 2) == (0, [goes_on.format(6)]), "done: the best epoch's weights come from the checkpoint"
    assert all(np.array_equal(a, b) for a, b in zip(ends(whole), ends(broken), strict=True))


def children(process: int) -> list[int]:
    return [int(name) for name in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def test_a_killed_profile_goes_on_from_02_with_equal_models_and_history(tmp_path):
    settings = {
        "epochs": 3,
        "folds": 2,
        "networks": 2,
        "dropout": 0.2,
        "batch_normalization": "true",
        "learning_rate": 0.001,
    }
    options = [text for name, value in settings.items() for text in ("-p", f"02_training.{name}={value}")]
    command = [sys.executable, "-m", "mammolib", "run", "smoke", "--to", "02_training", *options, "--outputs"]
    subprocess.run([*command, tmp_path / "whole"], cwd=ROOT, check=True, capture_output=True)
    broken = tmp_path / "broken"
    shutil.copytree(tmp_path / "whole", broken)
    shutil.rmtree(broken / "02_training")
    command += [broken, "--from", "02_training"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        for line in process.stdout:
            if line.startswith("model_fold1_0  epoch   2/3"):
                for victim in [*children(process.pid), process.pid]:
                    os.kill(victim, signal.SIGKILL)
                break
    assert process.returncode == -signal.SIGKILL
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    goes_on = "model_fold{}_0: goes on after epoch {}"
    assert f"{goes_on.format(0, 3)} of a run that was stopped\n{goes_on.format(1, '')}" in done.stdout
    assert "model_fold0_0  epoch" not in done.stdout
    both = [folder / "02_training" for folder in (tmp_path / "whole", broken)]
    names = [f"model_fold{fold}_{network}.keras" for network in (0, 1) for fold in (0, 1)]
    for name in names:
        first, second = (keras.saving.load_model(folder / name, compile=False).get_weights() for folder in both)
        assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    first, second = (pd.read_csv(folder / "history.csv").drop(columns="seconds") for folder in both)
    pd.testing.assert_frame_equal(first, second, check_exact=True)
    assert first.groupby(["fold", "network"])["kept"].sum().eq(1).all()
    assert len(first) == 3 * len(names)
    assert not (broken / "02_training" / "private").exists(), "finished: no checkpoint stays"
    results = [json.loads(folder.with_suffix(".json").read_text()) for folder in both]
    files = [result["provenance"]["files"] for result in results]
    assert set(files[0]) == set(files[1]) >= {*names, "history.csv"}
    assert results[0]["results"]["saved"] == dict(zip(names, (0, 1, 0, 1), strict=True))
    starts = [keras.saving.load_model(both[0] / name, compile=False).get_weights()[0] for name in names]
    assert len({kernel.tobytes() for kernel in starts}) == 4, "each from a seed of its own"


def written(tmp_path: Path, **facts) -> tuple[Path, list]:
    """A checkpoint of two variables, and two others of the same shapes that hold zeros."""
    path = tmp_path / "private" / "checkpoint_fold0.npz"
    keep(path, FACTS | facts, HISTORY, [keras.Variable(np.arange(6.0).reshape(2, 3)), keras.Variable(7, dtype="int32")])
    return path, [keras.Variable(np.zeros((2, 3))), keras.Variable(0, dtype="int32")]


def values(variables) -> list:
    return [np.asarray(variable).tolist() for variable in variables]


def test_a_checkpoint_gives_back_values_and_history_exactly_and_says_so(tmp_path):
    path, variables = written(tmp_path)
    lines = []
    history = take_up(path, FACTS, variables, "fold 0", report=lines.append)
    assert values(variables) == [[[0, 1, 2], [3, 4, 5]], 7]
    assert repr(history) == repr(HISTORY)
    assert lines == ["fold 0: goes on after epoch 1 of a run that was stopped"]
    take_up(path, FACTS | {"machine": {"cores": 4}}, variables, "fold 0", report=lines.append)
    assert lines[1].endswith("on another machine or other threads: the last bits of its weights will differ")
    assert take_up(path.with_name("none.npz"), FACTS, variables, "fold 0", report=lines.append) == []
    assert len(lines) == 2


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"parameters": {"learning_rate": 1e-4, "epochs": 9}}, "learning_rate 1e-05, now 0.0001"),
        ({"parameters": {"learning_rate": 1e-5, "epochs": 12}}, "epochs 9, now 12"),
        ({"parameters": {"learning_rate": 1e-5}}, "epochs 9, now None"),
        ({"inputs": {"cohort.csv": "cd34"}}, "cohort.csv ab12, now cd34"),
        ({"versions": {"keras": "4"}}, "keras None, now 4"),
        ({"parameters": {}, "inputs": {}}, "learning_rate 1e-05, now None; epochs 9, now None and 1 more"),
    ],
)
def test_a_checkpoint_of_another_run_is_never_taken_up_and_one_line_says_why(tmp_path, changed, words):
    path, variables = written(tmp_path)
    lines = []
    assert take_up(path, FACTS | changed, variables, "fold 0", report=lines.append) == []
    assert values(variables) == [[[0, 0, 0], [0, 0, 0]], 0]
    assert lines == [f"fold 0: the checkpoint is of another run ({words}), so training starts anew"]


def test_a_damaged_checkpoint_is_never_taken_up_whichever_byte_is_wrong_or_missing(tmp_path):
    path, variables = written(tmp_path)
    good, refused = path.read_bytes(), 0
    damaged = [good[:length] for length in range(0, len(good), 7)]
    damaged += [good[:k] + bytes([good[k] ^ 255]) + good[k + 1 :] for k in range(len(good))]
    for content in damaged:
        path.write_bytes(content)
        lines = []
        history = take_up(path, FACTS, variables, "fold 0", report=lines.append)
        if history:  # a date or another byte that nothing hangs on
            assert repr(history) == repr(HISTORY)
            assert values(variables) == [[[0, 1, 2], [3, 4, 5]], 7]
            for variable in variables:
                variable.assign(np.zeros(variable.shape))
        else:
            refused += 1
            assert values(variables) == [[[0, 0, 0], [0, 0, 0]], 0], "nothing is set"
            assert "fold 0: the checkpoint is damaged" in lines[0] or "of another run" in lines[0]
    assert refused > 0.8 * len(damaged)
    path.write_bytes(good)
    assert take_up(path, FACTS, variables[::-1], "fold 0", report=lines.append) == [], "other shapes"


def test_what_weights_hang_on_is_in_the_facts_and_names_and_places_are_not(tmp_path):
    given = {"outputs": "x", "recipe": "y", "checkpoint_every": 1, "epochs": 3, "learning_rate": 1e-3}
    room = rooms.Room("02_training", "p", tmp_path, given, {"a.npy": "12", "params/recipes.csv": "34"})
    facts = run_facts(room, "float32")
    assert facts["parameters"] == {"epochs": 3, "learning_rate": 1e-3}
    assert facts["inputs"] == {"a.npy": "12"}
    assert facts["arithmetic"] == {"backend": keras.backend.backend(), "dtype_policy": "float32"}
    assert {"keras", "numpy", "python"} <= set(facts["versions"])
    assert {"training", "network", "augmentation"} <= set(facts["code"])
    assert json.loads(json.dumps(facts)) == facts
    assert place(room, "model_fold2") == tmp_path / "02_training" / "private" / "checkpoint_model_fold2.npz"


def test_git_ignores_checkpoints_even_of_the_profiles_that_are_shown():
    path = ROOT / "outputs" / "demo" / "02_training" / "private" / "checkpoint_fold0.npz"
    assert rooms.shown_by_git([path, path.with_name(".checkpoint_fold0.partial.npz")]) == []


def test_too_little_space_for_the_checkpoints_of_all_folds_is_known_before_the_first_epoch(tmp_path, monkeypatch):
    path, variables = tmp_path / "private" / "checkpoint_fold0.npz", [keras.Variable(np.zeros(10**6, "float32"))]
    free = iter([21 * 10**6, 20 * 10**6])  # five of 4 MB with a margin of 0.13, and one being written: 24.8
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, next(free)))
    require_space(path, variables, 4)
    with pytest.raises(OSError, match=r"need 25 MB \(5 of 4.1 MB, .* 20 MB are free; make room, or checkpoint_every"):
        require_space(path, variables, 5)


def test_checkpoints_that_are_there_count_for_the_space(tmp_path, monkeypatch):
    path, variables = tmp_path / "private" / "checkpoint_fold0.npz", [keras.Variable(np.zeros(10**6, "float32"))]
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, 5 * 10**6))
    keep(path, FACTS, HISTORY, variables)
    require_space(path, variables, 1)
    path.unlink()
    with pytest.raises(OSError, match="need 8 MB"):
        require_space(path, variables, 1)


def test_a_disk_that_fills_up_leaves_the_checkpoint_before_and_one_line(tmp_path):
    path, variables = written(tmp_path)
    good, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))  # a file of more bytes can't be written
    try:
        with pytest.raises(OSError, match=r"not written after epoch 1 .*run again with --from 02_training") as caught:
            keep(path, FACTS, HISTORY, [keras.Variable(np.zeros(5000))])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == good
    assert len(list(path.parent.iterdir())) == 1, "nothing half written stays"
    assert take_up(path, FACTS, variables, "fold 0") != []


def test_when_the_notebook_has_finished_its_checkpoints_go_and_nothing_else(tmp_path):
    room = rooms.Room("02_training", "p", tmp_path, {})
    for name in ("model_fold0", "model_fold1"):
        keep(place(room, name), FACTS, HISTORY, [])
    place(room, "model").with_name(".checkpoint_model_fold1.partial.npz").touch()
    (room.path("private") / "mine.txt").touch()
    assert clear_after(tmp_path / "02_training.json", room) == tmp_path / "02_training.json"
    assert [path.name for path in room.path("private").iterdir()] == ["mine.txt"]
    (room.path("private") / "mine.txt").unlink()
    clear_after(tmp_path / "02_training.json", room)
    assert not room.path("private").exists()
    clear_after(tmp_path / "02_training.json", room)
