"""Distinct queries."""

from qexplorer.evaluation.metrics.distinct import distinct_rate


def test_repeated_queries_lower_the_rate() -> None:
    """Two distinct of four."""
    assert distinct_rate(["a", "a", "b", "a"]) == 0.5
    assert distinct_rate([]) == 0.0
