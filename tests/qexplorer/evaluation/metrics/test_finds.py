"""Finds by reviews."""

from qexplorer.evaluation.metrics.finds import discovery_curve, finds_at


def test_finds_are_counted_up_to_the_budget() -> None:
    """Of right, wrong, right, right the first three hold two."""
    assert finds_at([True, False, True, True], 3) == 2
    assert finds_at([True, False], 100) == 1


def test_a_method_that_runs_dry_keeps_its_last_count() -> None:
    """Three reviews of five: 1, 1, 2 and then 2, 2."""
    assert discovery_curve([True, False, True], 5) == [1, 1, 2, 2, 2]
    assert discovery_curve([], 2) == [0, 0]
    assert discovery_curve([True, True, True], 2) == [1, 2]
