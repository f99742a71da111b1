"""The protocols that look at one seed at a time: its own list of hits, walked to a number of reviews.

Diagnostic: they say how good the queries of a seed are, not how much a team would find in all.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from qexplorer.corpus import Item
from qexplorer.evaluation.budget import Answer, Budget, Index, Spent
from qexplorer.evaluation.case import Case, Judged
from qexplorer.evaluation.methods.base import Method
from qexplorer.evaluation.metrics.campaigns import distinct_campaigns
from qexplorer.near_duplicates import NEAR, jaccard

REVIEWS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class PerSeed:
    """What the first reviews of one seed's hits were: right is a prohibited listing of the seed's own kind.

    `available` counts the campaigns of that kind, without the seed's own; `campaigns` those among the right ones.
    """

    judged: Judged
    spent: Spent
    verdicts: tuple[bool, ...]
    reviews: int
    available: int
    campaigns: int


async def explore_seed(
    case: Case, index: Index, method: Method, judged: Judged, *, load: int, reviews: int = REVIEWS
) -> PerSeed:
    """Run one method on one seed with an empty bank and an empty pool."""
    budget = Budget(index, searches=load, hits=method.hits)
    spent = budget.next_seed()
    answers = await method.explore(judged.seed, budget)
    budget.close(method.name, spent, answers)
    walked = walk(case, judged, answers, reviews)
    own = {judged.item.campaign}
    kind = judged.item.kind
    return PerSeed(
        judged=judged,
        spent=spent,
        verdicts=tuple(item is not None and item.kind == kind for item in walked),
        reviews=reviews,
        available=distinct_campaigns((item.campaign for item in case.documents.items() if item.kind == kind), own),
        campaigns=distinct_campaigns((item.campaign for item in walked if item and item.kind == kind), own),
    )


def walk(case: Case, judged: Judged, answers: Sequence[Answer], reviews: int) -> list[Item | None]:
    """Return what the first reviews show, None for a harmless listing.

    The hits come by triage, without one by rank; near-duplicates are skipped as in the pool.
    """
    order: dict[int, tuple[float, int]] = {}
    for answer in answers:
        for rank, hit in enumerate(answer.hits):
            key = (rank if hit.score is None else -hit.score, len(order))
            order.setdefault(hit.place, key)
    seen = [judged.seed.words]
    walked: list[Item | None] = []
    for place in sorted(order, key=lambda place: order[place]):
        words = case.documents.words(place)
        if len(walked) == reviews:
            break
        if case.is_known(place) or any(jaccard(words, other) > NEAR for other in seen):
            continue
        seen.append(words)
        walked.append(case.documents.label(place))
    return walked
