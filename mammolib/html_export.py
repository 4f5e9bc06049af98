"""A finished run as one HTML file for people without Jupyter: notebooks, figures and reports, readable offline."""

from html import escape
from pathlib import Path

import nbformat
from nbconvert import HTMLExporter
from nbconvert.filters import markdown2html

from mammolib.rooms import caution, read_result, resolve, short, shown_by_git, writing

EVALUATION = "03_evaluation"  # whose room has the reports
SHOWN = ("parameters", "injected-parameters")  # tags of the cells whose code stays open
TEMPLATE = """{%- extends 'basic/index.html.j2' -%}{%- block input_group -%}
{%- if cell.metadata.tags and cell.metadata.tags[0] in resources.shown -%}{{ super() }}
{%- else -%}<details><summary>code</summary>{{ super() }}</details>{%- endif -%}{%- endblock -%}"""
STYLE = "params/reporting/page.css"


def title_of(markdown: str, otherwise: str) -> str:
    """The text of the first heading of the first level."""
    return next((line[2:].strip() for line in markdown.splitlines() if line.startswith("# ")), otherwise)


def notebook_section(path: Path) -> tuple[str, str, str]:
    """Title, HTML and style sheet of an executed notebook; its code is folded, but for the parameters."""
    book = nbformat.read(path, as_version=4)
    exporter = HTMLExporter(raw_template=TEMPLATE, exclude_anchor_links=True, embed_images=True)
    exporter.exclude_input_prompt = exporter.exclude_output_prompt = True
    body, resources = exporter.from_notebook_node(book, {"shown": SHOWN, "metadata": {"path": str(path.parent)}})
    texts = "\n".join(cell.source for cell in book.cells if cell.cell_type == "markdown")
    return title_of(texts, path.stem), body, "".join(resources["inlining"]["css"])


def finished(outputs: Path) -> dict[Path, dict]:
    """The executed notebooks of a profile's folder whose JSON is there, in order, with that JSON."""
    found = {path: path.with_suffix(".json") for path in sorted(outputs.glob("[0-9][0-9]_*.ipynb"))}
    return {path: read_result(own) for path, own in found.items() if own.is_file()}


def run_page(profile: str, outputs: Path) -> str:
    """The page: title, caution, contents, each finished notebook, and the reports that belong to 03's run.

    Raises
    ------
    FileNotFoundError, ValueError
        Where nothing has finished in `outputs`, or a JSON is no result.
    """
    if not (runs := finished(outputs)):
        raise FileNotFoundError(f"{short(outputs)}: no finished notebook here (NN_name.ipynb and its JSON); run it")
    sections, style = [], ""
    for path in runs:
        title, body, style = notebook_section(path)
        sections.append((path.stem, f"{path.stem[:2]} {title}", "notebook", body))
    files = runs.get(outputs / f"{EVALUATION}.ipynb", {}).get("provenance", {}).get("files", {})
    for file in [outputs / EVALUATION / name for name in files if name.endswith(".md")]:
        if file.is_file():
            text = file.read_text(encoding="utf-8")
            sections.append((file.stem, title_of(text, file.stem), "report", markdown2html(text)))
    style += resolve(STYLE).read_text(encoding="utf-8")
    contents = "".join(f'<li><a href="#{name}">{escape(title)}</a></li>' for name, title, _, _ in sections)
    parts = "".join(f'<section id="{name}" class="{kind}">{body}</section>' for name, _, kind, body in sections)
    warning = escape(caution(list(runs.values())[-1]["cohort"]))
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(profile)}</title>'
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head>{head}<style>{style}</style></head><body>'
        f'<h1>Run of the profile {escape(profile)}</h1><p class="caution">{warning}</p>'
        "<p>Research only, not for clinical use. The notebooks stand here as they ran; their code is folded.</p>"
        f"<nav><ol>{contents}</ol></nav>{parts}</body></html>\n"
    )


def write_html(profile: str, outputs: Path) -> Path:
    """Write `run.html` into a profile's folder and return its path.

    Raises
    ------
    FileNotFoundError, ValueError
        As `run_page`, and where the cohort is a hospital's and git would take the file up.
    """
    path, page = outputs / "run.html", run_page(profile, outputs)
    hospital = any(run["cohort"].get("kind") == "hospital" for run in finished(outputs).values())
    if hospital and shown_by_git([path]):
        raise ValueError(f"{short(path)}: git does not ignore it, and the cohort is a hospital's; give --outputs")
    with writing(path) as partial:
        partial.write_text(page, encoding="utf-8")
    return path
