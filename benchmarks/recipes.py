"""Which recipe learns best: changes of profile control's, mostly one at a time, on phantoms and, nested, on films.

Phantoms: control's cohort at two thirds of its sign, drawn from seeds of this script's own and never from the shipped
one; three seeds, each with a cohort, a split by patient (half train, half are judged) and a start of its own.
Films: mini-MIAS density, five folds by patient as in notebook 02. For each two folds every recipe trains on the other
three and judges both, so that a fold's recipe is chosen by films of the other four, each judged by a network that saw
neither it nor the fold: no film chooses its own recipe. The chosen ones then train on all four, as often as --networks
says, and the mean of their outputs judges the fold. One network a cell: its start's luck is in every number.
`minus_control` is paired on the same images, with 95 % by resampling patients, but for that luck.

`patches` are squares of a quarter of the side, from images of four times the size, inside the breast without pectoral
muscle (cut off roughly, on oblique views); a film's answer is the mean over a grid of them.

Networks train in bfloat16 where the processor computes it. What has been trained is kept in --keep with a hash of what
it follows from, so that a run that was stopped goes on, and only that one. The last line is JSON.

    python benchmarks/recipes.py --keep /tmp/recipes --seeds 1 2 3
"""

import argparse
import functools
import hashlib
import itertools
import json
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from mammolib import parameters, runner
from mammolib.bootstrap import mean_estimate
from mammolib.folds import patient_folds
from mammolib.provenance import processor_name, versions
from mammolib.rooms import file_sha256, project_root, writing
from mammolib.tables import read_by_image

SIDE, FOLDS, HELD_OUT_SHARE = 112, 5, 2
PATCHES, PATCH_EPOCHS = 16, 6  # squares cut from an image before training, and epochs over all of them
VARIANTS = {
    "control's recipe": {},
    "learning rate 5e-4": {"learning_rate": 5e-4},
    "constant rate": {"schedule": "constant"},
    "clip 0.001, global norm": {"clip": "global"},
    "batch 4": {"batch_size": 4},
    "no normalisation": {"batch_normalization": False},
    "224 pixels": {"side": 2 * SIDE},
    "224 pixels, no pectoral muscle": {"side": 2 * SIDE, "pectoral": False},
    "patches of 112 of 448 pixels": {"side": 4 * SIDE, "pectoral": False, "patches": True},
}
PHANTOMS = ("development_images=900", "test_images=12", "conspicuity=1.0")


def curate(folder: Path, seeds: list[int]) -> None:
    """Run 00 and 01 for the phantoms of each seed and for the films, at the largest side that a recipe has."""
    cohorts = {f"phantoms-{seed}": ("control", [f"seed={seed}", *PHANTOMS]) for seed in seeds}
    for name, (profile, drawn) in ({"films": ("mini-mias", [])} | cohorts).items():
        if (folder / name / "01_data_curation.json").is_file():
            continue
        changed = [f"01_data_curation.image_{edge}={4 * SIDE}" for edge in ("height", "width")]
        changed += [f"00_synthetic_cohort.{value}" for value in drawn]
        if runner.run(profile, None, changed, str(folder / name), "01_data_curation"):
            raise SystemExit(1)


def read(folder: Path, name: str, side: int):
    """Return a cohort's development part: its table, class numbers, and (n, side, side) uint16 images.

    Smaller images are means of 2 x 2 or 4 x 4 pixels of the largest, which is what their own area resizing would give.
    """
    room = folder / name / "01_data_curation"
    curation = json.loads(room.with_suffix(".json").read_text(encoding="utf-8"))
    table = read_by_image(room / "cohort.csv")
    table = table[table["split"] == "development"].reset_index(drop=True)
    labels = table["label"].map(curation["parameters"]["classes"].index).to_numpy()
    images = np.load(room / "images_development.npy", mmap_mode="r")
    if (block := images.shape[1] // side) > 1:
        blocks = images.reshape(len(images), side, block, side, block)
        images = blocks.mean(axis=(2, 4), dtype=np.float32).round().astype(np.uint16)
    return table, labels, images


def without_pectoral(image: np.ndarray, oblique: bool) -> np.ndarray:
    """Set the upper chest-wall corner of an oblique view to 0: a triangle of 0.45 x 0.6 of the breast's box."""
    if not oblique:
        return image
    height, width = (np.ptp(np.flatnonzero((image > 0).any(axis=axis))) + 1 for axis in (1, 0))
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    return np.where(x / (0.45 * width) + y / (0.6 * height) < 1, 0, image).astype(np.uint16)


def squares(image: np.ndarray, side: int, centres: np.ndarray) -> np.ndarray:
    """Cut squares of `side` around `centres`, moved inside where they would leave the image."""
    corners = np.clip(centres - side // 2, 0, np.array(image.shape) - side)
    return np.stack([image[y : y + side, x : x + side] for y, x in corners])


def drawn_squares(image: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
    """Squares around random points of the breast."""
    return squares(image, side, rng.permutation(np.argwhere(image > 0))[:PATCHES])


def grid_squares(image: np.ndarray, side: int) -> np.ndarray:
    """Squares half a side apart, three quarters inside the breast; where none is, the fullest."""
    steps = range(side // 2, image.shape[0] - side // 2 + 1, side // 2)
    found = squares(image, side, np.array(list(itertools.product(steps, steps))))
    full = (found > 0).mean(axis=(1, 2))
    return found[full >= min(0.75, full.max())]


def judge(folder: Path, name: str, variant: str, train: list[int], judged: list[int], seed: int) -> list[list[float]]:
    """Train one network on `train` and return its probabilities for `judged`, (n, classes)."""
    from mammolib import network_input, training
    from mammolib.augmentation import Augmentation
    from mammolib.network import build_network
    from mammolib.recipe import make_optimizer

    training.make_deterministic(seed, 1)
    notebook = project_root() / "notebooks/02_training.ipynb"
    p = {key: declared.default for key, declared in parameters.declared_parameters(notebook).items()}
    p |= parameters.read_parameter_file(project_root() / "params/control/02_training.yaml") | VARIANTS[variant]
    table, labels, images = read(folder, name, p.get("side", SIDE))
    train, judged = np.array(train), np.array(judged)
    if not p.get("pectoral", True):
        pairs = zip(images, table["ViewPosition"] == "MLO", strict=True)
        images = np.stack([without_pectoral(image, oblique) for image, oblique in pairs])
    epochs, shown = p["epochs"], [images[row : row + 1] for row in judged]
    if p.get("patches"):
        rng = np.random.default_rng(seed)
        images = np.concatenate([drawn_squares(images[row], SIDE, rng) for row in train])
        labels, train, epochs = np.repeat(labels[train], PATCHES), np.arange(len(images)), PATCH_EPOCHS
        shown = [grid_squares(image[0], SIDE) for image in shown]
    network = build_network(
        (*images.shape[1:], 1), int(labels.max()) + 1, width=p["width"], head=p["head"],
        batch_normalization=p["batch_normalization"], initializer=p["initializer"],
        scaling=network_input.input_scaling(images, p["input_scaling"], train), seed=seed,
        dtype_policy=training.resolve_dtype_policy("auto"),
    )  # fmt: skip
    training.fit(
        network, images, labels, train, seed=seed, epochs=epochs, batch_size=p["batch_size"], schedule=p["schedule"],
        optimizer=make_optimizer(p["optimizer"], p["learning_rate"], p["clip"], p["clip_norm"]),
        augmentation=Augmentation(seed=seed), report=lambda line: None,
    )  # fmt: skip
    answers = training.predict(network, np.concatenate(shown))
    ends = np.cumsum([len(part) for part in shown])[:-1]
    return [part.mean(axis=0).astype(float).tolist() for part in np.split(answers, ends)]


hashed = functools.cache(file_sha256)


def origin(folder: Path, job: tuple) -> str:
    """Return a hash of what a job's answers follow from: recipe, rows, seed, images and code."""
    name, variant, train, judged, seed, _ = job
    room = folder / name / "01_data_curation"
    inputs = [hashed(path) for path in (room / "cohort.csv", room / "images_development.npy")]
    modules = ("augmentation", "folds", "network", "network_input", "recipe", "training")
    code = [hashed(project_root() / "mammolib" / f"{module}.py") for module in modules]
    recipe = (project_root() / "params/control/02_training.yaml").read_text(encoding="utf-8")
    facts = [variant, VARIANTS[variant], train, judged, seed, PATCHES, PATCH_EPOCHS, recipe, inputs, code]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def keep(folder: Path, job: tuple, follows_from: str) -> tuple[tuple, dict]:
    """Return what `judge` gives for a job, with its seconds, from the folder where it stands there already."""
    name, variant, _, judged, seed, part = job
    path = folder / "judged" / f"{name} {variant} {part} {seed}.json".replace(" ", "_")
    kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if kept.get("follows_from") != follows_from:
        began = time.perf_counter()
        kept = {"rows": judged, "probabilities": judge(folder, *job[:5]), "follows_from": follows_from}
        kept["seconds"] = time.perf_counter() - began
        with writing(path) as partial:
            partial.write_text(json.dumps(kept), encoding="utf-8")
    return (name, variant, part, seed), kept


def train_all(folder: Path, jobs: list[tuple], workers: int) -> dict[tuple, dict]:
    """Return {(cohort, recipe, part, seed): rows, probabilities, seconds} of all jobs; each is a process of its own."""
    with ProcessPoolExecutor(workers, get_context("spawn"), max_tasks_per_child=1) as pool:
        found = {}
        for running in [pool.submit(keep, folder, job, origin(folder, job)) for job in jobs]:
            key, value = running.result()
            found[key] = value
            print(f"{len(found)} of {len(jobs)}: {' / '.join(map(str, key))}: {value['seconds']:.0f} s", flush=True)
    return found


def phantom_table(folder: Path, seeds: list[int], workers: int) -> dict[str, dict]:
    """Return each recipe's accuracy on held-out phantoms, a seed a cohort, and what it differs from control's."""
    jobs, truth, patients = [], {}, {}
    for seed in seeds:
        table, truth[seed], _ = read(folder, f"phantoms-{seed}", SIDE)
        patients[seed] = table["patient"].to_numpy()
        fold = patient_folds(truth[seed], patients[seed], HELD_OUT_SHARE, seed)
        rows = np.flatnonzero(fold != 0).tolist(), np.flatnonzero(fold == 0).tolist()
        jobs += [(f"phantoms-{seed}", variant, *rows, seed, "held_out") for variant in VARIANTS]
    found = train_all(folder, jobs, workers)
    out = {}
    for variant in VARIANTS:
        mine, first = (
            {seed: found[f"phantoms-{seed}", name, "held_out", seed] for seed in seeds}
            for name in (variant, next(iter(VARIANTS)))
        )
        out[variant] = summary([float(hits(truth[seed], entry).mean()) for seed, entry in mine.items()]) | {
            "minus_control": [difference(truth[seed], patients[seed], mine[seed], first[seed]) for seed in seeds],
            "one_answer_for_all": sum(len(np.unique(answers(entry))) == 1 for entry in mine.values()),
            "seconds": round(float(np.median([entry["seconds"] for entry in mine.values()]))),
        }
    return out | {"held_out": [len(rows) for *_, rows, _, _ in jobs[:: len(VARIANTS)]]}


def answers(entry: dict) -> np.ndarray:
    """The class that a job's network gives to each of its rows."""
    return np.array(entry["probabilities"]).argmax(axis=1)


def hits(labels: np.ndarray, entry: dict) -> np.ndarray:
    """Whether each of a job's answers is right."""
    return answers(entry) == labels[entry["rows"]]


def difference(labels: np.ndarray, patients: np.ndarray, entry: dict, first: dict) -> dict:
    """Accuracy of a job less that of another on the same rows, paired, with 95 % over patients."""
    gain = hits(labels, entry).astype(float) - hits(labels, first)
    rows = np.array(entry["rows"])
    found = mean_estimate(gain, patients[rows], 5000, 0, within=labels[rows], limits=(-1.0, 1.0))
    return {name: round(found[name], 4) for name in ("value", "low", "high")}


def summary(scores: list[float]) -> dict:
    """Scores, rounded, and their mean."""
    return {"accuracies": [round(score, 4) for score in scores], "mean": round(float(np.mean(scores)), 4)}


def films_table(folder: Path, seed: int, networks: int, workers: int) -> dict:
    """Return each recipe's accuracy within the other four folds of each fold, and what the chosen ones make of it."""
    table, labels, _ = read(folder, "films", SIDE)
    fold = patient_folds(labels, table["patient"], FOLDS, seed)
    jobs = []
    for variant, (a, b) in itertools.product(VARIANTS, itertools.combinations(range(FOLDS), 2)):
        inside = np.isin(fold, (a, b))
        jobs.append(("films", variant, *(np.flatnonzero(m).tolist() for m in (~inside, inside)), seed, f"{a}{b}"))
    found = train_all(folder, jobs, workers)
    judged = {variant: np.empty((FOLDS, len(labels))) for variant in VARIANTS}  # by outer fold, NaN on its own films
    for variant, outer in itertools.product(VARIANTS, range(FOLDS)):
        judged[variant][outer] = np.nan
        for other in set(range(FOLDS)) - {outer}:
            entry = found["films", variant, f"{min(outer, other)}{max(outer, other)}", seed]
            inside = fold[entry["rows"]] == other
            judged[variant][outer, np.array(entry["rows"])[inside]] = hits(labels, entry)[inside]
    inner = {variant: np.nanmean(right, axis=1) for variant, right in judged.items()}
    chosen = [max(VARIANTS, key=lambda variant: inner[variant][outer]) for outer in range(FOLDS)]
    jobs = [
        ("films", chosen[outer], *(np.flatnonzero(m).tolist() for m in (fold != outer, fold == outer)), own, f"{outer}")
        for outer, own in itertools.product(range(FOLDS), range(seed, seed + networks))
    ]
    final, outputs = train_all(folder, jobs, workers), {}
    for (*_, own), entry in final.items():
        outputs.setdefault(own, np.zeros((len(labels), labels.max() + 1)))[entry["rows"]] = entry["probabilities"]
    pooled = np.mean(list(outputs.values()), axis=0)
    first = np.nanmean(judged[next(iter(VARIANTS))], axis=0)
    patients, limits = table["patient"].to_numpy(), {"within": labels, "limits": (-1.0, 1.0)}
    gains = {variant: np.nanmean(right, axis=0) - first for variant, right in judged.items()}
    found = {variant: mean_estimate(gain, patients, 5000, 0, **limits) for variant, gain in gains.items()}
    right = (pooled.argmax(axis=1) == labels).astype(float)
    return {
        "inner": {
            variant: summary(scores.tolist())
            | {"minus_control": {name: round(found[variant][name], 4) for name in ("value", "low", "high")}}
            for variant, scores in inner.items()
        },
        "chosen": chosen,
        "outer": summary([float((scores.argmax(axis=1) == labels).mean()) for scores in outputs.values()]),
        "outer_mean_of_networks": mean_estimate(right, patients, 5000, 0, within=labels),
        "films": len(labels),
        "patients": int(table["patient"].nunique()),
    }


def main() -> None:
    """Curate, train and choose."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", help="a folder for cohorts and answers; a temporary one if not given")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="of the phantoms; the first, films too")
    parser.add_argument("--networks", type=int, default=3, help="per fold of the films, by the chosen recipe")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(options.keep or temporary)
        curate(folder, options.seeds)
        result = {
            "films": films_table(folder, options.seeds[0], options.networks, options.workers),
            "phantoms": phantom_table(folder, options.seeds, options.workers),
            "seeds": options.seeds,
        }
        seconds = [json.loads(path.read_text(encoding="utf-8"))["seconds"] for path in (folder / "judged").iterdir()]
    result["machine"] = {"processor": processor_name()} | versions()
    print(json.dumps(result | {"networks": len(seconds), "hours_of_all_networks": round(sum(seconds) / 3600, 2)}))


if __name__ == "__main__":
    main()
