"""Files that stay in a room's `private` folder: the key of the pseudonyms, and that of the pixels' hashes."""

import csv
import hashlib
import hmac
import io
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from mammolib.rooms import writing

KEY_COLUMNS = ["kind", "original", "pseudonym"]


def read_key(key: Path) -> dict[str, dict[str, str]]:
    """Pseudonyms given before, by kind (patient, image) and original; ValueError names a damaged line, no content."""
    known, given = {"patient": {}, "image": {}}, set()
    lines = key_lines(key)
    if next(lines, (1, []))[1] != KEY_COLUMNS:
        raise ValueError(f"{key}: line 1 is damaged; allowed: {','.join(KEY_COLUMNS)}; put back a copy")
    for number, line in lines:
        if len(line) != 3 or line[0] not in known or not re.fullmatch(f"{line[0][0].upper()}[0-9]{{4,}}", line[2]):
            raise ValueError(f"{key}: line {number} is damaged; allowed: kind, original, pseudonym; put back a copy")
        kind, original, pseudonym = line
        if original in known[kind] or pseudonym in given:
            raise ValueError(f"{key}: line {number} has an original or a pseudonym again; put back a copy")
        known[kind][original] = pseudonym
        given.add(pseudonym)
    return known


def key_lines(key: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield each record of the key with the line at which it begins; an original may go over several lines."""
    number = 1
    with key.open(encoding="utf-8", newline="") as opened:  # else a carriage return in an original becomes a newline
        records = csv.reader(opened, strict=True)
        try:
            for record in records:
                yield number, record
                number = records.line_num + 1
        except (UnicodeDecodeError, csv.Error) as error:
            raise ValueError(f"{key}: line {number} is damaged ({type(error).__name__}); put back a copy") from None


def write_key(key: Path, known: dict[str, dict[str, str]]) -> None:
    """Write what `read_key` reads; all is quoted, for a name of a file may hold commas and ends of lines."""
    text = io.StringIO(newline="")
    lines = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    lines.writerow(KEY_COLUMNS)
    lines.writerows((kind, *pair) for kind, pairs in known.items() for pair in pairs.items())
    write_private(key, text.getvalue())


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read (mode 600), beside and renamed."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with writing(path) as partial:
        partial.unlink(missing_ok=True)
        partial.touch(mode=0o600)
        partial.write_text(text, encoding="utf-8", newline="")


def keyed(digests: pd.Series, key: Path | None, seed: int) -> pd.Series:
    """HMAC-SHA256 of the pixels' digests, so that nobody can look a patient's image up by its hash.

    The key is a private file, made at first use; without one (synthetic and public images) it follows from the seed,
    so that two runs are equal.
    """
    if key is not None and not key.is_file():
        write_private(key, secrets.token_hex(32))
    secret = f"seed {seed}" if key is None else key.read_text(encoding="ascii", errors="replace")
    if key is not None and not re.fullmatch("[0-9a-f]{64}", secret):
        raise ValueError(f"{key}: not the key of the hashes, 64 hexadecimal digits; put back a copy")
    return digests.map(lambda digest: hmac.new(secret.encode(), digest.encode(), hashlib.sha256).hexdigest())
