"""Queries that copy the listing instead of saying what it is about."""

from collections.abc import Sequence

MOST_COPIED = 0.6


def is_copy(query: Sequence[str], text: Sequence[str], share: float = MOST_COPIED) -> bool:
    """Whether the words of a query stand in the text as they are and are more than a share of its words."""
    size = len(query)
    if size <= share * len(text):
        return False
    return any(tuple(text[start : start + size]) == tuple(query) for start in range(len(text) - size + 1))


def copy_rate(pairs: Sequence[tuple[Sequence[str], Sequence[str]]]) -> float:
    """Return the share of copies among pairs of the words of a query and of its seed; 0 without any."""
    return sum(is_copy(query, text) for query, text in pairs) / len(pairs) if pairs else 0.0
