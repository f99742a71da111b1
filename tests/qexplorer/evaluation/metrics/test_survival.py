"""What disguise leaves."""

from qexplorer.evaluation.metrics.survival import survival


def test_survival_is_the_share_that_is_still_found() -> None:
    """38 of 40."""
    assert survival(38, 40) == 0.95
    assert survival(1, 0) == 0.0
