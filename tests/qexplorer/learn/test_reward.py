"""What a query is worth, by hand."""

import math

import pytest

from qexplorer.learn.reward import Asked, best_reply, best_set, copies, first_to_ask, gain, reach, reply_value, weight


def asked(query: str = "q", *, refused: str = "", **found: float) -> Asked:
    return Asked(query=query, found=found, refused=refused)


def test_gain_counts_new_campaigns_and_false_hits() -> None:
    """P − 1.5 · (1 − p) for each campaign that is new; the seed's own counts nothing."""
    query = asked(own=1.0, a=1.0, b=0.8, c=0.0)
    assert gain(query, "own", set(), {}) == pytest.approx(1.0 + (0.8 - 0.3) - 1.5)
    assert gain(query, "own", {"a"}, {}) == pytest.approx((0.8 - 0.3) - 1.5)


def test_what_others_reach_counts_less() -> None:
    """A campaign that ten other seeds find counts half, and so does a false hit."""
    assert weight(10) == 0.5
    assert gain(asked(a=1.0), "own", set(), {"a": 10.0}) == pytest.approx(0.5)
    assert gain(asked(a=0.0), "own", set(), {"a": 10.0}) == pytest.approx(-0.75)


def test_a_set_is_chosen_by_what_each_query_adds() -> None:
    """The second is not the second best alone, but what the first has not found; what only loses stays out."""
    most, same, other, bad = (
        asked("most", a=1, b=1, c=1),
        asked("same", a=1, b=1),
        asked("other", d=1),
        asked("bad", e=0),
    )
    chosen = best_set([bad, other, same, most], "own", {})
    assert [entry.query for entry in chosen] == ["most", "other"]


def test_a_query_with_a_word_of_the_seed_is_liked() -> None:
    """It counts twice."""
    chosen = best_set([asked("most", a=1, b=1, c=1), asked("liked", d=1, e=1)], "own", {}, liked={"liked"})
    assert [entry.query for entry in chosen] == ["liked", "most"]


def test_a_reply_is_worth_its_queries_in_their_order() -> None:
    """The logarithm of what each adds, seven tenths of the place before; one that finds nothing new costs one."""
    one, two, none = asked("one", a=1.0, b=1.0, own=1.0), asked("two", b=1.0, c=1.0, d=0.0), asked("none")
    alone = {"one": 1.0, "two": 1.0, "none": 1.0}
    worth = math.log(3) + 0.7 * math.log(1 + 1.0 - 0.3) - 0.49
    assert reply_value([one, two, none], "own", alone) == pytest.approx(0.3 * worth)
    assert reply_value([none, one], "own", alone) == pytest.approx(0.3 * (-1 + 0.7 * math.log(3)))
    assert reply_value([none] * 100, "own", alone) == pytest.approx(-1)
    assert reply_value([one, asked("one", a=1.0)], "own", alone) == pytest.approx(0.3 * (math.log(3) - 0.7))


def test_what_others_ask_as_well_counts_as_often_as_one_is_before_them() -> None:
    """Half of all replies ask for zaza: of twenty in any order one is the first with odds of a tenth."""
    first = first_to_ask([["zaza", "zaza"], ["zaza", "lean"], ["plug"], []])
    tenth = (1 - 0.5**20) / 10
    assert first == {"zaza": pytest.approx(tenth), "lean": first["plug"], "plug": pytest.approx(0.2, abs=0.001)}
    worth = 0.3 * (tenth * math.log(3) + 0.7 * first["lean"] * math.log(2))
    assert reply_value([asked("zaza", a=1.0, b=1.0), asked("lean", c=1.0)], "own", first) == pytest.approx(worth)


def test_what_must_not_run_is_the_worst() -> None:
    """An unparseable reply, and one with a query that copies the listing or is too broad, whatever else it has."""
    assert reply_value([], "own", {}) == -1.5
    good, broad = asked("good", a=1.0, b=1.0), asked("broad", refused="too broad", c=1.0)
    assert reply_value([good, broad], "own", {"good": 1.0, "broad": 1.0}) == -1.5


def test_the_best_reply_has_what_adds_most_at_each_place() -> None:
    """What is refused, finds nothing new, or is asked by all others stays out or comes last; six are enough."""
    most, same, other = asked("most", a=1, b=1, c=1), asked("same", a=1, b=1), asked("other", d=1)
    general, none = asked("general", e=1, f=1, g=1, h=1), asked("none")
    broad = asked("broad", refused="too broad", i=1)
    first = dict.fromkeys(("most", "same", "other", "none", "broad"), 1.0) | {"general": 0.1}
    best = best_reply([none, general, broad, other, same, most, most], "own", first)
    assert best == [most, other, general]
    assert best_reply([none, broad], "own", first) == []
    many = [Asked(query=str(n), found={f"c{n}": 1.0}) for n in range(9)]
    assert len(best_reply(many, "own", {each.query: 1.0 for each in many})) == 6


def test_a_copy_is_a_run_of_most_of_the_text() -> None:
    """Sixty per cent of the words, in their order."""
    assert copies("plug and play gummies", "plug and play gummies today")
    assert not copies("plug play and gummies", "plug and play gummies today")
    assert not copies("plug and play", "plug and play gummies today")


def test_good_queries_find_two_campaigns_and_little_else() -> None:
    """Eight of ten hits wanted; the seed's own does not count."""
    assert asked(a=1, b=1).is_good("own")
    assert not asked(a=1, own=1).is_good("own")
    assert not asked(a=1, b=1, c=0).is_good("own")
    assert not asked(refused="too broad", a=1, b=1).is_good("own")


def test_reach_counts_sets() -> None:
    """How many sets hold each name."""
    assert reach([{"a", "b"}, {"b"}]) == {"a": 1.0, "b": 2.0}
