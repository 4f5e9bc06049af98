"""How often a 95 % interval holds the truth, for each metric and way of making one, with two views a patient.

Three classes of (nearly) equal fixed numbers of patients; each replicate draws new ones. A view's score of each class
is a sum of the patient's part and the view's own, plus a gain for the true class and a lean towards the first classes;
the softmax of it is the probability. Gain and shared part are solved so that a view is right with the accuracy asked
for, and whether the two views of a patient are right is correlated, within classes, as asked. `one answer` is another
model: near chance, it gives the first class to nine of ten views or more. The truth is the metric of a population of
such patients, weighted to the same numbers of each class.

`image percentile` resamples images as if they were independent; all others draw, or leave out, patients within classes.
The last line is JSON.

    python benchmarks/coverage.py --replicates 2000 --workers 2
"""

import argparse
import itertools
import json
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import cache

import numpy as np
from scipy.stats import t

from mammolib import intervals
from mammolib.bootstrap import LIMITS, metrics_of_weights, patient_weights, without_each
from mammolib.metrics import image_scores
from mammolib.provenance import processor_name, versions

PATIENTS, CORRELATIONS, ACCURACIES = (22, 66, 200), (0.3, 0.5, 0.8), (0.47, 0.93)
ONE_ANSWER = (0.5, "one answer")
MODELS = [*itertools.product(CORRELATIONS, ACCURACIES), ONE_ANSWER]
K, VIEWS, LEAN, SHARPNESS = 3, 2, np.array([0.25, 0.0, -0.25]), 1.6
OVERALL = ["accuracy", "balanced_accuracy", "macro_f1", "kappa", "mcc", "macro_auc", "macro_average_precision", "brier"]
OVERALL += ["log_loss"]
OF_FIRST = ["sensitivity", "specificity", "ppv", "npv", "f1", "auc", "average_precision"]  # of the first class
CHOSEN = dict.fromkeys(OVERALL + OF_FIRST, "Wilson") | {"log_loss": "log bootstrap-t"}
DRAWS, OF_MEANS, SHARED = 500, 2000, 25  # draws of all metrics, of means, and replicates that share them
POPULATION = 100_000  # patients of each class


def views(rng: np.random.Generator, label: np.ndarray, gain: float, shared: float, lean: np.ndarray) -> np.ndarray:
    """Scores `(patients, views, classes)` of patients with these classes `(patients,)`."""
    common, own = rng.normal(size=(len(label), 1, K)), rng.normal(size=(len(label), VIEWS, K))
    return np.sqrt(shared) * common + np.sqrt(1 - shared) * own + gain * np.eye(K)[label][:, None] + lean


def probabilities(scores: np.ndarray) -> np.ndarray:
    """Softmax `(patients * views, classes)`."""
    raised = np.exp(SHARPNESS * scores)
    return (raised / raised.sum(axis=-1, keepdims=True)).reshape(-1, K)


def bisect(function, target: float, low: float, high: float) -> float:
    """Where a rising function reaches a value."""
    for _ in range(14):
        middle = (low + high) / 2
        low, high = (middle, high) if function(middle) < target else (low, middle)
    return middle


@cache
def model(correlation: float, accuracy: float | str) -> tuple[float, float, tuple[float, ...]]:
    """Gain, shared part and lean that give the accuracy and the correlation of right answers within classes."""
    if accuracy == ONE_ANSWER[1]:
        return 0.3, 0.5, (2.8, 0.0, 0.0)
    label = np.arange(60_000) % K

    def right(gain: float, shared: float) -> np.ndarray:
        answers = views(np.random.default_rng(9), label, gain, shared, LEAN).argmax(axis=-1)
        return (answers == label[:, None]).astype(float)

    def alike(shared: float) -> float:
        parts = [right(gain, shared)[label == c] for c in range(K)]
        together = [((part - part.mean()).prod(axis=1).mean(), part.var()) for part in parts]
        return np.divide(*np.sum(together, axis=0))

    gain = bisect(lambda value: right(value, 0.5).mean(), accuracy, 0.0, 6.0)
    return gain, bisect(alike, correlation, 0.0, 1.0), tuple(LEAN)


def named(found: dict) -> dict:
    """The metrics asked about, `(draws,)` each; those of a class, of the first one."""
    return {name: found[name] for name in OVERALL} | {name: found[f"class_{name}"][:, 0] for name in OF_FIRST}


@cache
def truths(patients: int, correlation: float, accuracy: float | str) -> dict[str, float]:
    """Each metric of the population, its classes weighted as in the samples."""
    label = np.repeat(np.arange(K), POPULATION)
    gain, shared, lean = model(correlation, accuracy)
    answers = probabilities(views(np.random.default_rng(1), label, gain, shared, lean))
    sizes = np.bincount(np.arange(patients) % K)
    metrics = metrics_of_weights(np.repeat(label, VIEWS), answers, np.repeat(np.arange(len(label)), VIEWS), False)
    return {name: float(value[0]) for name, value in named(metrics(sizes[label][None] / sizes[0])).items()}


def behind(name: str, label: np.ndarray, predicted: np.ndarray) -> float:
    """Patients that a metric rests on, as `mammolib.bootstrap.evaluate` counts them."""
    own, says = label == 0, (predicted.reshape(-1, VIEWS) == 0)
    counts = {"sensitivity": own.sum(), "specificity": (~own).sum()}
    counts |= {"ppv": says.any(axis=1).sum(), "npv": (~says).any(axis=1).sum()}
    counts |= dict.fromkeys(("f1", "auc"), 4 * own.sum() * (~own).sum() / len(label))
    counts |= {"average_precision": min(own.sum(), (~own).sum())}
    return float(counts.get(name, len(label)))


def one_replicate(label: np.ndarray, answers: np.ndarray, weights: np.ndarray, of_images: np.ndarray) -> dict:
    """`{(metric, method): (low, high)}` of one sample; a metric without a value has none."""
    truth, patient, n = np.repeat(label, VIEWS), np.repeat(np.arange(len(label)), VIEWS), len(label)
    metrics = metrics_of_weights(truth, answers, patient, False)
    by_image = named(metrics_of_weights(truth, answers, np.arange(len(truth)), False)(of_images))
    whole, drawn = named(metrics(np.ones((1, n)))), named(metrics(weights[:DRAWS]))
    left_out = named(without_each(metrics, n, len(truth)))
    found, t_quantile = {}, t.ppf(0.975, n - K)
    for name, value in ((name, values[0]) for name, values in whole.items() if not np.isnan(values[0])):
        variance = intervals.jackknife_variance(left_out[name], label)
        counted, limits = behind(name, label, answers.argmax(axis=1)), LIMITS.get(name, (0.0, 1.0))
        found[name, "image percentile"] = intervals.percentile(by_image[name])
        found[name, "percentile"] = intervals.percentile(drawn[name])
        found[name, "BCa"] = intervals.bca(value, drawn[name], left_out[name], label)
        if name != "log_loss":
            found[name, "Wilson"] = intervals.effective_wilson(value, variance, counted, limits)[:2]
            found[name, "Wilson, t"] = intervals.effective_wilson(value, variance, counted, limits, t_quantile)[:2]
    for name in ("brier", "log_loss"):
        sums, images = np.bincount(patient, image_scores(truth, answers)[name]), np.full(n, float(VIEWS))
        value, error = (found[0] for found in intervals.ratio_and_error(np.ones((1, n)), sums, images, label))
        by_draw = intervals.ratio_and_error(weights, sums, images, label)
        found[name, "log bootstrap-t"] = intervals.log_bootstrap_t(value, error, *by_draw)
    return found


def replicates(cell: tuple, number: int, chunk: int) -> tuple[tuple, Counter]:
    """Counts `(metric, method, what)` over replicates: intervals made, truths below and above, sum of widths."""
    patients, (correlation, accuracy) = cell
    rng = np.random.default_rng([patients, MODELS.index(cell[1]), chunk])
    label, true, counts = np.arange(patients) % K, truths(patients, correlation, accuracy), Counter()
    gain, shared, lean = model(correlation, accuracy)
    for replicate in range(number):
        if replicate % SHARED == 0:
            weights = np.concatenate(list(patient_weights(label, OF_MEANS, int(rng.integers(2**32)))))
            images = VIEWS * patients
            of_images = rng.multinomial(images, np.full(images, 1 / images), DRAWS).astype(float)
        answers = probabilities(views(rng, label, gain, shared, lean))
        for (name, method), (low, high) in one_replicate(label, answers, weights, of_images).items():
            counts[name, method, "made"] += 1
            counts[name, method, "below"] += true[name] < low - 1e-9
            counts[name, method, "above"] += true[name] > high + 1e-9
            counts[name, method, "width"] += high - low
    return cell, counts


def cell_name(cell: tuple) -> str:
    """A cell as text: `22 patients, accuracy 0.47, correlation 0.3`."""
    patients, (correlation, accuracy) = cell
    name = accuracy if accuracy == ONE_ANSWER[1] else f"accuracy {accuracy}"
    return f"{patients} patients, {name}, correlation {correlation}"


def simulate(number: int, workers: int, chunks: int) -> dict[tuple, Counter]:
    """All cells, dealt out to processes in chunks of replicates."""
    cells = list(itertools.product(PATIENTS, MODELS))
    for patients, how in cells:
        truths(patients, *how)  # once, here: the processes inherit them
    total = {cell: Counter() for cell in cells}
    jobs = [(cell, number // chunks, chunk) for cell in reversed(cells) for chunk in range(chunks)]
    with ProcessPoolExecutor(workers) as pool:
        for cell, counts in pool.map(replicates, *zip(*jobs, strict=True)):
            total[cell].update(counts)
            print(f"{time.strftime('%H:%M:%S')} {cell_name(cell)}", flush=True)
    return total


def summary(total: dict[tuple, Counter]) -> dict:
    """`{metric: {method: {"coverage", "below", "width"}}}`, a number a cell each, in the order of the cells.

    Coverage and how often the truth lies below are in percent, width is the mean.
    """
    found = {}
    for counts in total.values():
        for name, method, _ in sorted(key for key in counts if key[2] == "made"):
            made, below, above, width = (counts[name, method, key] for key in ("made", "below", "above", "width"))
            numbers = {"coverage": round(100 * (made - below - above) / made, 1), "below": round(100 * below / made, 1)}
            entry = found.setdefault(name, {}).setdefault(method, {})
            for key, number in (numbers | {"width": round(float(width / made), 3)}).items():
                entry.setdefault(key, []).append(number)
    return found


def within_target(cell: tuple, share: float) -> bool:
    """93 to 97 % at the most patients, 92 to 97 % with fewer."""
    return (93 if cell[0] == max(PATIENTS) else 92) <= share <= 97


def markdown(found: dict, cells: list[tuple]) -> str:
    """A row a metric and method; in each place the correlations one after the other, * = outside the target."""
    heads = [*itertools.product(PATIENTS, ACCURACIES), *((patients, ONE_ANSWER[1]) for patients in PATIENTS)]
    rows = [["metric", "method", *(f"{patients}, {accuracy}" for patients, accuracy in heads)]]
    rows.append(["---"] * len(rows[0]))
    for name, method in itertools.chain(*(((name, CHOSEN[name]), (name, "image percentile")) for name in CHOSEN)):
        shares = dict(zip(cells, found[name][method]["coverage"], strict=True))
        row = [name if method == CHOSEN[name] else "", method]
        for patients, accuracy in heads:
            own = [(cell, share) for cell, share in shares.items() if (cell[0], cell[1][1]) == (patients, accuracy)]
            row.append(" ".join(f"{share:.0f}{'' if within_target(cell, share) else '*'}" for cell, share in own))
        rows.append(row)
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def main() -> None:
    """Simulate, and print the table and the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--chunks", type=int, default=4, help="parts that a cell's replicates are dealt out in")
    chosen = parser.parse_args()
    start = time.perf_counter()
    total = simulate(chosen.replicates, chosen.workers, chosen.chunks)
    found, cells = summary(total), list(total)
    print(markdown(found, cells))
    kept = [
        within_target(cell, share)
        for name, method in CHOSEN.items()
        for cell, share in zip(cells, found[name][method]["coverage"], strict=True)
        if cell[1] != ONE_ANSWER
    ]
    result = {"replicates": chosen.replicates, "draws": DRAWS, "draws_of_means": OF_MEANS, "chosen": CHOSEN}
    result |= {"within_target": f"{sum(kept)} of {len(kept)}", "cells": [cell_name(cell) for cell in cells]}
    truth = [truths(patients, *how) for patients, how in cells]
    result |= {"truth": {name: [round(one[name], 4) for one in truth] for name in CHOSEN}, "found": found}
    result |= {"seconds": round(time.perf_counter() - start)}
    print(json.dumps(result | {"machine": {"processor": processor_name()} | versions()}))


if __name__ == "__main__":
    main()
