"""The paper's numbers and claims against ours: one verdict each, from a closed list, by a rule fixed before the run.

params/claims.csv holds a row a claim: the metric (a dotted path into a notebook's results), the rule, the published
value with its n, and the margin. Nothing here is ever called reproduced.

Rules: `difference` = published number against ours, both with their errors, against the margin; `above` = a map's
enrichment against the value, with what makes it speak of the class (see `_above`); `shown` = ours is printed and can't
be judged, for the row's reason.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from mammolib.names import class_name
from mammolib.parameters import require_choice
from mammolib.published_share import difference_of_shares, verdict_of_difference
from mammolib.rooms import COHORT_KINDS
from mammolib.tables import read_csv, require_columns

VERDICTS = ["compatible", "incompatible", "inconclusive", "set by calibration", "method check", "not resolvable"]
VERDICTS += ["not testable here"]
COLUMNS = ["claim", "notebook", "metric", "rule", "published", "value", "n", "effective_n", "margin", "classes"]
COLUMNS += ["reason", "source"]
RULES = ["difference", "above", "shown"]
RANKS = {"lowest": 0.0, "middle": 0.5, "highest": 1.0}
CALIBRATED = ("accuracy", "mean_one_vs_rest_accuracy")  # what setting the phantoms' difficulty sets
CALIBRATION_TOLERANCE = 0.03  # how near to the published accuracy the mean over development seeds was asked to be


def read_claims(path: str | Path) -> pd.DataFrame:
    """Read the claims file; a line naming file, row, column and value says what is wrong with it."""
    claims = read_csv(path)
    require_columns(claims, COLUMNS, path)
    text = ["claim", "notebook", "metric", "rule", "published", "classes", "reason", "source"]
    claims[text] = claims[text].astype(object).where(claims[text].notna(), "")
    for name in ("value", "n", "effective_n", "margin"):
        numbers = pd.to_numeric(claims[name], errors="coerce")
        if (wrong := claims[name].notna() & ~np.isfinite(numbers)).any():
            row = claims[wrong].iloc[0]
            raise ValueError(f"{path}: claim {row['claim']!r}, {name} is {row[name]}; allowed is a number or nothing")
        claims[name] = numbers.astype(float)
    for row in claims.itertuples():
        if row.metric:
            require_choice(f"{path}: claim {row.claim!r}, rule", row.rule, RULES)
        if row.rule == "difference" and not (
            0 < row.value < 1 and row.n > 0 and row.effective_n > 0 and row.margin > 0
        ):
            raise ValueError(f"{path}: claim {row.claim!r} needs value in (0, 1), n, effective_n and margin above 0")
        if not row.metric and not row.reason:
            raise ValueError(f"{path}: claim {row.claim!r} has no metric and no reason why it can't be tested")
    return claims


def find(results: dict, path: str) -> tuple[object, str]:
    """Follow a dotted path into results: the estimate (or None) and the names that ranks stood for.

    `lowest`, `middle` and `highest` choose among entries by the value that the rest of the path leads to.
    """
    step, _, rest = path.partition(".")
    if not step:
        return results, ""
    if not isinstance(results, dict):
        return None, ""
    if step not in RANKS:
        return find(results[step], rest) if step in results else (None, "")
    leaves = [(find(entry, rest)[0], name) for name, entry in results.items() if isinstance(entry, dict)]
    known = [(leaf, name) for leaf, name in leaves if _numbers(leaf) is not None]
    if not known:
        return (leaves[0][0] if leaves else None), ""
    known.sort(key=lambda pair: _numbers(pair[0])[0])
    return known[round(RANKS[step] * (len(known) - 1))]


def _numbers(leaf: object) -> tuple[float, float, float] | None:
    """Value, low and high of an estimate; None where it is not estimable."""
    if not isinstance(leaf, dict) or any(leaf.get(key) is None for key in ("value", "low", "high")):
        return None
    return leaf["value"], leaf["low"], leaf["high"]


def _words(leaf: object) -> str:
    """What an estimate without numbers says for itself (its note, or the leaf where it is text)."""
    return leaf if isinstance(leaf, str) else str(leaf.get("note", "")) if isinstance(leaf, dict) else ""


def shown(leaf: object, name: str = "") -> str:
    """An estimate as text, `0.473 [0.390, 0.558]`, with the entry it belongs to; "-" where there is none."""
    if (numbers := _numbers(leaf)) is None:
        return _words(leaf) or "-"
    text = "{:.3f} [{:.3f}, {:.3f}]".format(*numbers)
    return f"{text} ({class_name(name)})" if name else text


def verdict(row, results: dict, cohort: dict, calibrated: bool) -> tuple[str, str, str]:
    """Ours as text, the verdict of `VERDICTS` and its reason, for one row of the claims file.

    Parameters
    ----------
    row
        Named tuple with the columns of the claims file.
    results
        The notebook's results; the classes are the keys of `one_vs_rest` or of `zones`.
    cohort
        `{"kind": "synthetic" | "public" | "hospital", "name": str}`.
    calibrated
        True where the phantoms' difficulty was set so that the accuracy comes out as published.
    """
    if not row.metric:
        return "-", "not testable here", row.reason
    classes = list(results.get("one_vs_rest") or results.get("zones") or {})
    wanted = row.classes.split()
    if wanted and set(classes) != set(wanted):
        return "-", "not testable here", f"other labels: {', '.join(classes) or 'none'}"
    # a published share's interval lets the class mix vary, so ours does too where the two are compared
    leaf, name = find(results.get("any_mix", results) if row.rule == "difference" else results, row.metric)
    numbers, text = _numbers(leaf), shown(leaf, name)
    at = f"at {results['layer']}: " if "layer" in results else ""
    if "not resolvable" in _words(leaf):
        return text, "not resolvable", f"{at}the zone is thinner than a cell of the map"
    beside = _beside(row.metric, results) if row.rule == "above" else None
    if cohort["kind"] == "synthetic":
        return (text, *_on_phantoms(row, numbers, beside, calibrated, at))
    require_choice("cohort kind", cohort["kind"], COHORT_KINDS)
    if row.rule == "shown":
        return text, "not testable here", row.reason
    if numbers is None:
        return text, "not testable here", _words(leaf) or f"no {row.metric} in the results"
    if row.rule == "difference":
        answer, why = verdict_of_difference(difference_of_shares(numbers, row.value, row.effective_n), row.margin)
        auc = _numbers(results.get("macro_auc"))
        if answer == "compatible" and not (auc and auc[1] > 0.5):  # one answer for all can score as much
            return text, "inconclusive", "the network does not tell the classes apart (macro AUC); " + why
        return text, answer, why
    answer, why = _above(numbers, row.value, beside)
    return text, answer, at + why


def _beside(metric: str, results: dict) -> tuple[object, object]:
    """What an enrichment is judged with: its contrast, and the AUC of the class whose map it is."""
    path = metric.split(".")
    return find(results, ".".join([*path[:-1], "contrast"]))[0], find(results, f"one_vs_rest.{path[1]}.auc")[0]


def _above(numbers: tuple[float, float, float], value: float, beside: tuple[object, object]) -> tuple[str, str]:
    """Verdict on a map's estimate claimed to lie above a value.

    Compatible where it does, where it also lies above that of each other class's maps (contrast above 0), and where
    the network tells the class at all (AUC above one half): the map of a class that it can't tell explains nothing.
    """
    contrast, auc = beside
    bounds = {"enrichment": (numbers, value), "contrast": (_numbers(contrast), 0.0), "AUC": (_numbers(auc), 0.5)}
    why = "; ".join(
        f"{name} {found[1]:.2f} to {found[2]:.2f} against {limit:g}" if found else f"{name} unknown"
        for name, (found, limit) in bounds.items()
    )
    if isinstance(contrast, dict) and "against" in contrast:
        why += f" (contrast with the maps of {class_name(contrast['against'])}, the nearest)"
    above = {name: bool(found and found[1] > limit) for name, (found, limit) in bounds.items()}
    if not above["AUC"]:
        return "inconclusive", "the network does not tell this class from the rest; " + why
    below = [name for name, (found, limit) in bounds.items() if found and found[2] < limit]
    return "compatible" if all(above.values()) else "incompatible" if below else "inconclusive", why


def _as_set(row, numbers: tuple[float, float, float]) -> str:
    """How well the difficulty was set: ours minus the target, beside the tolerance of the mean over seeds."""
    gap = numbers[0] - row.value
    if row.metric != "accuracy":
        return f"set, not found: ours minus target {gap:+.3f}; the same information as the 3-class accuracy"
    lies, asked = "within" if abs(gap) <= CALIBRATION_TOLERANCE else "this one seed lies beyond", CALIBRATION_TOLERANCE
    return f"set, not found: ours minus target {gap:+.3f}, {lies} the {asked:g} asked of the seeds' mean"


def _on_phantoms(row, numbers: tuple | None, beside: tuple | None, calibrated: bool, at: str) -> tuple[str, str]:
    """Verdicts that drawn images allow: their difficulty was set, their signs were drawn."""
    if row.rule == "difference" and calibrated and row.metric in CALIBRATED and numbers:
        return "set by calibration", _as_set(row, numbers)
    if row.rule == "difference":
        chosen = "their difficulty was chosen, it tells nothing about patients"
        return "not testable here", f"phantoms: {'only the mean was set' if calibrated else chosen}"
    if row.rule == "shown":
        picked = "shown is the zone with the highest value, picked afterwards, which need not hold the drawn sign"
        return "method check", f"{at}{row.reason}; {picked}"
    if numbers is None:
        return "method check", f"{at}the sign was drawn there; the map gives no number"
    found = {"compatible": "the map finds it", "incompatible": "the map misses it", "inconclusive": "undecided"}
    answer, why = _above(numbers, row.value, beside)
    return "method check", f"{at}the sign was drawn there; {found[answer]}: {why}"


def paper_table(claims: pd.DataFrame, results: dict, cohort: dict, notebook: str, calibrated: bool) -> pd.DataFrame:
    """Paper against ours: `claim, published, ours, verdict, reason`, all text, one row a claim of this notebook.

    See `verdict` for the arguments; `notebook` is a name such as "03_evaluation".
    """
    rows = []
    for row in claims[claims["notebook"] == notebook].itertuples():
        ours, answer, reason = verdict(row, results, cohort, calibrated)
        require_choice(f"claim {row.claim!r}, verdict", answer, VERDICTS)
        rows.append({"claim": row.claim, "published": row.published, "ours": ours, "verdict": answer, "reason": reason})
    return pd.DataFrame(rows, columns=["claim", "published", "ours", "verdict", "reason"])
