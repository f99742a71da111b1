"""Queries that match nothing."""

from collections.abc import Sequence


def zero_result_rate(totals: Sequence[int]) -> float:
    """Return the share of executed queries without a match; 0 when none was executed."""
    return sum(total == 0 for total in totals) / len(totals) if totals else 0.0
