"""Intervals come from paired resamples of the groups."""

import math

import pytest

from qexplorer.evaluation.bootstrap import difference, mean, ratio


def test_the_mean_lies_in_its_interval() -> None:
    """The mean of 1, 2, 3, 4 is 2.5; two units in four are drawn often enough for 1.5 to 3.5."""
    found = mean([1, 2, 3, 4])
    assert found.value == 2.5
    assert 1 <= found.low < 2
    assert 3 < found.high <= 4
    assert found.text() == f"2.5 [{found.low:.1f}, {found.high:.1f}]"


def test_pairing_takes_out_what_both_share() -> None:
    """Groups differ by tens, the methods always by one: the difference is sure although the means overlap."""
    found = difference([11, 21, 31, 41], [10, 20, 30, 40])
    assert (found.value, found.low, found.high) == (1, 1, 1)


def test_a_ratio_is_that_of_the_means() -> None:
    """(10 + 30) / (10 + 10) is 2, while the mean of the ratios would be 2 as well only by chance."""
    found = ratio([10, 30, 20], [10, 10, 10])
    assert found.value == pytest.approx(2.0)
    assert 1 <= found.low < 2 < found.high <= 3


def test_nothing_to_divide_by_is_no_number() -> None:
    """A baseline that finds nothing gives no finite ratio and no crash."""
    assert math.isinf(ratio([1, 2], [0, 0]).value)
    assert math.isnan(ratio([0, 0], [0, 0]).value)
    assert ratio([1, 2], [0, 0.5]).text(2) == "6.00 [no interval]"
    assert ratio([1, 2], [1, 0.5]).text(2) == "2.00 [1.00, 4.00]"


def test_the_same_seed_gives_the_same_interval() -> None:
    """An interval can be made again."""
    assert mean([1, 5, 9, 2], seed=3) == mean([1, 5, 9, 2], seed=3)
