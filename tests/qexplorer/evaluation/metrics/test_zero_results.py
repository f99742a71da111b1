"""Queries without a match."""

from qexplorer.evaluation.metrics.zero_results import zero_result_rate


def test_the_share_of_queries_without_a_match() -> None:
    """One of four."""
    assert zero_result_rate([3, 0, 1, 9]) == 0.25
    assert zero_result_rate([]) == 0.0
