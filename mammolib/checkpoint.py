"""Checkpoints of a training run: one file a network with weights, optimiser, epochs so far, and what they follow from.

They stand in the room's `private` folder, which git, the room's hashes and the runner's clean-up pass by. A file is
plain NumPy (.npz): written in a third of a .keras file's time, with a checksum an array and nothing to unpickle.
States of seed generators are not in it, for `mammolib.training` sets them from seed and epoch.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from mammolib import provenance
from mammolib.rooms import Room, plain, short, writing

# what notebook 02 reads for its tables alone
TABLES = ("params/recipes.csv", "benchmarks/recipes.json", "benchmarks/texture_baseline.json")
INDIFFERENT = ("outputs", "recipe", "checkpoint_every")  # parameters that change no weight
# modules that weights follow from
CODE = ("augmentation", "folds", "network", "network_input", "phases", "recipe", "training")
PACKAGES = ("python", "keras", "tensorflow", "jax", "numpy", "scikit-learn")  # likewise; scikit-learn deals the folds
NAME = "checkpoint_{}.npz"


def place(room: Room, name: str) -> Path:
    """Return the path of a network's checkpoint."""
    return room.path("private") / NAME.format(name)


def run_facts(room: Room, dtype_policy: str) -> dict[str, dict]:
    """Return what the weights follow from, in parts that JSON holds; ask when all inputs have been read.

    `machine` decides about the last bits only: another one may go on, and is told so.
    """
    versions = provenance.versions()
    code = {name: hashlib.sha256(Path(__file__).with_name(f"{name}.py").read_bytes()).hexdigest() for name in CODE}
    facts = {
        "parameters": {name: value for name, value in room.parameters.items() if name not in INDIFFERENT},
        "inputs": {name: sha256 for name, sha256 in room.inputs.items() if name not in TABLES},
        "versions": {name: versions[name] for name in PACKAGES if name in versions},
        "code": code,
        "arithmetic": {"backend": provenance.backend(), "dtype_policy": dtype_policy},
        "machine": {"device": provenance.device(), **provenance.threads()},
    }
    return json.loads(json.dumps(plain(facts)))


def differences(old: dict[str, dict], new: dict[str, dict]) -> list[str]:
    """Name what differs between the facts of two runs, `machine` aside; long values (hashes) are cut."""
    found = []
    for part in (name for name in new if name != "machine"):
        before, now = old.get(part, {}), new[part]
        for name in [name for name in {**before, **now} if before.get(name) != now.get(name)]:
            found.append(f"{name} {before.get(name)!s:.20}, now {now.get(name)!s:.20}")
    return found


def require_space(path: Path, variables: Sequence[Any], runs: int) -> None:
    """Raise an OSError where the checkpoints of all networks, and the one being written, would not fit on the disk."""
    one = sum(int(np.prod(variable.shape)) * np.dtype(variable.dtype).itemsize for variable in variables) + 2**17
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    present = sum(file.stat().st_size for file in path.parent.glob(NAME.format("*")))
    needed, free = max(one, (runs + 1) * one - present), shutil.disk_usage(path.parent).free
    if needed > free:
        raise OSError(
            f"{short(path.parent)}: checkpoints need {needed / 1e6:,.0f} MB ({runs} of {one / 1e6:,.1f} MB, and one "
            f"being written), {free / 1e6:,.0f} MB are free; make room, or checkpoint_every: 0"
        )


def keep(path: Path, facts: dict[str, dict], history: list[dict], variables: Sequence[Any]) -> None:
    """Write a checkpoint beside and rename it, so that a kill at any moment leaves the one before or this one, whole.

    Raises
    ------
    OSError
        In one line where the disk is full; the checkpoint before is still there.
    """
    about = json.dumps({"facts": facts, "history": history}).encode()
    arrays = {f"{number:04d}": np.asarray(variable) for number, variable in enumerate(variables)}
    try:
        with writing(path) as partial, partial.open("wb") as opened:
            np.savez(opened, about=np.frombuffer(about, np.uint8), **arrays)
            opened.flush()
            os.fsync(opened.fileno())  # else a power cut could leave the new name on an empty file
    except OSError as error:
        raise OSError(
            f"{short(path)}: not written after epoch {len(history)} ({error.strerror}); mend that and run again with "
            "--from 02_training, which goes on after the checkpoint before, or checkpoint_every: 0"
        ) from None


def read(path: Path, facts: dict[str, dict]) -> tuple[dict, list[np.ndarray]]:
    """Return what a checkpoint of this very run says about itself (facts, history), and its arrays.

    Raises
    ------
    ValueError
        It is damaged, or of another run; the text says which.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            about = json.loads(stored["about"].tobytes())
            changed = differences(about["facts"], facts)
            values = [] if changed else [stored[f"{number:04d}"] for number in range(len(stored.files) - 1)]
            len(about["history"])
    except Exception as error:  # a damaged zip raises a dozen kinds, RuntimeError and NotImplementedError among them
        raise ValueError(f"damaged ({type(error).__name__})") from None
    if changed:
        more = f" and {len(changed) - 2} more" if len(changed) > 2 else ""
        raise ValueError(f"of another run ({'; '.join(changed[:2])}{more})")
    return about, values


def epochs_in(path: Path | None, facts: dict[str, dict]) -> int:
    """Return how many epochs lie behind a checkpoint of this very run, 0 where there is none that could be used."""
    with suppress(ValueError):
        return len(read(path, facts)[0]["history"]) if path and path.is_file() else 0
    return 0


def take_up(
    path: Path, facts: dict[str, dict], variables: Sequence[Any], name: str, after: int = 0,
    report: Callable[[str], None] = print,
) -> list[dict]:  # fmt: skip
    """Set `variables` from a checkpoint of this very run with more than `after` epochs, and return its epochs.

    Where there is none, or it can't be used, nothing is set and the list is empty; `report` gets one line about what
    was done, or why not, which opens with `name`.
    """
    for torn in path.parent.glob("." + NAME.format("*.partial")):  # of a run that was killed while it wrote
        torn.unlink()
    if not path.is_file():
        return []
    try:
        about, values = read(path, facts)
        if len(about["history"]) <= after:  # written at the end of the phase before, whose variables are others
            return []
        if [value.shape for value in values] != [tuple(variable.shape) for variable in variables]:
            raise ValueError("damaged (other arrays than the network's)")
    except ValueError as error:
        report(f"{name}: the checkpoint is {error}, so training starts anew")
        return []
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
    same = about["facts"].get("machine") == facts.get("machine")
    elsewhere = "" if same else ", on another machine or other threads: the last bits of its weights will differ"
    report(f"{name}: goes on after epoch {len(about['history'])} of a run that was stopped{elsewhere}")
    return about["history"]


def clear_after(finished: Path, room: Room) -> Path:
    """Remove the checkpoints of a room whose JSON `finished` has been written, and return that path."""
    folder = room.path("private")
    for pattern in (NAME.format("*"), "." + NAME.format("*.partial")):
        for file in folder.glob(pattern):
            file.unlink()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
    return finished
