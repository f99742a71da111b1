"""What every method is: given a seed and a budget, it runs queries and says which answers to review."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from qexplorer.evaluation.budget import HITS, Answer, Ask, Budget
from qexplorer.evaluation.seeds import Seed
from qexplorer.guard import refusal
from qexplorer.near_duplicates import terms
from qexplorer.normalise import normalise

MOST = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a language model took for one seed: tokens read and written, milliseconds, replies and failed ones."""

    tokens: int = 0
    ms: float = 0.0
    replies: int = 0
    unparseable: int = 0


class Method(Protocol):
    """A way to get from a seed to hits worth a review.

    `hits` is how many hits one of its searches may fetch; `prepare` sees all seeds once, before the first search.
    """

    name: str
    hits: int

    async def prepare(self, seeds: Sequence[Seed]) -> None:
        """Do at once what is cheaper for all seeds together."""

    async def explore(self, seed: Seed, budget: Budget) -> Sequence[Answer]:
        """Run queries and return the answers whose hits are to be reviewed, of those that the budget has run."""

    def cost(self, seed: Seed) -> Cost:
        """Return what a model took for the seed."""


class Listed:
    """A method that only has a list of queries for a seed: the first that are not refused and have not run, are run."""

    hits = HITS

    def __init__(self, name: str) -> None:
        self.name = name

    async def prepare(self, seeds: Sequence[Seed]) -> None:
        """Do nothing."""

    def asks(self, seed: Seed) -> Sequence[Ask]:
        """Return the queries, the most deserving first."""
        raise NotImplementedError

    async def explore(self, seed: Seed, budget: Budget) -> Sequence[Answer]:
        """Run the first ones."""
        return await budget.run_first(self.asks(seed))

    def cost(self, seed: Seed) -> Cost:
        """Return nothing: no model is asked."""
        del seed
        return Cost()


def guarded(queries: Sequence[str], source: str) -> list[Ask]:
    """Return as searches the queries that the guard lets through, each against those before it."""
    accepted: list[frozenset[str]] = []
    asks: list[Ask] = []
    for query in queries:
        normalised = normalise(query)
        if refusal(normalised, accepted):
            continue
        accepted.append(frozenset(terms(normalised)))
        asks.append(Ask(text=query, source=source))
    return asks


def by_weight(queries: Sequence[str], weights: Sequence[float] | None) -> list[str]:
    """Return the queries by weight, the highest first; in their order where there are no weights."""
    if weights is None:
        return list(queries)
    return [queries[place] for place in sorted(range(len(queries)), key=lambda place: (-weights[place], place))]
