"""Fakes that are part of the product: real implementations of the seams, in memory and by hand.

The contract tests run on these and on the real engines alike.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from qexplorer.errors import SearchUnavailableError
from qexplorer.foresight import Foreseen
from qexplorer.near_duplicates import terms
from qexplorer.normalise import normalise
from qexplorer.search.backend import (
    Hit,
    SearchKind,
    SearchProblem,
    SearchRequest,
    SearchResult,
)
from qexplorer.search.dsl import build, dsl_hash
from qexplorer.settings import IndexSettings
from schemas import FlaggedListing, Listing, ListingStatus

START = datetime(2026, 1, 1, tzinfo=UTC)


class ManualClock:
    """A clock that only moves when it is told to, or when somebody sleeps on it."""

    def __init__(self, start: datetime = START) -> None:
        self._start = start
        self._passed = 0.0
        self.slept: list[float] = []
        self._actions: dict[int, list[Callable[[], None]]] = {}

    def now(self) -> datetime:
        """Return the time of day."""
        return self._start + timedelta(seconds=self._passed)

    def monotonic(self) -> float:
        """Return the seconds passed since the start."""
        return self._passed

    def advance(self, seconds: float) -> None:
        """Move on."""
        self._passed += seconds

    def after_sleeps(self, count: int, action: Callable[[], None]) -> None:
        """Have something happen once the clock has been slept on that often."""
        self._actions.setdefault(count, []).append(action)

    async def sleep(self, seconds: float) -> None:
        """Move on by what would have been waited, and let others run."""
        self.slept.append(seconds)
        self._passed += seconds
        for action in self._actions.pop(len(self.slept), ()):
            action()
        await asyncio.sleep(0)


@dataclass(slots=True)
class MemorySearcher:
    """Searches listings in memory with the semantics of the DSL: all words required, ties in order of id.

    `script` answers the next searches with problems instead: `unavailable` or `refused` for each, in order.
    """

    listings: dict[str, list[Listing]] = field(default_factory=dict)
    contacts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    script: list[SearchProblem | None] = field(default_factory=list)
    history: list[SearchRequest] = field(default_factory=list)
    down: bool = False

    async def search(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        """Run the requests and return one result each, in order."""
        if self.down:
            raise SearchUnavailableError("the memory searcher is down")
        self.history += requests
        return [self._one(request) for request in requests]

    async def count(self, index: str) -> int:
        """Return how many active listings the index has."""
        return len(self._active(index))

    def _active(self, index: str) -> list[Listing]:
        return [row for row in self.listings.get(index, []) if row.status is ListingStatus.ACTIVE]

    def _one(self, request: SearchRequest) -> SearchResult:
        hashed = dsl_hash(build(request, IndexSettings(), timeout_s=1))
        problem = self.script.pop(0) if self.script else None
        if problem is not None:
            return SearchResult(problem=problem, reason=f"scripted {problem.value}", dsl_hash=hashed)
        scored = sorted(
            ((score, row) for row in self._active(request.index) if (score := self._score(request, row)) > 0),
            key=lambda pair: (-pair[0], pair[1].id),
        )
        after = request.after
        left = [(score, row) for score, row in scored if after is None or (-score, row.id) > (-after[0], after[1])]
        hits = tuple(_hit(row, score, rank) for rank, (score, row) in enumerate(left[: request.size], start=1))
        return SearchResult(hits=hits, total=len(scored), took_ms=1.0, dsl_hash=hashed)

    def _score(self, request: SearchRequest, row: Listing) -> float:
        """Return the share of the listing's words that the query covers; 0 for no match."""
        late = request.since is not None and row.updated_at is not None and row.updated_at < request.since
        foreign = request.locales and row.locale not in request.locales
        if row.id in request.exclude or late or foreign:
            return 0.0
        if request.kind is SearchKind.CONTACT:
            return 1.0 if request.normalised in self.contacts.get(row.id, ()) else 0.0
        words = set(terms(normalise(row.text)))
        wanted = set(terms(request.normalised))
        common = len(wanted & words)
        if request.kind is SearchKind.WORDS:
            return common / len(words) if wanted and common == len(wanted) else 0.0
        return common / len(wanted | words) if common >= max(1, 0.2 * min(25, len(wanted))) else 0.0


def _hit(row: Listing, score: float, rank: int) -> Hit:
    return Hit(
        listing_id=row.id,
        version=row.version,
        title=row.title,
        description=row.description,
        seller=row.seller,
        locale=row.locale,
        rank=rank,
        score=score,
        highlights={"title": (row.title,)},
        sort=(score, row.id),
    )


@dataclass(slots=True)
class WordTriage:
    """A triage that knows some words: a text is wanted when it has one of them."""

    wanted: frozenset[str]
    version: str = "words@1"

    def score(self, texts: Sequence[str]) -> list[float]:
        """Return 0.9 for a text with a wanted word, else 0.1."""
        return [0.9 if self.wanted & set(terms(text)) else 0.1 for text in texts]

    def weigh(self, queries: Sequence[str]) -> list[float]:
        """Return how many of the words are wanted."""
        return [float(len(self.wanted & set(terms(query)))) for query in queries]

    def foresee(self, queries: Sequence[str], policy: str = "") -> list[Foreseen]:
        """Return a campaign for each wanted word."""
        del policy
        places = {word: place for place, word in enumerate(sorted(self.wanted))}
        found = [frozenset(places[word] for word in terms(query) if word in places) for query in queries]
        return [Foreseen(campaigns=campaigns, flags=len(campaigns)) for campaigns in found]

    def text_promise(self, text: str, policy: str = "") -> float:
        """Return the number of its wanted words."""
        return float(len(self.foresee([text], policy)[0].campaigns))

    def siblings(self, text: str, most: int, policy: str = "") -> list[str]:
        """Return the wanted words of which a text with one of them has none."""
        del policy
        own = set(terms(text))
        return sorted(self.wanted - own)[:most] if self.wanted & own else []


def a_listing(name: str = "a1", title: str = "plug and play gummies", **fields: Any) -> Listing:
    """Return a listing that is whole, with what the test cares about changed."""
    whole: dict[str, Any] = {"id": name, "version": "1", "title": title, "seller": f"seller-{name}", "locale": "en"}
    return Listing(**whole | fields)


def a_flag(
    name: str = "a1", title: str = "plug and play gummies", *, kind: str = "drugs", **fields: Any
) -> FlaggedListing:
    """Return a flag of a listing, raised when a ManualClock starts."""
    whole: dict[str, Any] = {
        "flag_id": f"flag-{name}",
        "listing": a_listing(name, title),
        "kind": kind,
        "policy": "drugs",
        "flagged_at": START,
    }
    return FlaggedListing(**whole | fields)


@dataclass(slots=True)
class RecordingPublisher:
    """Keeps what is published; fails the next calls with what stands in `failures`."""

    records: list[Any] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)

    async def publish(self, records: Sequence[Any]) -> None:
        """Keep the records."""
        if self.failures:
            raise self.failures.pop(0)
        self.records += records

    def on(self, topic: str) -> list[Any]:
        """Return the records of one topic in order."""
        return [record for record in self.records if record.topic == topic]
