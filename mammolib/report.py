"""The result tables that people read: the notebook's, the terminal's and the README's, all from 03's JSON."""

import json
import subprocess
from pathlib import Path

import pandas as pd

from mammolib.claims import find, read_claims, shown
from mammolib.intervals import wilson
from mammolib.names import class_name
from mammolib.rooms import caution, project_root, read_result, resolve, short, writing

NOTEBOOK = "03_evaluation"
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
# What a reader sees -> where it stands in the results. A tuple: the ends of a range.
ROWS = {
    "accuracy": "accuracy",
    "balanced accuracy": "balanced_accuracy",
    "mean one-vs-rest accuracy": "mean_one_vs_rest_accuracy",
    "one-vs-rest accuracies, range": ("one_vs_rest.lowest.accuracy", "one_vs_rest.highest.accuracy"),
    "macro AUC": "macro_auc",
    "Cohen's kappa (quadratic where classes are ordered)": "kappa",
    "baseline: always no, mean one-vs-rest": "baselines.always_no.mean_one_vs_rest_accuracy",
    "baseline: majority, accuracy": "baselines.majority.accuracy",
    "baseline: headers and breast size, accuracy": "baselines.header_only.accuracy",
}
OF_SOME = ("sensitivity", "specificity", "ppv", "npv")
PROFILES = {
    "demo": "phantoms, demo's recipe",
    "demo-best": "same phantoms, control's recipe",
    "control": "clearer phantoms, control's recipe",
    "mini-mias": "films (other task)",
}


def result_table(results: dict, ordered: bool = False) -> pd.DataFrame:
    """Every estimate of 03 as a row: `metric, class, value, low, high, n, patients, method, note`; class empty = all.

    Rows of patients begin with `patient_pooled_` or `patient_vote_` and come last. `ordered`: kappa has quadratic
    weights, and its row says so.
    """
    rows = _rows(results, ordered)
    for how, judged in results.get("patient_level", {}).items():
        rows += [row | {"metric": f"patient_{how}_{row['metric']}"} for row in _rows(judged, ordered)]
    columns = ["metric", "class", "value", "low", "high", "n", "patients", "method", "note"]
    return pd.DataFrame([{"note": ""} | row for row in rows]).reindex(columns=columns)


def wide_tables(results: dict, ordered: bool = False) -> list[pd.DataFrame]:
    """The estimates of `result_table` as text to be read: metrics in rows, of all classes and then of each.

    Columns of the first are images, patients by pooled probabilities and patients by vote; those of the second the
    classes, of images, with the n of what is a share of some of them.
    """
    levels = {"": results} | results.get("patient_level", {})
    names = [f"{one['n_images']} {f'patients, {how}' if how else 'images'}" for how, one in levels.items()]
    texts = [
        pd.DataFrame([row | {"text": _with_n(row)} for row in _rows(one, ordered)]) for one in levels.values()
    ]  # before a table makes NaN of None
    whole = [part[part["class"] == ""].set_index("metric")["text"] for part in texts]
    by_class = texts[0][texts[0]["class"] != ""].pivot(index="metric", columns="class", values="text")
    order = texts[0]["metric"].unique(), texts[0]["class"].unique()[1:]
    by_class = by_class.reindex(index=[name for name in order[0] if name in by_class.index], columns=order[1])
    return [pd.concat(whole, axis=1, keys=names).fillna("-"), by_class.fillna("-")]


def _with_n(row: dict) -> str:
    """An estimate as text; of a share of some images with their number."""
    return f"{shown(row)}, n {row['n']}" if row["metric"] in OF_SOME and row["value"] is not None else shown(row)


def _rows(results: dict, ordered: bool) -> list[dict]:
    """Estimates of images, or of patients, one after the other: all classes, then each."""
    whole = results | results.get("calibration", {})
    if ordered:
        whole = {f"{name}_quadratic" if name == "kappa" else name: leaf for name, leaf in whole.items()}
    rows = [{"metric": name, "class": ""} | leaf for name, leaf in whole.items() if _is_estimate(leaf)]
    for label, entries in results["one_vs_rest"].items():
        rows += [{"metric": name, "class": class_name(label)} | leaf for name, leaf in entries.items()]
    return rows


def _is_estimate(leaf: object) -> bool:
    return isinstance(leaf, dict) and "low" in leaf


def cell(results: dict | None, path: str | tuple[str, str]) -> str:
    """One cell: an estimate as `0.473 [0.390, 0.558]`, a number as `0.667`, a range as `0.61 to 0.70`; "-" = none."""
    if results is None:
        return "-"
    if isinstance(path, tuple):
        ends = [find(results, end)[0] for end in path]
        known = all(_is_estimate(end) and end["value"] is not None for end in ends)
        return " to ".join(f"{end['value']:.2f}" for end in ends) if known else "-"
    leaf, _ = find(results, path)
    return f"{leaf:.3f}" if isinstance(leaf, (int, float)) else shown(leaf)


def paper_results(claims: pd.DataFrame) -> dict:
    """The published numbers in the form of our results, so that one table holds both; only those the claims have.

    Published is the accuracy, with Wilson's interval on its n; the others follow by arithmetic and have none. That
    always answering no gives 1 - 1/k is true of any data.
    """
    numbers = claims[(claims["notebook"] == NOTEBOOK) & (claims["rule"] == "difference")].drop_duplicates("metric")
    values = dict(zip(numbers["metric"], numbers["value"], strict=True))
    classes = numbers["classes"].iloc[0].split() if len(numbers) else []
    paper = {"classes": classes, "n_images": int(numbers["n"].iloc[0]) if len(numbers) else 0}
    if classes:
        paper["baselines"] = {"always_no": {"mean_one_vs_rest_accuracy": 1 - 1 / len(classes)}}
    if "accuracy" in values:
        low, high = wilson(values["accuracy"], numbers.set_index("metric").loc["accuracy", "n"])
        paper["accuracy"] = {"value": values["accuracy"], "low": low, "high": high}
    if (name := "mean_one_vs_rest_accuracy") in values:
        paper[name] = f"{values[name]:.3f} (arithmetic)"
    ends = {rank: values.get(f"one_vs_rest.{rank}.accuracy") for rank in ("lowest", "highest")}
    if None not in ends.values():  # one end alone is no range
        paper["one_vs_rest"] = {
            f"class {rank}": {"accuracy": {"value": end, "low": 0, "high": 1}} for rank, end in ends.items()
        }
    return paper


def read_evaluation(project: Path, profile: str, committed: bool) -> dict | None:
    """03's JSON of a profile, from the tree or as committed (git HEAD); None where it is not there."""
    path = f"outputs/{profile}/{NOTEBOOK}.json"
    if not committed:
        return read_result(project / path) if (project / path).is_file() else None
    try:
        command = ["git", "show", f"HEAD:./{path}"]
        done = subprocess.run(command, cwd=project, capture_output=True, check=True, encoding="utf-8")
    except (OSError, subprocess.CalledProcessError):  # no git, no repository, no commit, not committed
        return None
    return json.loads(done.stdout)


def result_lines(profile: str, outputs: Path) -> list[str]:
    """The end of a run on the terminal: metric, paper, committed, this run, and the files to open.

    Raises
    ------
    FileNotFoundError, ValueError
        Where 03 has not finished in `outputs`, its JSON holds other results, or the claims file is missing.
    """
    run = read_result(path := outputs / f"{NOTEBOOK}.json")
    paper = paper_results(read_claims(resolve(run["parameters"].get("claims") or "params/claims.csv")))
    try:
        return [*_table_lines(profile, run, paper), "", "Open:", *_files(outputs)]
    except (KeyError, TypeError, AttributeError) as error:
        wrong = f"{type(error).__name__}: {error}"
        raise ValueError(f"{path}: not the results of {NOTEBOOK} ({wrong}); run it again") from None


def _table_lines(profile: str, run: dict, paper: dict) -> list[str]:
    """Title, caution and table of `result_lines`."""
    before, results = read_evaluation(project_root(), profile, committed=True), run["results"]
    same_task = set(results["one_vs_rest"]) == set(paper["classes"])
    columns = [paper if same_task else None, before and before["results"], results]
    rows = [["metric", "paper", "committed", "this run"]]
    rows += [[name, *(cell(column, path) for column in columns)] for name, path in ROWS.items()]
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    classes = ", ".join(class_name(name) for name in results["one_vs_rest"])
    head = f"{profile}: {results['n_images']} images of {results['n_patients']} patients; classes {classes}"
    warning = [caution(run["cohort"])]
    if _is_set(results):
        warning.append("Their difficulty was chosen so that the accuracy comes out as published: set, not found.")
    return ["", head, *warning, "", *lines]


def _is_set(results: dict) -> bool:
    """Whether the phantoms' difficulty was set to the published accuracy."""
    return any(row["verdict"] == "set by calibration" for row in results.get("paper", []))


def _files(outputs: Path) -> list[str]:
    """Finished notebooks and the tables of 03, as short as they can be written from the project's folder."""
    files = [path for path in sorted(outputs.glob("[0-9][0-9]_*.ipynb")) if ".failed" not in path.name]
    files += [outputs / NOTEBOOK / name for name in ("result_table.csv", "predictions.csv")]
    return [f"  {short(path.resolve())}" for path in files if path.is_file()]


def readme_table(project: Path, committed: bool = False) -> str:
    """The Markdown table of the README's first screen, from the JSONs of `PROFILES` in the tree (or in git HEAD)."""
    paper = paper_results(read_claims(project / "params" / "claims.csv"))
    runs = {profile: read_evaluation(project, profile, committed) for profile in PROFILES}
    found = [run and run["results"] for run in runs.values()]
    was_set = [" (set, not found)" if results and _is_set(results) else "" for results in found]
    links = [f"[{profile}](outputs/{profile}/{NOTEBOOK}.ipynb)" for profile in PROFILES]
    titles = [f"{title}{note} {link}" for title, note, link in zip(PROFILES.values(), was_set, links, strict=True)]
    types = " / ".join(class_name(name) for name in paper["classes"])
    rows = [["", "paper", *titles, "hospital"], ["---"] * (len(titles) + 3)]
    rows.append(["classes", types, *(_task(run) for run in runs.values()), types])
    sizes = [f"{run['n_images']} ({run['n_patients']})" if run else "-" for run in found]
    rows.append(["images (patients)", f"{paper['n_images']} (not stated)", *sizes, "not run"])
    for name, path in ROWS.items():
        rows.append([name, *(cell(column, path) for column in [paper, *found]), "not run"])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _task(run: dict | None) -> str:
    if run is None:
        return "-"
    drawn = ", drawn" if run["cohort"]["kind"] == "synthetic" else ""
    return " / ".join(class_name(name) for name in run["results"]["one_vs_rest"]) + drawn


def readme_block(text: str) -> tuple[int, int] | None:
    """Where the result table stands between its two marks; None without both."""
    start, end = text.find(BEGIN), text.find(END)
    return (start + len(BEGIN), end) if 0 <= start < end else None


def update_readme(path: str | Path) -> None:
    """Write the result table of the tree's JSONs between the two marks of a README."""
    path = resolve(path)
    text = path.read_text(encoding="utf-8")
    if (block := readme_block(text)) is None:
        raise ValueError(f"{path}: the marks {BEGIN} and {END} are missing; the result table goes between them")
    with writing(path) as partial:
        partial.write_text(f"{text[: block[0]]}\n{readme_table(path.parent)}\n{text[block[1] :]}", encoding="utf-8")
