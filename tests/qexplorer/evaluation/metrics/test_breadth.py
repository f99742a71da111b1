"""Breadth of queries."""

from qexplorer.evaluation.metrics.breadth import breadth


def test_breadth_is_the_median_of_log_10_of_the_matches() -> None:
    """1, 10 and 1,000 matches: 0, 1, 3; what matches nothing is counted elsewhere."""
    assert breadth([1, 1000, 10, 0]) == 1.0
    assert breadth([0]) == 0.0
