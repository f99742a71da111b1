"""The judged index behind a budget; an answer is kept, so that a second method or load need not ask again."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from qexplorer.errors import ConfigError, SearchUnavailableError
from qexplorer.evaluation.budget import Answer, Ask, Found
from qexplorer.evaluation.case import Documents
from qexplorer.normalise import normalise
from qexplorer.search.backend import Searcher, SearchProblem, SearchRequest

BATCH = 100


class Also(Protocol):
    """Runs the searches that the system itself never makes."""

    async def find(self, index: str, ask: Ask) -> tuple[list[int], int]:
        """Return the places of the best listings, and how many there are."""


class Searches:
    """Runs the queries of all methods over one index. What is kept here changes no budget."""

    def __init__(self, searcher: Searcher, index: str, documents: Documents, *, also: Also | None = None) -> None:
        self._searcher = searcher
        self._also = also
        self._index = index
        self._documents = documents
        self._kept: dict[Ask, Answer] = {}

    async def run(self, asks: Sequence[Ask]) -> list[Answer]:
        """Run the queries and return one answer each, in order; a refused one has no hits.

        Raises SearchUnavailableError when a search fails.
        """
        named = [replace(ask, source="") for ask in asks]
        new = [ask for ask in dict.fromkeys(named) if ask not in self._kept]
        plain = [ask for ask in new if not ask.terms and not ask.nearest]
        for start in range(0, len(plain), BATCH):
            await self._search(plain[start : start + BATCH])
        for ask in new:
            if ask not in self._kept:
                self._kept[ask] = await self._find(ask)
        return [replace(self._kept[name], ask=ask) for name, ask in zip(named, asks, strict=True)]

    async def _search(self, asks: Sequence[Ask]) -> None:
        requests = [
            SearchRequest(
                index=self._index,
                kind=ask.kind,
                text=ask.text,
                normalised=normalise(ask.text),
                size=ask.hits,
                highlight=False,
            )
            for ask in asks
        ]
        for ask, result in zip(asks, await self._searcher.search(requests), strict=True):
            if result.problem is SearchProblem.UNAVAILABLE:
                raise SearchUnavailableError(f"a search failed: {result.reason}", remedy="Run it again")
            places = [self._documents.place(hit.listing_id) for hit in result.hits]
            self._kept[ask] = Answer(ask=ask, hits=self._found(places), total=result.total, took_ms=result.took_ms)

    async def _find(self, ask: Ask) -> Answer:
        if self._also is None:
            raise ConfigError(f"the index has no search for {ask.source}", remedy="Leave the method out")
        began = time.monotonic()
        places, total = await self._also.find(self._index, ask)
        return Answer(ask=ask, hits=self._found(places), total=total, took_ms=(time.monotonic() - began) * 1000)

    def _found(self, places: Sequence[int]) -> tuple[Found, ...]:
        scores = self._documents.scores(places)
        return tuple(
            Found(place=place, text=self._documents.text(place), score=score)
            for place, score in zip(places, scores, strict=True)
        )
