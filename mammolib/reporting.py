"""A model card and the reporting checklists of a run, filled from its JSONs where these know the answer.

params/reporting/reports.csv lists the reports; each has a CSV with a row an item: number, topic in our own words, what
it is about, and a template. A template holds `{NN:key}`, the number of a notebook and a dotted path into its JSON, and
`[optional parts]`, which go where a key of theirs is missing. No number stands in those files.
"""

import re
from contextlib import suppress
from itertools import takewhile
from pathlib import Path
from typing import Any

import pandas as pd

from mammolib.claims import find, shown
from mammolib.names import class_name
from mammolib.rooms import Room, caution, input_key, plain, project_root
from mammolib.tables import read_csv, require_columns

FOLDER = "params/reporting"
AUTHORS = "authors must fill"
PATIENTS = "patients"  # what an item is about that phantoms can't answer
COLUMNS = ["item", "also", "section", "topic", "about", "template"]
FIELD = re.compile(r"\{(\d\d):([^{}]+)\}")
OPTIONAL = re.compile(r"\[([^\[\]]*)\]")


def read_table(path: str | Path, columns: list[str]) -> pd.DataFrame:
    """Read a CSV of params/reporting as text, with "" where a cell is empty."""
    table = read_csv(path, dtype=str, keep_default_na=False)
    require_columns(table, columns, path)
    return table


def known_runs(room: Room, results: dict) -> dict[str, tuple[str, dict]]:
    """What the reports may be filled from, by the number of the notebook: where it stands, and the JSON.

    The room's own JSON is not written yet: its parameters and `results` stand for it. 00 counts on a drawn cohort only,
    and no training does where saved predictions are evaluated, which may be of another network.
    """
    own = {"profile": room.profile, "cohort": room.cohort, "parameters": room.parameters, "results": results}
    runs = {room.name[:2]: (f"{room.name}.json", plain(own | {"seed": room.parameters["seed"]}))}
    passed = {"00"} if room.cohort["kind"] != "synthetic" else set()
    passed |= {"02"} if room.parameters.get("predictions") else set()
    for name in sorted(path.stem for path in (project_root() / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        if name < room.name and name[:2] not in passed:
            with suppress(FileNotFoundError):
                place = input_key(room.outputs_of(name) / f"{name}.json", room.outputs)
                runs[name[:2]] = place, room.earlier(name)
    return runs


def look_up(run: dict, path: str) -> Any:
    """Follow a dotted path into a JSON, as `claims.find` does; `*` gathers from all entries, by name. None = missing.

    The entries of a list are named by their first value, those of a mapping by their key.
    """
    before, star, after = path.partition(".*")
    leaf, _ = find(run, before)
    if not star or leaf is None:
        return leaf
    entries = leaf.items() if isinstance(leaf, dict) else [(next(iter(row.values())), row) for row in leaf]
    return {name: find(entry, after[1:])[0] for name, entry in entries}


def as_text(leaf: Any) -> str | None:
    """A value of a JSON for people, None where there is none: `0.473 [0.390, 0.558]`, `0.667`, `yes`, `solid: 44`.

    A row of a list of rows is named by the texts that it begins with.
    """
    if leaf is None or isinstance(leaf, str):
        return leaf
    if isinstance(leaf, bool):
        return "yes" if leaf else "no"
    if isinstance(leaf, float):
        return f"{round(leaf, 3) or leaf:g}"
    if isinstance(leaf, dict) and "low" in leaf:
        return None if (text := shown(leaf)) == "-" else text
    if isinstance(leaf, list) and leaf and isinstance(leaf[0], dict):
        leaf = {" ".join(takewhile(lambda value: isinstance(value, str), row.values())): row for row in leaf}
    if isinstance(leaf, dict):
        texts = {class_name(name): as_text(value) for name, value in leaf.items()}
        lines = [f"{name}: {text}" for name, text in texts.items() if text is not None]
        return "; ".join(lines) or (None if leaf else "none")
    return ", ".join(class_name(as_text(value)) for value in leaf) if isinstance(leaf, list) else str(leaf)


def fill(template: str, runs: dict[str, tuple[str, dict]]) -> tuple[str, list[str]]:
    """The text of a template and the places it is from; `AUTHORS` and none where a key is missing.

    Parameters
    ----------
    runs
        As `known_runs` gives them.
    """
    asked = [(number, key) for number, key in FIELD.findall(template) if number in runs]
    found = {(number, key): as_text(look_up(runs[number][1], key)) for number, key in asked}
    known = {field: text for field, text in found.items() if text is not None}

    def part(match: re.Match) -> str:
        return match[1] if known.keys() >= set(FIELD.findall(match[1])) else ""

    text = OPTIONAL.sub(part, template)
    fields = list(dict.fromkeys(FIELD.findall(text)))
    if not fields or any(field not in known for field in fields):
        return AUTHORS, []
    places: dict[str, list[str]] = {}
    for number, key in fields:
        places.setdefault(runs[number][0], []).append(key)
    filled = FIELD.sub(lambda match: known[match.groups()], text)
    return filled.lstrip("; "), [f"{place}: {', '.join(keys)}" for place, keys in places.items()]


def filled_table(table: pd.DataFrame, runs: dict[str, tuple[str, dict]], cohort: dict[str, str]) -> pd.DataFrame:
    """The items of a checklist with `text` and `places`; those about patients stay open where the cohort is drawn."""
    closed = (table["about"] == PATIENTS) & (cohort["kind"] == "synthetic")
    answers = [fill("" if shut else template, runs) for template, shut in zip(table["template"], closed, strict=True)]
    return table.assign(text=[text for text, _ in answers], places=[places for _, places in answers])


def report_lines(report: dict[str, str], table: pd.DataFrame, cohort: dict[str, str]) -> list[str]:
    """A report as Markdown: the cohort's caution, title, coverage, source, and a table a section.

    Parameters
    ----------
    report
        Row of reports.csv: `title, also, source, note`; `also` heads the second column, which "" leaves out.
    table
        As `filled_table` gives it.
    """
    drawn = cohort["kind"] == "synthetic"
    first = "The cohort is drawn: this report shows the form only, items about patients stay open. " if drawn else ""
    lines = [f"**{first}{caution(cohort)}**", "", f"# {report['title']}", ""]
    known = f"{filled_items(table)} of {len(table)} items filled from the run's files; the rest is for the authors."
    lines += [f"Research only, not for clinical use. {known}", ""]
    lines += [f"Source: {report['source']}. {report['note']}", ""]
    head = ["item", *filter(None, [report["also"]]), "topic", "this run", "where it stands"]
    for section, rows in table.groupby("section", sort=False):
        lines += [f"## {section}", "", _row(head), _row(["---"] * len(head))]
        for row in rows.itertuples():
            places = "<br>".join(f"`{place}`" for place in row.places) or "-"
            lines.append(_row([row.item, *([row.also] if report["also"] else []), row.topic, row.text, places]))
        lines.append("")
    return lines


def filled_items(table: pd.DataFrame) -> int:
    """How many items of a `filled_table` the files answer."""
    return int((table["text"] != AUTHORS).sum())


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"


def write_reports(room: Room, results: dict) -> pd.DataFrame:
    """Write every report of params/reporting into a room as Markdown; return `report, file, items, filled`.

    Parameters
    ----------
    room
        That of the evaluation, whose JSON is not written yet.
    results
        What it will hold as `results`.
    """
    runs, written = known_runs(room, results), []
    listed = read_table(room.read_input(f"{FOLDER}/reports.csv"), ["report", "title", "also", "source", "note"])
    for report in listed.to_dict("records"):
        items = read_table(room.read_input(f"{FOLDER}/{report['report']}.csv"), COLUMNS)
        table = filled_table(items, runs, room.cohort)
        with room.writing(file := f"{report['report']}.md") as partial:
            partial.write_text("\n".join(report_lines(report, table, room.cohort)), encoding="utf-8")
        row = {"report": report["title"], "file": file, "items": len(table), "filled": filled_items(table)}
        written.append(row)
    return pd.DataFrame(written)
