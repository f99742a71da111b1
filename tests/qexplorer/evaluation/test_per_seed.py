"""Seed by seed, only the seed's own kind is right."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from qexplorer.evaluation.budget import Answer, Ask, Budget, OverspentError
from qexplorer.evaluation.measure import per_seed_row
from qexplorer.evaluation.methods.base import Listed
from qexplorer.evaluation.per_seed import explore_seed, walk
from qexplorer.evaluation.seeds import Seed
from qexplorer.evaluation.testing import GOODS, Scripted, small_case


async def test_only_the_seeds_own_kind_is_right() -> None:
    """A search for all goods shows a drugs seed the papers too, as wrong ones, and its own campaign not at all."""
    case, index = small_case()
    judged = next(judged for group in case.groups for judged in group if judged.item.kind == "drugs")
    found = await explore_seed(case, index, Scripted(GOODS), judged, load=4)
    drugs = {item.campaign for item in case.documents.items() if item.kind == "drugs"}
    papers = {item.campaign for item in case.documents.items() if item.kind == "papers"}
    assert found.available == found.campaigns == sum(found.verdicts) == len(drugs) - 1
    assert len(found.verdicts) == len(drugs) - 1 + len(papers)


async def test_reviews_end_the_walk_and_near_duplicates_take_none() -> None:
    """Both listings of a campaign match; one of them is reviewed."""
    case, index = small_case()
    judged = case.groups[0][0]
    answers = await index.run([Ask(text="strong")])
    items = [item.campaign for item in walk(case, judged, answers, 60) if item is not None]
    assert len(items) == len(set(items)) > 3
    assert len(walk(case, judged, answers, 3)) == 3


async def test_a_row_averages_over_the_seeds_of_a_group() -> None:
    """Precision and yield are means a seed; each seed starts with an empty bank."""
    case, index = small_case()
    method = Scripted(["gummies", "vapes", "pills"])
    found = [await explore_seed(case, index, method, judged, load=3) for judged in case.groups[0]]
    row = per_seed_row(case, method, 3, 0, found)
    assert row.searches == 3.0
    assert row.protocol == "per_seed"
    shares = [sum(seed.verdicts) / len(seed.verdicts) for seed in found]
    assert row.precision == sum(shares) / 3
    assert 0 < row.share <= 1


async def test_hits_of_another_seed_are_refused() -> None:
    """What a method has kept from the seed before was not paid for by this one."""
    case, index = small_case()
    kept: list[Answer] = []

    class Keeper(Listed):
        async def explore(self, seed: Seed, budget: Budget) -> Sequence[Answer]:
            del seed
            kept.extend(await budget.run_first([Ask(text="gummies"), Ask(text="vapes")]))
            return kept

    keeper, (first, second) = Keeper("keeper"), case.groups[0][:2]
    await explore_seed(case, index, keeper, first, load=2)
    with pytest.raises(OverspentError, match="keeper returned an answer that its budget did not run"):
        await explore_seed(case, index, keeper, second, load=2)


async def test_no_seed_finds_more_than_there_is() -> None:
    """Two listings of one campaign that are near-duplicates only through a third are two finds, and one campaign."""
    case, index = small_case()
    method = Scripted(["gummies"])
    found = await explore_seed(case, index, method, case.groups[0][0], load=1)
    twice = replace(found, verdicts=(True, True), campaigns=1, available=1)
    row = per_seed_row(case, method, 1, 0, [twice])
    assert (row.finds, row.campaigns, row.share) == (2.0, 1.0, 1.0)
