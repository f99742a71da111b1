"""What a method may spend: searches a seed, hits a search, and no query twice.

All that a method sees of the index comes from here. Every executed search is counted with its hits, also one whose hits
the method then rejects.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from qexplorer.bank import bank_key
from qexplorer.errors import QExplorerError
from qexplorer.normalise import normalise
from qexplorer.search.backend import SearchKind

HITS = 60


class OverspentError(QExplorerError):
    """A method asked for more than its budget: a bug of the method."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A query that a method wants to run.

    The text is searched by `kind`; with `terms` it is only a name, and any of these is searched with its weight; with
    `nearest` the listings with the nearest embeddings are found.
    """

    text: str
    kind: SearchKind = SearchKind.WORDS
    hits: int = HITS
    terms: tuple[tuple[str, float], ...] = ()
    nearest: bool = False
    source: str = ""

    @property
    def key(self) -> str:
        """What the query bank knows it by: the order of the words of a search for all of them does not matter."""
        how = "weighted" if self.terms else "nearest" if self.nearest else ""
        return bank_key(how, "", self.kind, normalise(self.text))

    @property
    def is_words(self) -> bool:
        """Whether this is a query that a person could type."""
        return self.kind is SearchKind.WORDS and not self.terms and not self.nearest


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A listing that a search found: its number, its normal form, and its triage score where there is a triage."""

    place: int
    text: str
    score: float | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answer:
    """An executed query with its hits, best first; `total` counts all that match."""

    ask: Ask
    hits: tuple[Found, ...]
    total: int
    took_ms: float


class Index(Protocol):
    """Where the queries of a budget run."""

    async def run(self, asks: Sequence[Ask]) -> list[Answer]:
        """Run the queries and return one answer each, in order."""


@dataclass(slots=True, kw_only=True)
class Spent:
    """What one seed has cost so far."""

    answers: list[Answer] = field(default_factory=list)

    @property
    def searches(self) -> int:
        """Executed searches."""
        return len(self.answers)

    @property
    def hits(self) -> int:
        """Fetched hits, with those that more than one search fetched counted each time."""
        return sum(len(answer.hits) for answer in self.answers)


class Budget:
    """The allowance of one method for one group of seeds."""

    def __init__(self, index: Index, *, searches: int, hits: int = HITS) -> None:
        self.__index = index
        self.__bank: set[str] = set()
        self.__spent: list[Spent] = []
        # One run after the other: a method that searches in parallel must not spend twice what is left.
        self.__turn = asyncio.Lock()
        self.__searches = searches
        self.__hits = hits

    def next_seed(self) -> Spent:
        """Start the allowance of the next seed; only the protocol calls this."""
        self.__spent.append(Spent())
        return self.__spent[-1]

    def close(self, method: str, spent: Spent, answers: Sequence[Answer]) -> None:
        """Check what a method wants reviewed for a seed; only the protocols call this.

        Raises OverspentError for an allowance that the method gave itself, and for hits that no search of this seed has
        fetched.
        """
        if self.__spent[-1] is not spent:
            raise OverspentError(f"{method} gave itself the allowance of another seed")
        executed = {id(answer) for answer in spent.answers}
        if any(id(answer) not in executed for answer in answers):
            raise OverspentError(f"{method} returned an answer that its budget did not run")

    @property
    def searches(self) -> int:
        """How many searches a seed has."""
        return self.__searches

    @property
    def hits(self) -> int:
        """How many hits a search may fetch."""
        return self.__hits

    @property
    def left(self) -> int:
        """How many searches this seed has left."""
        return self.searches - self.__spent[-1].searches if self.__spent else 0

    def is_new(self, ask: Ask) -> bool:
        """Whether the bank lacks a query, so that running it would cost a search."""
        return ask.key not in self.__bank

    async def run(self, asks: Sequence[Ask]) -> list[Answer]:
        """Run the queries that the bank lacks and return their answers, in order.

        Raises OverspentError, before anything runs, when they are more than are left or fetch too many hits each.
        """
        async with self.__turn:
            return await self._run(self._new(asks))

    async def run_first(self, asks: Sequence[Ask], most: int | None = None) -> list[Answer]:
        """Run the first queries that the bank lacks: as many as are left, at most `most`."""
        async with self.__turn:
            new = self._new(asks)
            return await self._run(new[: self.left if most is None else min(most, self.left)])

    def _new(self, asks: Sequence[Ask]) -> list[Ask]:
        """Return the queries that the bank lacks, each once and at its first place."""
        new: dict[str, Ask] = {}
        for ask in filter(self.is_new, asks):
            new.setdefault(ask.key, ask)
        return list(new.values())

    async def _run(self, new: Sequence[Ask]) -> list[Answer]:
        if len(new) > self.left:
            raise OverspentError(f"{len(new)} searches were asked for and {self.left} are left")
        if any(ask.hits > self.hits for ask in new):
            raise OverspentError(f"a search asked for more than the {self.hits} hits that the method declares")
        if not new:
            return []
        answers = await self.__index.run(new)
        self.__bank |= {ask.key for ask in new}
        self.__spent[-1].answers += answers
        return answers
