"""The upper reference takes the queries that bring the most new campaigns, and no others."""

from qexplorer.evaluation.budget import Ask, Budget
from qexplorer.evaluation.methods.oracle import Oracle
from qexplorer.evaluation.pool import explore_group
from qexplorer.evaluation.testing import GOODS, small_case

CANDIDATES = [Ask(text=word) for word in ("chair", "copy0", *GOODS, "strong")]


async def test_nothing_is_run_that_brings_nothing_new() -> None:
    """One query that all campaigns have, the one with the fewest hits, is enough; later seeds run none."""
    case, index = small_case()
    oracle = Oracle("oracle", case, index, lambda _: CANDIDATES)
    result = await explore_group(case, index, oracle, number=0, load=3)
    assert [[answer.ask.text for answer in seed.spent.answers] for seed in result.seeds] == [["copy0"], [], []]
    assert result.campaigns == len(case.campaigns) - 3


async def test_it_obeys_the_budget_and_starts_afresh_with_each_group() -> None:
    """With one search a seed the broadest good of those left is run first; another budget is another group."""
    case, index = small_case()
    oracle = Oracle("oracle", case, index, lambda _: [Ask(text=word) for word in GOODS])
    for number in range(2):
        budget = Budget(index, searches=1)
        budget.next_seed()
        (answer,) = await oracle.explore(case.groups[number][0].seed, budget)
        own = {judged.item.campaign for judged in case.groups[number]}
        gains = {
            good: len({item.campaign for item in case.documents.items() if good in item.normalised} - own)
            for good in GOODS
        }
        assert gains[answer.ask.text] == max(gains.values())
