"""Names in files as text for people; apart from the figures, so that computing needs no plotting library."""

import re


def class_name(name: str) -> str:
    """Return a class as text for people: `tubule_forming` -> `tubule forming`."""
    return re.sub(r"[_\s]+", " ", str(name)).strip()
