"""Campaigns among the listings of a pool: what more reviews could find."""

from collections.abc import Collection, Iterable


def distinct_campaigns(campaigns: Iterable[str], without: Collection[str]) -> int:
    """Return how many distinct campaigns there are, those of the seeds left out."""
    return len(set(campaigns) - set(without))
