"""Two models on the same patients, and one recipe over several seeds.

Patients are drawn, and exchanged between the models, with all their images.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import rankdata
from statsmodels.stats.multitest import multipletests

from mammolib.bootstrap import CELLS, mean_estimate, metrics_of_weights, patient_strata, patient_weights, without_each
from mammolib.claims import shown
from mammolib.intervals import BCA, bca, estimate, wilson_estimate
from mammolib.metrics import predicted_class
from mammolib.names import class_name
from mammolib.predictions import as_arrays, check_predictions, read_predictions
from mammolib.rooms import short

OF_SEEDS = ["accuracy", "balanced_accuracy", "macro_f1", "kappa", "macro_auc", "brier"]
OVERALL = [*OF_SEEDS, "log_loss"]
OF_CLASS = ["sensitivity", "specificity", "auc"]
SHARES = ["accuracy", "balanced_accuracy", "sensitivity", "specificity"]
WIDEST = {"kappa": 2.0, "brier": 2.0, "log_loss": 36.0}  # largest difference that there can be; of all others 1
TIE = 1e-10  # a sum in another order differs by less, one image by more


def in_order_of(ours: pd.DataFrame, table: pd.DataFrame, where: str) -> pd.DataFrame:
    """Rows of `table` in the order of `ours`.

    Raises
    ------
    ValueError
        When they do not hold the same images with the same patients and labels; names `where` and the first image.
    """
    alone = pd.Index(ours["image_id"].astype(object)).symmetric_difference(table["image_id"].astype(object))
    if len(alone):
        raise ValueError(f"{where}: other images than ours; {alone[0]} stands in one of the two; allowed are the same")
    table = table.set_index("image_id").loc[ours["image_id"]].reset_index()
    for column in ("patient", "label"):
        theirs, wanted = (one[column].astype(object).to_numpy() for one in (table, ours))
        if (differ := theirs != wanted).any():
            raise ValueError(
                f"{where}: {column} of image {table['image_id'][differ].iloc[0]} is {theirs[differ][0]}, ours is "
                f"{wanted[differ][0]}; allowed are the same images, patients and labels"
            )
    return table


def read_others(paths: Iterable[str | Path], classes: list[str], ours: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Other predictions.csv of the images of `ours`, by path, rows in its order.

    Raises
    ------
    FileNotFoundError, ValueError
        One line naming the file: what `read_predictions` says, other images, patients or labels, or the very
        probabilities of `ours` or of a file before it: nothing is compared with itself.
    """
    columns, known = [f"p_{name}" for name in classes], {"this run": ours}
    for path in paths:
        where = str(short(Path(path)))
        table = in_order_of(ours, read_predictions(path, classes), where)
        for name, before in known.items():
            if (table[columns].to_numpy() == before[columns].to_numpy()).all():
                raise ValueError(f"{where}: its probabilities are those of {name}; allowed is another model's file")
        known[where] = table
    return {name: table for name, table in known.items() if name != "this run"}


def paired(
    first: pd.DataFrame, second: pd.DataFrame, classes: list[str]
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Truth, the probabilities of both and patient, sorted by image: the order of the rows decides no draw."""
    check_predictions(first, classes, "first predictions")
    check_predictions(second, classes, "second predictions")
    first = first.sort_values("image_id", ignore_index=True)
    truth, ours, patient = as_arrays(first, classes)
    return truth, (ours, as_arrays(in_order_of(first, second, "second predictions"), classes)[1]), patient


def accuracy_difference(first: pd.DataFrame, second: pd.DataFrame, classes: list[str], draws: int, seed: int) -> dict:
    """Accuracy of `first` minus that of `second` on the same images: paired, patients resampled.

    Raises
    ------
    ValueError
        When the two tables do not hold the same images with the same patients and labels.
    """
    truth, pair, patient = paired(first, second, classes)
    ours, theirs = ((predicted_class(one) == truth).astype(float) for one in pair)
    return mean_estimate(ours - theirs, patient, draws, seed, within=truth, limits=(-1.0, 1.0), proportion=True)


def _metrics(
    truth: np.ndarray, probabilities: np.ndarray, scores: np.ndarray, patient: np.ndarray, ordered: bool
) -> Callable[[np.ndarray], dict]:
    """A function of `(draws, patients)` weights that gives `(draws,)` each: by name, by (name, class) where of a class.

    The areas under the curves are of `scores`, all else is of the probabilities.
    """
    of_weights, classes = metrics_of_weights(truth, probabilities, patient, ordered, scores=scores), scores.shape[1]

    def metrics(weights: np.ndarray) -> dict:
        found = of_weights(weights)
        by_class = {(name, c): found[f"class_{name}"][:, c] for name in OF_CLASS for c in range(classes)}
        return {name: found[name] for name in OVERALL} | by_class

    return metrics


def _differences(metrics: Callable[[np.ndarray], dict], kept: Iterable[np.ndarray], exchange: bool) -> dict:
    """Metrics of the one model minus those of the other, `(draws,)` each.

    `metrics` is of both models' answers, the first's patients before the second's. `kept` are `(draws, patients)`
    weights: how often a patient counts or, to `exchange`, 1 where its answers stay and 0 where the other's come in.
    """
    blocks = []
    for ours in kept:
        theirs = 1 - ours if exchange else 0 * ours
        one, other = metrics(np.hstack([ours, theirs])), metrics(np.hstack([theirs, ours]))
        blocks.append({name: one[name] - other[name] for name in one})
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def swaps(differs: np.ndarray, draws: int, seed: int, images: int) -> Iterator[np.ndarray]:
    """Whose answers stay (1) and whose are exchanged (0), in blocks `(some, patients)`.

    Patients without a difference stay. All 2**(patients that differ) exchanges where these are at most `draws`, else
    `draws` random ones.
    """
    members, generator = np.flatnonzero(differs), np.random.default_rng([seed, 1])  # not the bootstrap's numbers
    exact, block = 2 ** len(members) <= draws, max(1, CELLS // images)
    total = 2 ** len(members) if exact else draws
    for start in range(0, total, block):
        rows = np.arange(start, min(start + block, total))
        stays = np.ones((len(rows), len(differs)))
        shape = len(rows), len(members)
        stays[:, members] = rows[:, None] >> np.arange(shape[1]) & 1 if exact else generator.integers(0, 2, shape)
        yield stays


def swap_p(value: float, swapped: np.ndarray, exact: bool) -> float | None:
    """Two-sided p of an exchange test; None where there is no value.

    The share of exchanges at least as far from 0 as `value`; of random ones (b + 1) / (m + 1) (Phipson and Smyth 2010,
    Stat. Appl. Genet. Mol. Biol. 9:39).
    """
    if np.isnan(value):
        return None
    as_far = (~(np.abs(swapped) < abs(value) - TIE)).sum()
    return float((as_far + (not exact)) / (len(swapped) + (not exact)))


def add_holm(entries: Iterable[dict]) -> None:
    """Write `p_holm` into each: its `p`, corrected for all of them (Holm 1979, Scand. J. Statist. 6:65)."""
    entries = list(entries)
    known = [entry["p"] for entry in entries if entry["p"] is not None]
    corrected = iter(multipletests(known, method="holm")[1] if known else [])
    for entry in entries:
        entry["p_holm"] = None if entry["p"] is None else float(next(corrected))


def compare(
    first: pd.DataFrame, second: pd.DataFrame, classes: list[str], ordered: bool, draws: int, seed: int
) -> dict:
    """Every metric of `first` minus that of `second`, on the same images.

    Shares have Wilson's interval on the effective number of patients, between -1 and 1, which for pairs of images is
    Agresti and Min's (2005, Statist. Med. 24:729); all else BCa, the same draws for both models. The p-values are of an
    exchange test: a patient's answers by the two models, of all its images at once, are exchanged with probability 1/2.
    AUCs exchange ranks within a model, so that another scale of the probabilities is no difference (Bandos et al. 2005,
    Stat. Med. 24:2873).

    Parameters
    ----------
    first, second
        Predictions tables of the same images, in any order.
    ordered
        Quadratic weights for kappa.
    draws, seed
        Of the bootstrap, and of the exchanges, all of which are made where they are no more than `draws`.

    Returns
    -------
    `n_images, n_patients, permutations` (numbers), `exact` (whether all exchanges were made), an estimate with `p` for
    each of `OVERALL`, and `one_vs_rest` `{class: {sensitivity, specificity, auc}}` with `p` and `p_holm`, corrected
    over the classes for each of the three.

    Raises
    ------
    ValueError
        When the two tables do not hold the same images with the same patients and labels.
    """
    truth, pair, patient = paired(first, second, classes)
    patients, ranks = int(patient.max() + 1), [rankdata(one, axis=0) for one in pair]
    twice = np.concatenate([patient, patient + patients])
    metrics = _metrics(np.tile(truth, 2), np.vstack(pair), np.vstack(ranks), twice, ordered)
    whole = _differences(metrics, [np.ones((1, patients))], exchange=False)
    left_out = without_each(lambda w: _differences(metrics, [w], exchange=False), patients, len(twice))
    strata = patient_strata(truth, patient)
    drawn = _differences(metrics, patient_weights(strata, draws, seed, len(twice)), exchange=False)
    differ = [(one != other).any(axis=1) for one, other in (pair, ranks)]  # equal ones can have other ranks
    differs = np.bincount(patient, np.logical_or(*differ)) > 0
    exchanged = _differences(metrics, swaps(differs, draws, seed, len(twice)), exchange=True)
    exact = 2 ** int(differs.sum()) <= draws
    entries = {}
    for key, (chosen, effective) in _behind(truth, patient, len(classes)).items():
        value, n = whole[key][0], len(np.unique(patient[chosen]))
        ends = -WIDEST.get(key, 1.0), WIDEST.get(key, 1.0)
        if (key if isinstance(key, str) else key[0]) in SHARES or np.ptp(drawn[key]) < TIE:
            entries[key] = wilson_estimate(value, left_out[key], strata, chosen.sum(), n, ends, effective)
        else:
            limits = None if np.isnan(value) else bca(value, drawn[key], left_out[key], strata)
            entries[key] = estimate(value, limits, chosen.sum(), n, BCA)
        entries[key]["p"] = swap_p(value, exchanged[key], exact)
    for name in OF_CLASS:
        add_holm([entries[name, c] for c in range(len(classes))])
    size = {"n_images": len(truth), "n_patients": patients, "permutations": len(exchanged["accuracy"]), "exact": exact}
    by_class = {label: {name: entries[name, c] for name in OF_CLASS} for c, label in enumerate(classes)}
    return size | {name: entries[name] for name in OVERALL} | {"one_vs_rest": by_class}


def _behind(truth: np.ndarray, patient: np.ndarray, classes: int) -> dict:
    """Images that a metric is of, `(n,) bool`, and the number of patients that bounds what it can tell."""

    def count(chosen: np.ndarray) -> int:
        return len(np.unique(patient[chosen]))

    everything = truth >= 0
    found = {name: (everything, count(everything)) for name in OVERALL}
    for c in range(classes):
        case = truth == c
        found["sensitivity", c], found["specificity", c] = ((side, count(side)) for side in (case, ~case))
        found["auc", c] = everything, min(count(case), count(~case))
    found["macro_auc"] = everything, min(found["auc", c][1] for c in range(classes))
    return found


def over_seeds(tables_by_name: dict[str, pd.DataFrame], classes: list[str], ordered: bool) -> pd.DataFrame:
    """What another seed of one recipe changes: metrics of several predictions tables of the same images.

    Parameters
    ----------
    tables_by_name
        Two tables or more, of one recipe.
    ordered
        Quadratic weights for kappa.

    Returns
    -------
    A row a table, `mean`, `SD` (n - 1), `min` and `max` over these, and apart from them `ensemble`: the mean of their
    probabilities, judged as one model. Columns `OF_SEEDS`.

    Raises
    ------
    ValueError
        Fewer than two tables, or one of other images, patients or labels, which is named.
    """
    if len(tables_by_name) < 2:
        raise ValueError(f"over_seeds: {len(tables_by_name)} table; two or more are needed")
    ours = next(iter(tables_by_name.values()))
    truth, _, patient = as_arrays(ours, classes)
    tables = {name: in_order_of(ours, table, name) for name, table in tables_by_name.items()}
    judged = {name: as_arrays(table, classes)[1] for name, table in tables.items()}

    def row(probabilities: np.ndarray) -> dict[str, float]:
        found = _metrics(truth, probabilities, probabilities, patient, ordered)(np.ones((1, patient.max() + 1)))
        return {metric: float(found[metric][0]) for metric in OF_SEEDS}

    each = pd.DataFrame({name: row(probabilities) for name, probabilities in judged.items()}).T
    summary = each.agg(["mean", "std", "min", "max"]).rename(index={"std": "SD"})
    ensemble = pd.DataFrame({"ensemble": row(np.mean(list(judged.values()), axis=0))}).T
    return pd.concat([each, summary, ensemble])


def as_row(entry: dict) -> dict[str, str]:
    """A difference as text to be read: value and interval, or why there is none, p and Holm's p."""
    ps = {name: "" if entry.get(name) is None else f"{entry[name]:.2g}" for name in ("p", "p_holm")}
    return {"difference": shown(entry)} | ps


def difference_table(results: dict) -> pd.DataFrame:
    """The differences of `compare` as text to be read, a row each: `as_row`, images and patients."""
    named = [((name, ""), results[name]) for name in OVERALL]
    for label, entries in results["one_vs_rest"].items():
        named += [((name, class_name(label)), entry) for name, entry in entries.items()]
    rows = [as_row(entry) | {"images": entry["n"], "patients": entry["patients"]} for _, entry in named]
    return pd.DataFrame(rows, pd.MultiIndex.from_tuples([name for name, _ in named], names=["metric", "class"]))
