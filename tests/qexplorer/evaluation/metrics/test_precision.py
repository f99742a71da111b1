"""Precision of reviews."""

import pytest

from qexplorer.evaluation.metrics.precision import precision_at


def test_precision_is_over_the_reviews_that_took_place() -> None:
    """Two right of the first three; one of two where the list ends early; 0 of none."""
    assert precision_at([True, False, True, False], 3) == pytest.approx(2 / 3)
    assert precision_at([True, False], 50) == 0.5
    assert precision_at([], 50) == 0.0
