"""The judged index behind a budget; an answer is kept, so that a second method or load need not ask again."""

from collections.abc import Sequence
from dataclasses import replace

from qexplorer.errors import SearchUnavailableError
from qexplorer.evaluation.budget import Answer, Ask, Found
from qexplorer.evaluation.case import Documents
from qexplorer.normalise import normalise
from qexplorer.search.backend import Searcher, SearchProblem, SearchRequest

BATCH = 100


class Searches:
    """Runs the queries of all methods over one index. What is kept here changes no budget."""

    def __init__(self, searcher: Searcher, index: str, documents: Documents) -> None:
        self._searcher = searcher
        self._index = index
        self._documents = documents
        self._kept: dict[Ask, Answer] = {}

    async def run(self, asks: Sequence[Ask]) -> list[Answer]:
        """Run the queries and return one answer each, in order; a refused one has no hits.

        Raises SearchUnavailableError when a search fails.
        """
        named = [replace(ask, source="") for ask in asks]
        new = [ask for ask in dict.fromkeys(named) if ask not in self._kept]
        for start in range(0, len(new), BATCH):
            await self._search(new[start : start + BATCH])
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
            scores = self._documents.scores(places)
            hits = tuple(
                Found(place=place, text=self._documents.text(place), score=score)
                for place, score in zip(places, scores, strict=True)
            )
            self._kept[ask] = Answer(ask=ask, hits=hits, total=result.total, took_ms=result.took_ms)
