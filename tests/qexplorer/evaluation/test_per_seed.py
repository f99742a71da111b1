"""Seed by seed, only the seed's own kind is right."""

from qexplorer.evaluation.budget import Ask
from qexplorer.evaluation.measure import per_seed_row
from qexplorer.evaluation.per_seed import explore_seed, walk
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
