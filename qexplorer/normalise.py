"""One normal form for listings and queries, so that disguised words meet plain ones."""

import unicodedata

VERSION = "1"


def normalise(text: str) -> str:
    """Return the text in normal form."""
    return " ".join(unicodedata.normalize("NFKC", text).lower().split())
