"""How the demo splits a marketplace, and how it judges."""

from dataclasses import replace
from typing import Any

import pytest

from qexplorer.demo.data import Truth, prepare
from qexplorer.demo.judge import judge
from qexplorer.errors import BadInputError
from qexplorer.normalise import normalise
from qexplorer.policies import load_policies
from qexplorer.rows import Row
from qexplorer.testing import a_flag
from schemas import Query, QuerySource, SeedFlag, Suspect


def rows(prohibited: int, honest: int, **more: Any) -> list[Row]:
    made = [
        {"id": f"p{n}", "text": f"aa{n} bb{n} cc{n}", "kind": "drugs", "toxic": True, "campaign": f"c{n // 3}"}
        for n in range(prohibited)
    ] + [{"id": f"h{n}", "text": f"h{n}x i{n}x j{n}x", "kind": "benign", "toxic": False} for n in range(honest)]
    return [Row(number=number, value={**value, **more}) for number, value in enumerate(made, start=1)]


def split(given: list[Row], seeds: int = 5) -> Any:
    return prepare("x", given, load_policies(None), seeds=seeds, seed=1, on_rows=lambda _: None)


def test_history_and_index_share_no_campaign() -> None:
    """What the triage learns from is no longer on sale, and neither are its siblings."""
    data = split(rows(90, 100))
    on_sale = {listing.text for listing in data.listings}
    assert not on_sale & {flag.text for flag in data.history}
    assert len(data.truth) + len(data.history) == 90
    assert {truth.campaign for truth in data.truth.values()} == {f"c{n}" for n in range(30)} - {
        f"c{int(flag.text.split()[0][2:]) // 3}" for flag in data.history
    }


def test_seeds_are_on_sale_and_of_different_campaigns() -> None:
    """One seed a campaign, each with a policy."""
    data = split(rows(90, 100))
    assert len(data.seeds) == 5
    assert len({data.truth[flag.listing.id].campaign for flag in data.seeds}) == 5
    assert {flag.policy for flag in data.seeds} == {"drugs"}


def test_the_random_listings_are_drawn_whatever_they_are() -> None:
    """The triage's random listings are of all that is on sale: labels that the demo judges by choose none of them."""
    data = split(rows(90, 100))
    assert sorted(data.unlabelled) == sorted(normalise(listing.text) for listing in data.listings)


def test_rows_that_cannot_be_read_are_counted() -> None:
    """A broken row costs itself."""
    broken = [Row(number=999, value=None, problem="x"), Row(number=1000, value={"text": "no id"})]
    data = split(rows(90, 100) + broken)
    assert (data.refused, data.first_refused) == (2, "row 999: x")


def test_an_id_stands_for_one_listing() -> None:
    """The index keeps one of its rows, and two flags of one id would get one answer: the demo would wait for ever."""
    again = [Row(number=900 + n, value={**(row.value or {}), "campaign": f"d{n}"}) for n, row in enumerate(rows(90, 0))]
    data = split(rows(90, 100) + again, seeds=90)
    assert (data.refused, data.first_refused) == (90, "row 900: a row before it has its id")
    assert len({flag.flag_id for flag in data.seeds}) == len(data.seeds)


def test_too_little_to_show_is_said() -> None:
    """A file without ground truth is refused with what it needs."""
    with pytest.raises(BadInputError, match="told apart by the column toxic"):
        split(rows(5, 100))


def test_kinds_that_no_policy_takes_are_named() -> None:
    """A demo without a single flag would show nothing."""
    with pytest.raises(BadInputError, match="no policy takes the kinds of x: Drugs"):
        split([replace(row, value={**(row.value or {}), "kind": "Drugs"}) for row in rows(90, 100)])


def suspect(name: str, score: float) -> Suspect:
    return Suspect(
        review_key=name,
        seed=SeedFlag.of(a_flag()),
        listing_id=name,
        listing_version="1",
        index="i",
        query=Query(id="q", text="t", normalised="t", source=QuerySource.GREEDY),
        dsl_hash="d",
        rank=1,
        triage_score=score,
        found_at=a_flag().flagged_at,
    )


def test_the_curve_counts_finds_over_reviews_best_first() -> None:
    """Queue by score: find, miss, find → 1, 1, 2; precision 2/3; both finds of one campaign."""
    truth = {"a": Truth(kind="drugs", campaign="c"), "b": Truth(kind="drugs", campaign="c")}
    judged = judge([suspect("b", 0.5), suspect("x", 0.7), suspect("a", 0.9)], truth, fetched=9, searches=2)
    assert judged.curve == (1, 1, 2)
    assert (judged.finds, judged.reviews, judged.campaigns) == (2, 3, 1)
    assert judged.precision == pytest.approx(2 / 3)


def test_a_listing_found_for_two_policies_is_reviewed_once() -> None:
    """Two suspects, one review, at the place of the better one."""
    truth = {"a": Truth(kind="drugs", campaign="c")}
    judged = judge([suspect("a", 0.5), suspect("x", 0.7), suspect("a", 0.9)], truth, fetched=9, searches=2)
    assert judged.curve == (1, 1)
    assert (judged.suspects, judged.reviews, judged.precision) == (3, 2, 0.5)
