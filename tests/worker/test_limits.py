"""The limits on dead letters."""

from worker.limits import DeadLetterLimits


def test_a_share_is_only_judged_over_enough_messages() -> None:
    """Three of four say nothing; sixty of eighty do."""
    limits = DeadLetterLimits(in_a_row=1000, share=0.5)
    assert limits.note(1, 3) == ""
    assert limits.note(19, 57) == "60 dead letters among the last 80 messages"


def test_old_messages_are_forgotten() -> None:
    """What went wrong before the last two hundred messages does not count."""
    limits = DeadLetterLimits(in_a_row=1000, share=0.3)
    limits.note(31, 10)
    for _ in range(20):
        assert limits.note(10, 0) == ""
    assert limits.note(20, 100) != ""
    limits.reset()
    assert limits.note(40, 12) == ""


def test_a_run_ends_with_an_answer() -> None:
    """Letters of several batches make one run; of a batch with answers only its own letters begin the next."""
    limits = DeadLetterLimits(in_a_row=5, share=1.0)
    assert limits.note(0, 4) == ""
    assert limits.note(1, 2) == ""
    assert limits.note(0, 2) == ""
    assert limits.note(0, 1) == "5 dead letters in a row"
