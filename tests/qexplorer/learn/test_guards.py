"""What stops a training run, and what does not."""

import pytest

from qexplorer.errors import TrainingError
from qexplorer.learn.guards import check_habits, check_log, habits


def test_a_usual_run_goes_on() -> None:
    """Losses fall, margins grow, probabilities move a little."""
    check_log({"loss": 1.0, "logps/chosen": -20.0, "rewards/accuracies": 0.5, "rewards/margins": 0.0}, 0.0)
    check_log({"loss": 0.5, "logps/chosen": -22.0, "rewards/chosen": -0.2, "rewards/accuracies": 0.9}, 0.5)


@pytest.mark.parametrize("name", ["loss", "train_loss"])
@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_stops_it(name: str, loss: float) -> None:
    """Everything behind it would be worthless; of the last steps only the mean of all of them tells."""
    with pytest.raises(TrainingError, match="the loss is"):
        check_log({name: loss}, 0.5)


def test_chosen_replies_must_not_become_unlikely() -> None:
    """More than a fifth, and a nat, below the start means that both sides are pushed down."""
    with pytest.raises(TrainingError, match=r"fell from -20.0 to -26.0"):
        check_log({"logps/chosen": -26.0, "rewards/chosen": -0.6}, 0.5)


def test_pairs_that_are_told_apart_at_once_are_given_away() -> None:
    """Early and sure is a shortcut; late and sure is learning."""
    easy = {"rewards/accuracies": 1.0, "rewards/margins": 2.0}
    check_log(easy, 0.5)
    with pytest.raises(TrainingError, match="gives them away"):
        check_log(easy, 0.1)


def test_habits_are_counted_over_queries() -> None:
    """Words and empty ones a query, what finds something and the unreadable a reply."""
    found = habits([["a b", "c"], ["c"], []], finding=1, empty=1, copied=0)
    assert (found.words, found.distinct, found.empty, found.unparseable) == (4 / 3, 1 / 3, 1 / 3, 1 / 3)


def test_what_got_worse_is_named() -> None:
    """Each by its figures."""
    before = habits([["a b", "c d"]] * 10, finding=2, empty=0, copied=0)
    good = habits([["a b", "c d e"]] * 10, finding=2, empty=0, copied=0)
    worse = habits([["a"] * 2] * 10, finding=1, empty=10, copied=10)
    assert check_habits(before, good) == []
    assert [flaw.split(" ")[0] for flaw in check_habits(before, worse)] == ["words", "distinct", "the", "the"]
