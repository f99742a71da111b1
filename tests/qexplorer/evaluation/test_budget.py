"""A method spends no more than it may, and every search counts."""

import asyncio
from collections.abc import Sequence

import pytest

from qexplorer.evaluation.budget import Answer, Ask, Budget, Found, OverspentError
from qexplorer.search.backend import SearchKind


class Echo:
    """An index in which every query finds two listings."""

    def __init__(self) -> None:
        self.ran: list[str] = []

    async def run(self, asks: Sequence[Ask]) -> list[Answer]:
        self.ran += [ask.text for ask in asks]
        await asyncio.sleep(0)
        hits = (Found(place=0, text="a", score=None), Found(place=1, text="b", score=None))
        return [Answer(ask=ask, hits=hits, total=2, took_ms=1) for ask in asks]


def budget(searches: int = 3, hits: int = 60) -> tuple[Budget, Echo]:
    index = Echo()
    made = Budget(index, searches=searches, hits=hits)
    made.next_seed()
    return made, index


async def test_overspending_is_refused_before_anything_runs() -> None:
    """Four searches are not run where three are left, not even the first."""
    made, index = budget()
    with pytest.raises(OverspentError, match="4 searches were asked for and 3 are left"):
        await made.run([Ask(text=word) for word in "a b c d".split()])
    assert index.ran == []
    assert made.left == 3


async def test_more_hits_than_declared_are_refused() -> None:
    """A deep search is only for a method that declares it, so that the load says so."""
    made, index = budget()
    with pytest.raises(OverspentError, match="more than the 60 hits"):
        await made.run([Ask(text="a", hits=300)])
    deep, _ = budget(hits=300)
    assert len(await deep.run([Ask(text="a", hits=300)])) == 1
    assert index.ran == []


async def test_a_query_runs_once_in_a_group() -> None:
    """The same words in another order are one query, also for a later seed, and cost nothing again."""
    made, index = budget()
    spent = made.next_seed()
    await made.run([Ask(text="red gummies"), Ask(text="Gummies red")])
    assert (spent.searches, spent.hits, made.left) == (1, 2, 2)
    later = made.next_seed()
    assert await made.run([Ask(text="gummies red")]) == []
    assert (later.searches, made.left) == (0, 3)
    assert index.ran == ["red gummies"]


async def test_another_way_to_search_the_same_words_is_another_query() -> None:
    """A text match is not what the words all together find."""
    made, index = budget()
    await made.run([Ask(text="red"), Ask(text="red", kind=SearchKind.WHOLE_TEXT), Ask(text="red", terms=(("red", 1),))])
    assert len(index.ran) == 3


async def test_the_first_new_queries_run_as_far_as_the_budget_goes() -> None:
    """What the bank has makes room for the next in line."""
    made, index = budget()
    await made.run([Ask(text="a")])
    answers = await made.run_first([Ask(text=word) for word in "a b b c d".split()])
    assert [answer.ask.text for answer in answers] == ["b", "c"]
    made.next_seed()
    assert len(await made.run_first([Ask(text=word) for word in "x y z".split()], most=1)) == 1
    assert index.ran == ["a", "b", "c", "x"]


async def test_a_repeat_takes_no_query_out_of_its_place() -> None:
    """The first query of a list that names it again at its end is still the first to run."""
    made, index = budget(searches=1)
    await made.run_first([Ask(text="red gummies"), Ask(text="vapes"), Ask(text="gummies red")])
    assert index.ran == ["red gummies"]


async def test_parallel_searches_share_what_is_left() -> None:
    """Of two that start together where one is left, one runs; the same query twice at once is one search."""
    made, index = budget(searches=1)
    await asyncio.gather(made.run_first([Ask(text="a")]), made.run_first([Ask(text="b")]))
    assert index.ran == ["a"]
    spent = made.next_seed()
    with pytest.raises(OverspentError, match="1 searches were asked for and 0 are left"):
        await asyncio.gather(made.run([Ask(text="c")]), made.run([Ask(text="c")]), made.run([Ask(text="d")]))
    assert (spent.searches, index.ran) == (1, ["a", "c"])
