"""The dry run of notebook 01 on an archive: headers and list alone, counts alone, nothing written but the cache."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mammolib import parameters, rooms, runner
from mammolib.archive import scan_archive
from mammolib.linkage import dry_run_lines, link
from mammolib.pathology import columns_line, one_row_a_breast, read_pathology
from mammolib.registry import classify
from mammolib.words import folded, meanings, read_label_map, unknown_words

NOTEBOOK = "01_data_curation"


def preview_lines(profile: str, overrides: list[str], outputs: str | None) -> list[str]:
    """What a profile of layout `archive` would leave, and why the rest would go.

    Raises
    ------
    FileNotFoundError, ValueError
        As `runner.plan`; another layout; what the list's reader finds wrong.
    """
    planned = runner.plan(profile, overrides, outputs)
    declared = parameters.declared_parameters(rooms.project_root() / "notebooks" / f"{NOTEBOOK}.ipynb")
    values = {name: parameter.default for name, parameter in declared.items()} | planned.get(NOTEBOOK, {})
    if values["layout"] != "archive":
        needed = "a preview needs archive, the list as pathology and the folder as source"
        raise ValueError(f"{NOTEBOOK}: layout = {values['layout']!r}; {needed}")
    folder = rooms.resolve(values["outputs"])
    for name, drawn in {"pathology": "pathology.csv", "source": "archive"}.items():  # as in the notebook
        values[name] = values[name] or str(folder / "00_synthetic_cohort" / drawn)
    if problems := runner.missing_inputs({NOTEBOOK: values}, [NOTEBOOK]):
        raise ValueError("\n".join(problems))
    return counted(values, folder / NOTEBOOK / "private" / "cache")


def counted(values: Mapping[str, Any], cache: Path) -> list[str]:
    """Lines of the dry run; a list with words that the label map lacks gives these words, with their counts."""
    classes = values["classes"]
    known = read_label_map(rooms.resolve(values["label_map"]) if values["label_map"] else None, classes)
    lesions = read_pathology(rooms.resolve(values["pathology"]), values["encoding"])
    unknown = lesions["histology"][meanings(lesions["histology"], known).isna()]
    counts = unknown_words(unknown, known)
    known = known | dict.fromkeys(unknown.map(folded), "other_histology")  # told, to be mapped before a run
    rules = {name: values[name] for name in ("storage_classes", "keep_burned_in", "spacing_range_mm")}
    headers = scan_archive(rooms.resolve(values["source"]), cache, rules, values["workers"])
    rows, report = link(headers, one_row_a_breast(lesions, known), values["image_window_days"])
    rows = classify(rows, classes, known, values["diagnosed_from"], values["diagnosed_to"])
    lines = dry_run_lines(rows, report, classes, values["test_share"])
    if len(unknown):
        lines.append(f"not in the label map, so out as another histology here: {counts}")
    return [columns_line(rooms.resolve(values["pathology"]), values["encoding"]), *lines]
