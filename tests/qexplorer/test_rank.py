"""Which queries are kept and which hits are shown."""

from qexplorer.near_duplicates import Fingerprint, Group, fingerprint
from qexplorer.rank import Scored, in_order, merge, select
from qexplorer.search.backend import Hit


def hit(name: str, text: str, score: float | None) -> Scored:
    found = Hit(
        listing_id=name, version="1", title=text, description="", seller="", locale="", rank=1, score=1.0,
        highlights={}, sort=(),
    )  # fmt: skip
    return Scored(hit=found, review_key=name, normalised=text, score=score)


def marks(*hits: Scored) -> dict[str, Fingerprint]:
    return {item.review_key: fingerprint(item.normalised) for item in hits}


def test_the_set_is_built_by_marginal_gain() -> None:
    """A finds x and y (gain 2), b finds y and z (1 more), c finds only what is covered (0): a, then b."""
    x, y, z = hit("x", "x", 1.0), hit("y", "y", 1.0), hit("z", "z", 1.0)
    assert select({"c": [x], "b": [y, z], "a": [x, y]}, 0.5) == ["b", "c"]
    assert select({"c": [x], "b": [z], "a": [x, y]}, 0.5) == ["a", "b"]


def test_a_query_that_would_only_add_loss_is_left_out() -> None:
    """P = 0.55: 0.55 − 1.5 · 0.45 = −0.125, so it is not worth a review beside others."""
    assert select({"a": [hit("x", "x", 0.55)]}, 0.5) == []
    assert select({"a": [hit("x", "x", 0.7)]}, 0.5) == ["a"]


def test_text_matches_come_last() -> None:
    """What words have found is theirs, however much the text match finds."""
    x, y = hit("x", "x", 1.0), hit("y", "y", 1.0)
    assert select({"text": [x, y], "words": [x]}, 0.5, last={"text"}) == ["words", "text"]


def test_without_a_triage_every_query_that_adds_a_hit_is_kept_in_order() -> None:
    """Nothing is known of the hits, so only what is new counts."""
    x, y = hit("x", "x", None), hit("y", "y", None)
    assert select({"a": [x], "b": [x], "c": [x, y]}, 0.5) == ["a", "c"]


def test_the_queue_is_one_list_best_first() -> None:
    """Hits of all queries are ordered by score, each with the first that found it; not those below the threshold."""
    low, high, mid = hit("low", "aa bb cc", 0.2), hit("high", "dd ee ff", 0.9), hit("mid", "gg hh ii", 0.6)
    assert in_order([("q", [low, mid]), ("r", [high, mid])], 0.5) == [("r", high), ("q", mid)]


def test_near_duplicates_are_folded_under_the_best() -> None:
    """Of three copies the best is shown and names the others; a copy of a known item is a repeat."""
    text = "fresh batch of plug gummies strong and tasty"
    copies = [hit(f"c{n}", text, 0.7 + n / 10) for n in range(3)]
    group = Group(0.7)
    known = fingerprint("garden chair in good shape and colour")
    group.add("known", known.hashes, known.bands)
    chair = hit("chair", "garden chair in good shape and colour", 0.95)
    merged = merge(in_order([("q", [*copies, chair])], 0.5), group, marks(*copies, chair), cap=9)
    assert [(shown.hit.review_key, shown.near_duplicates) for shown in merged.shown] == [("c2", ("c1", "c0"))]
    assert merged.repeats == ("chair",)


def test_no_more_is_shown_than_the_cap() -> None:
    """Those that are shown are the first."""
    hits = [hit(f"h{n}", f"w{n}a w{n}b w{n}c", 0.9) for n in range(5)]
    merged = merge([("q", each) for each in hits], Group(0.7), marks(*hits), cap=2)
    assert [shown.hit.review_key for shown in merged.shown] == ["h0", "h1"]


def test_what_nobody_has_looked_up_is_not_shown() -> None:
    """A hit without a fingerprint is left out, whatever room there is."""
    hits = [hit(f"h{n}", f"w{n}a w{n}b w{n}c", 0.9) for n in range(5)]
    merged = merge([("q", each) for each in hits], Group(0.7), marks(*hits[:3]), cap=9)
    assert [shown.hit.review_key for shown in merged.shown] == ["h0", "h1", "h2"]
