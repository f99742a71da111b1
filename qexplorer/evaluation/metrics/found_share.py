"""Yield of the reviews of one seed."""

from collections.abc import Sequence


def yield_at(verdicts: Sequence[bool], reviews: int, available: int) -> float:
    """Return the finds as a share of what so many reviews could find at best; 0 when there is nothing to find."""
    best = min(reviews, available)
    return sum(verdicts[:reviews]) / best if best else 0.0
