"""How different the queries of a method are."""

from collections.abc import Sequence


def distinct_rate(queries: Sequence[str]) -> float:
    """Return distinct queries ÷ queries, over all seeds of a group; 0 without any."""
    return len(set(queries)) / len(queries) if queries else 0.0
