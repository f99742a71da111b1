"""The pool protocol: what the system does. Hits of all seeds join one pool that triage orders for review.

After each seed the `reviews` best of the pool are reviewed. A near-duplicate of a known flag, of a seed of the group or
of anything already reviewed is skipped, so a campaign that was found once adds nothing.
"""

import heapq
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from qexplorer.evaluation.budget import Answer, Budget, Index, Spent
from qexplorer.evaluation.case import Case, Judged
from qexplorer.evaluation.metrics.campaigns import distinct_campaigns
from qexplorer.evaluation.seeds import Seed
from qexplorer.near_duplicates import NEAR, jaccard

if TYPE_CHECKING:
    # A method that reads the whole corpus needs the reviewer from here.
    from qexplorer.evaluation.methods.base import Cost, Method

REVIEWS = 10


class Reviewer:
    """Reviews listings with the labels, and skips what says nearly the same as something known or reviewed."""

    def __init__(self, case: Case, group: Sequence[Judged]) -> None:
        self._case = case
        self._seen = [judged.seed.words for judged in group]
        self.reviewed: list[int] = []
        self.finds: list[bool] = []

    def review(self, place: int) -> bool:
        """Review a listing; return False, without a review, when it is skipped."""
        words = self._case.documents.words(place)
        if any(jaccard(words, seen) > NEAR for seen in self._seen) or self._case.is_known(place):
            return False
        self._seen.append(words)
        self.reviewed.append(place)
        self.finds.append(self._case.documents.label(place) is not None)
        return True


class Pool:
    """Hits that wait for a review: the best by triage first, without a triage by rank and arrival."""

    def __init__(self) -> None:
        self._waiting: list[tuple[float, int, int]] = []
        self.entered: dict[int, int] = {}

    def add(self, answers: Sequence[Answer], seed: int) -> None:
        """Let the hits of a seed in; a listing enters once."""
        for answer in answers:
            for rank, hit in enumerate(answer.hits):
                if hit.place not in self.entered:
                    self.entered[hit.place] = seed
                    order = rank if hit.score is None else -hit.score
                    heapq.heappush(self._waiting, (order, len(self.entered), hit.place))

    def review(self, reviewer: Reviewer, most: int) -> None:
        """Have the best reviewed, at most so many."""
        done = 0
        while self._waiting and done < most:
            done += reviewer.review(heapq.heappop(self._waiting)[2])


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedResult:
    """What one seed has cost and brought: `found` are the finds that entered the pool through it."""

    judged: Judged
    spent: Spent
    cost: "Cost"
    ms: float
    found: tuple[int, ...]

    @property
    def finds(self) -> int:
        """How many."""
        return len(self.found)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupResult:
    """What one method found with one group of seeds.

    `verdicts` are the reviews in order, true for a find; `campaigns` those of prohibited listings in the pool, without
    the campaigns of the seeds; `kinds` counts finds by the kind of the listing.
    """

    method: str
    load: int
    group: int
    budget: int
    seeds: tuple[SeedResult, ...]
    verdicts: tuple[bool, ...]
    campaigns: int
    kinds: dict[str, int] = field(default_factory=dict)


async def explore_group(
    case: Case, index: Index, method: "Method", *, number: int, load: int, reviews: int = REVIEWS
) -> GroupResult:
    """Run one method on one group of seeds with at most `load` searches a seed; `prepare` has been called."""
    group = case.groups[number]
    budget = Budget(index, searches=load, hits=method.hits)
    reviewer, pool = Reviewer(case, group), Pool()
    spent: list[Spent] = []
    took: list[float] = []
    for place, judged in enumerate(group):
        spent.append(budget.next_seed())
        began = time.monotonic()
        answers = await method.explore(judged.seed, budget)
        took.append((time.monotonic() - began) * 1000)
        budget.close(method.name, spent[-1], answers)
        pool.add(answers, place)
        pool.review(reviewer, reviews)
    found = [place for place, find in zip(reviewer.reviewed, reviewer.finds, strict=True) if find]
    return GroupResult(
        method=method.name,
        load=load,
        group=number,
        budget=reviews * len(group),
        seeds=tuple(
            SeedResult(
                judged=judged,
                spent=spent[place],
                cost=method.cost(judged.seed),
                ms=took[place],
                found=tuple(find for find in found if pool.entered[find] == place),
            )
            for place, judged in enumerate(group)
        ),
        verdicts=tuple(reviewer.finds),
        campaigns=count_campaigns(case, group, pool.entered),
        kinds=kinds_of(case, found),
    )


def count_campaigns(case: Case, group: Sequence[Judged], places: Iterable[int]) -> int:
    """Return how many campaigns the listings belong to, without those of the seeds and of known flags."""
    items = ((place, case.documents.label(place)) for place in places)
    found = (item.campaign for place, item in items if item and not case.is_known(place))
    return distinct_campaigns(found, {judged.item.campaign for judged in group})


def all_seeds(case: Case) -> list[Seed]:
    """Return the seeds of all groups."""
    return [judged.seed for group in case.groups for judged in group]


def kinds_of(case: Case, places: Sequence[int]) -> dict[str, int]:
    """Return how many of the listings are of each kind."""
    kinds: dict[str, int] = {}
    for place in places:
        item = case.documents.label(place)
        if item is not None:
            kinds[item.kind] = kinds.get(item.kind, 0) + 1
    return dict(sorted(kinds.items()))
