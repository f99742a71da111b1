"""What a query is worth, by hand."""

import pytest

from qexplorer.learn.reward import Asked, Crowd, best_set, copies, gain, novelty, reach, reply_value

ALONE = Crowd([])


def asked(query: str = "q", *, refused: str = "", **found: float) -> Asked:
    return Asked(query=query, found=found, refused=refused)


def test_gain_counts_new_campaigns_and_false_hits() -> None:
    """P − 1.5 · (1 − p) for each campaign that is new; the seed's own counts nothing."""
    query = asked(own=1.0, a=1.0, b=0.8, c=0.0)
    assert gain(query, "own", set(), novelty({})) == pytest.approx(1.0 + (0.8 - 0.3) - 1.5)
    assert gain(query, "own", {"a"}, novelty({})) == pytest.approx((0.8 - 0.3) - 1.5)


def test_what_others_reach_counts_less() -> None:
    """A campaign that ten other seeds find counts half, and so does a false hit."""
    weigh = novelty({"a": 10.0})
    assert gain(asked(a=1.0), "own", set(), weigh) == pytest.approx(0.5)
    assert gain(asked(a=0.0), "own", set(), weigh) == pytest.approx(-0.75)


def test_a_set_is_chosen_by_what_each_query_adds() -> None:
    """The second is not the second best alone, but what the first has not found; what only loses stays out."""
    most, same, other, bad = (
        asked("most", a=1, b=1, c=1),
        asked("same", a=1, b=1),
        asked("other", d=1),
        asked("bad", e=0),
    )
    chosen = best_set([bad, other, same, most], "own", novelty({}))
    assert [(entry.query, value) for entry, value in chosen] == [("most", 3.0), ("other", 1.0)]


def test_a_query_with_a_word_of_the_seed_is_liked() -> None:
    """It counts twice in the choice, and as it is in the gain."""
    chosen = best_set([asked("most", a=1, b=1, c=1), asked("liked", d=1, e=1)], "own", novelty({}), liked={"liked"})
    assert [(entry.query, value) for entry, value in chosen] == [("liked", 2.0), ("most", 3.0)]


def test_a_reply_is_worth_its_queries_in_their_order() -> None:
    """Each place counts a fifth of the one before, over the fixed 50; a search costs half a campaign."""
    one, two = asked("one", a=1.0, b=1.0), asked("two", b=1.0, c=1.0)
    assert reply_value("x", [one, two], "own", ALONE) == pytest.approx((1.5 + 0.2 * 0.5) / 50)
    assert reply_value("x", [two], "own", ALONE) > reply_value("x", [two, asked("none")], "own", ALONE)
    assert reply_value("x", [asked("none")], "own", ALONE) == pytest.approx(-0.5 / 50)


def test_what_others_ask_and_find_first_counts_as_often_as_one_is_before_them() -> None:
    """One of twenty replies to others begins with zaza and finds a; a group of 20 takes turns in any order."""
    zaza, lean, plug = asked("zaza", a=1.0, b=1.0), asked("lean", a=1.0), asked("plug", c=1.0)
    crowd = Crowd([("x", [zaza]), ("y", [asked("zaza", a=1.0), plug]), *[("z", [asked("none")])] * 19])
    once = (1 - 0.95**20) / (20 * 0.05)
    assert 0.5 < once < 1
    assert crowd.first_to_ask("x", "zaza") == crowd.first_to_find("x", "a") == pytest.approx(once)
    assert crowd.first_to_ask("x", "plug") == crowd.first_to_find("x", "b") == crowd.first_to_find("x", "c") == 1.0
    assert reply_value("x", [lean], "own", crowd) == pytest.approx((once - 0.5) / 50)
    worth = once * (once + 1 - 0.5) + 0.2**once * (1 - 0.5)
    assert reply_value("x", [zaza, plug], "own", crowd) == pytest.approx(worth / 50)


def test_what_must_not_run_is_the_worst() -> None:
    """An unparseable reply, and one whose first query copies the listing or is too broad."""
    assert reply_value("x", [], "own", ALONE) == -1.5
    assert reply_value("x", [asked(refused="too broad")], "own", ALONE) == -1.5


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
