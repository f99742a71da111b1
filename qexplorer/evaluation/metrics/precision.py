"""Precision of the reviews of one seed."""

from collections.abc import Sequence


def precision_at(verdicts: Sequence[bool], reviews: int) -> float:
    """Return the share of right ones among the first reviews that took place; 0 when none did."""
    done = verdicts[:reviews]
    return sum(done) / len(done) if done else 0.0
