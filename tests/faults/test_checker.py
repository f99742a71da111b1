"""The checker itself: it finds each kind of broken promise, and excuses only what a fault explains."""

from dataclasses import replace

import pytest

from tests.faults.checker import Came, Fault, History, Sent, judge
from tests.faults.schedule import KINDS, draw

SENT = [Sent(flag=f"f{n}", partition=0, offset=n, sibling=f"s{n}") for n in range(3)]


def answer(number: int, at: float) -> list[Came]:
    """Return the records of a whole answer."""
    return [
        Came(kind="Suspect", key=f"k{number}", at=at, listing=f"s{number}"),
        Came(kind="FlagResult", key=f"r{number}", at=at, flag=f"f{number}"),
    ]


def whole() -> History:
    """Return a run without a flaw: three flags, answered in order."""
    came = [record for number in range(3) for record in answer(number, 100.0 + number)]
    return History(sent=list(SENT), came=came, healed=100.0, drained=103.0)


def test_a_run_without_a_flaw_is_kept() -> None:
    """Nothing is found where nothing is wrong."""
    assert judge(whole()).kept


@pytest.mark.parametrize("kind", ["Suspect", "FlagResult"])
def test_a_missing_record_is_a_loss(kind: str) -> None:
    """No answer is a loss, and so is an answer without the item that was there."""
    history = whole()
    history.came = [came for came in history.came if not (came.kind == kind and came.key.endswith("1"))]
    assert len(judge(history).lost) == 1


def test_a_flag_in_the_dead_letters_needs_a_reason() -> None:
    """A good flag that was set aside is a broken promise; poison that was not is one as well."""
    history = whole()
    history.came = [came for came in history.came if came.flag != "f1"]
    history.came.append(Came(kind="DeadLetter", key="d", at=101.0, place=(0, 1), reason="unexpected"))
    assert judge(history).unexplained == ["f1"]
    history.sent[1] = replace(history.sent[1], poison=True)
    assert judge(history).kept
    history.came.pop()
    assert judge(history).lost


def test_a_repeat_is_excused_by_a_fault_alone() -> None:
    """The same record twice is doubled, unless something broke between the two or right before."""
    history = whole()
    history.came += answer(1, 110.0)
    assert len(judge(history).doubled) == 2
    history.faults = [Fault(kind="kill worker", start=105.0, end=106.0)]
    assert judge(history).kept
    assert judge(history).repeated == 2
    history.faults = [Fault(kind="kill worker", start=10.0, end=20.0)]
    assert len(judge(history).doubled) == 2
    history.faults = [Fault(kind="kill worker", start=111.0, end=112.0)]
    assert len(judge(history).doubled) == 2


def test_first_answers_keep_the_order_of_their_partition() -> None:
    """An answer before that of an earlier flag is out of order; a repeat of an earlier one is not."""
    history = whole()
    history.came += answer(3, 100.5)
    history.sent.append(Sent(flag="f3", partition=0, offset=3, sibling="s3"))
    assert judge(history).disordered == ["f3"]
    history.sent[-1] = replace(history.sent[-1], partition=1)
    assert judge(history).kept


def test_a_late_drain_is_found() -> None:
    """Half a minute after the last fault all must be answered."""
    history = whole()
    history.drained = 131.0
    assert judge(history).late_s == 31.0


def test_a_seed_always_gives_the_same_schedule_and_every_fault_has_its_turn() -> None:
    """What has failed once can be run again; as many seeds in a row as there are kinds have them all."""
    assert draw(7) == draw(7)
    assert {blow.kind for seed in range(len(KINDS)) for blow in draw(seed).blows} == set(KINDS)
