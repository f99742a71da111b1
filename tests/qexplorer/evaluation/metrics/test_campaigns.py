"""Campaigns in a pool."""

from qexplorer.evaluation.metrics.campaigns import distinct_campaigns


def test_a_campaign_counts_once_and_a_seeds_own_not_at_all() -> None:
    """a, a, b, c without the seed's b: two."""
    assert distinct_campaigns(["a", "a", "b", "c"], ["b", "z"]) == 2
