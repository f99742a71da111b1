"""The pool protocol reviews as the system does, and lets no method see what it must not."""

from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest

from qexplorer.corpus import Item
from qexplorer.evaluation.budget import Answer, Ask, Budget, OverspentError
from qexplorer.evaluation.case import Documents
from qexplorer.evaluation.methods.base import Listed
from qexplorer.evaluation.pool import Pool, Reviewer, count_campaigns, explore_group
from qexplorer.evaluation.seeds import Seed
from qexplorer.evaluation.testing import GOODS, Scripted, small_case


async def test_a_campaign_is_found_once() -> None:
    """Of the two near-duplicates of each campaign one is reviewed; seeds and their copies are not."""
    case, index = small_case()
    result = await explore_group(case, index, Scripted(GOODS), number=0, load=4)
    campaigns = {item.campaign for place in range(len(case.documents)) if (item := case.documents.label(place))}
    assert all(result.verdicts)
    assert sum(result.verdicts) == result.campaigns == len(campaigns) - 3
    assert sum(result.kinds.values()) == result.campaigns


async def test_the_best_by_triage_is_reviewed_first() -> None:
    """A harmless hit that came first waits behind a wanted one; without a triage it does not."""
    case, index = small_case()
    with_triage = await explore_group(case, index, Scripted(["chair", *GOODS]), number=0, load=5, reviews=1)
    assert with_triage.verdicts[0] is True
    case, index = small_case(triage=False)
    without = await explore_group(case, index, Scripted(["chair", *GOODS]), number=0, load=5, reviews=1)
    assert without.verdicts[0] is False


async def test_reviews_are_rationed() -> None:
    """After each seed so many are reviewed and no more: three seeds with two reviews each are six."""
    case, index = small_case()
    result = await explore_group(case, index, Scripted(["strong"]), number=0, load=1, reviews=2)
    assert len(result.verdicts) == result.budget == 6


async def test_rejected_hits_count_but_are_not_reviewed() -> None:
    """A search whose hits the method throws away is in its load."""
    case, index = small_case()
    result = await explore_group(case, index, Scripted(["chair"], rejected=["chair"]), number=0, load=1)
    assert result.verdicts == ()
    assert sum(seed.spent.searches for seed in result.seeds) == 1
    assert sum(seed.spent.hits for seed in result.seeds) == 40


async def test_a_find_belongs_to_the_seed_that_brought_it() -> None:
    """The first seed runs all queries, the bank leaves nothing for the others."""
    case, index = small_case()
    result = await explore_group(case, index, Scripted(GOODS), number=0, load=4)
    assert [seed.finds for seed in result.seeds] == [sum(result.verdicts), 0, 0]


def reachable(value: Any, seen: set[int]) -> list[Any]:
    """Return all objects that public attributes lead to."""
    if id(value) in seen or isinstance(value, (str, int, float, bool, type(None))):
        return []
    seen.add(id(value))
    inner = list(value) if isinstance(value, (list, tuple, set, frozenset)) else []
    names = [field.name for field in fields(value)] if is_dataclass(value) else list(getattr(value, "__dict__", ()))
    inner += [getattr(value, name) for name in names if not name.startswith("_")]
    return [value, *(found for part in inner for found in reachable(part, seen))]


async def test_a_method_sees_no_label() -> None:
    """Neither the seed, nor what is known, nor the budget and its answers lead to a label or to a listing's id."""
    case, index = small_case()
    seen: list[Any] = [case.knowledge]

    class Snoop(Listed):
        async def explore(self, seed: Seed, budget: Budget) -> list[Answer]:
            answers = await budget.run_first([Ask(text=word) for word in GOODS])
            seen.extend([seed, budget, answers])
            return answers

    await explore_group(case, index, Snoop("snoop"), number=0, load=4)
    found = reachable(seen, set())
    assert any(isinstance(value, Answer) for value in found)
    assert not [value for value in found if isinstance(value, (Item, Documents))]
    assert not [value for value in found if hasattr(value, "campaign") or hasattr(value, "listing_id")]


async def test_a_method_cannot_make_up_answers() -> None:
    """What is to be reviewed must have been searched for this seed within the budget."""
    case, index = small_case()

    class Forger(Listed):
        async def explore(self, seed: Seed, budget: Budget) -> list[Answer]:
            del seed
            return [replace(answer) for answer in await budget.run_first([Ask(text="gummies")])]

    with pytest.raises(OverspentError, match="forger returned an answer that its budget did not run"):
        await explore_group(case, index, Forger("forger"), number=0, load=1)


async def test_a_method_cannot_give_itself_another_allowance() -> None:
    """Neither as if the next seed had come, nor by more searches a seed: what it searched so would be in no load."""
    case, index = small_case()

    class Greedy(Listed):
        async def explore(self, seed: Seed, budget: Budget) -> list[Answer]:
            del seed
            answers = await budget.run_first([Ask(text="gummies")])
            budget.next_seed()
            await budget.run_first([Ask(text="vapes")])
            return answers

    with pytest.raises(OverspentError, match="greedy gave itself the allowance of another seed"):
        await explore_group(case, index, Greedy("greedy"), number=0, load=1)
    with pytest.raises(AttributeError):
        setattr(Budget(index, searches=1), "searches", 9)  # noqa: B010 - the types forbid it too


async def test_what_is_known_is_skipped() -> None:
    """A near-duplicate of a known flag is no find and takes no review."""
    case, index = small_case()
    known = case.knowledge.flags[0]
    answers = await index.run([Ask(text="gummies")])
    assert answers[0].hits
    place = answers[0].hits[0].place
    postings = dict.fromkeys(case.documents.words(place), (0,))
    seed = replace(known, title=case.documents.text(place), description="")
    shadowed = replace(case, postings=postings, knowledge=replace(case.knowledge, flags=(seed,)))
    reviewer = Reviewer(shadowed, case.groups[0])
    assert reviewer.review(place) is False
    assert count_campaigns(shadowed, case.groups[0], [place]) == 0


async def test_a_listing_enters_the_pool_once() -> None:
    """The second query that finds a listing changes nothing."""
    case, index = small_case()
    pool = Pool()
    pool.add(await index.run([Ask(text="gummies"), Ask(text="strong gummies")]), 0)
    waiting = len(pool.entered)
    pool.add(await index.run([Ask(text="gummies strong")]), 1)
    assert len(pool.entered) == waiting
    assert set(pool.entered.values()) == {0}
    assert case.documents.text(next(iter(pool.entered))).startswith("strong gummies")
