"""The README's result table is that of the results beside it."""

from mammolib import report
from mammolib.rooms import project_root


def test_result_table_is_that_of_the_json():
    """Of the tree's JSON (a new run about to be committed) or of git's (a fresh run on another machine)."""
    root = project_root()
    text = (root / "README.md").read_text(encoding="utf-8")
    block = report.readme_block(text)
    assert block is not None, f"README.md needs its result table between {report.BEGIN} and {report.END}"
    table = text[block[0] : block[1]].strip()
    accepted = [report.readme_table(root, committed=False), report.readme_table(root, committed=True)]
    assert table in accepted, "run `python -c 'from mammolib.report import *; update_readme(\"README.md\")'`"
