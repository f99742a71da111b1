"""Yield of reviews."""

from qexplorer.evaluation.metrics.found_share import yield_at


def test_yield_is_a_share_of_what_could_be_found() -> None:
    """Two campaigns where four exist; where a hundred exist, fifty reviews find fifty at best."""
    assert yield_at(2, 50, 4) == 0.5
    assert yield_at(25, 50, 100) == 0.5
    assert yield_at(0, 50, 0) == 0.0
