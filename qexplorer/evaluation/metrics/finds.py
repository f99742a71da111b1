"""Finds by reviews."""

import itertools
from collections.abc import Sequence


def finds_at(verdicts: Sequence[bool], reviews: int) -> int:
    """Return how many of the first reviews were finds; a method that runs dry keeps its last count."""
    return sum(verdicts[:reviews])


def discovery_curve(verdicts: Sequence[bool], reviews: int) -> list[int]:
    """Return the finds after each of so many reviews."""
    counts = list(itertools.accumulate((int(verdict) for verdict in verdicts[:reviews]), initial=0))[1:]
    return counts + [counts[-1] if counts else 0] * (reviews - len(counts))
