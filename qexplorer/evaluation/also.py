"""The searches that only rivals make, on real OpenSearch: any of some weighted words, and nearest embeddings."""

from pathlib import Path
from typing import Any

from qexplorer.evaluation.budget import Ask
from qexplorer.evaluation.case import Documents
from qexplorer.search.client import OpenSearchClient


class Rivals:
    """Weighted words by a boosted query over the normal form, embeddings exactly, by comparing with all."""

    def __init__(self, client: OpenSearchClient, documents: Documents, work: Path) -> None:
        self._client = client
        self._documents = documents
        self._work = work
        self._vectors: Any = None

    async def find(self, index: str, ask: Ask) -> tuple[list[int], int]:
        """Return the places of the best listings, and how many there are."""
        return self._nearest(index, ask) if ask.nearest else await self._weighted(index, ask)

    async def _weighted(self, index: str, ask: Ask) -> tuple[list[int], int]:
        clauses = [{"match": {"normalised": {"query": term, "boost": weight}}} for term, weight in ask.terms]
        body = {
            "query": {
                "bool": {"should": clauses, "minimum_should_match": 1, "filter": [{"term": {"status": "active"}}]}
            },
            "size": ask.hits,
            "track_total_hits": 10_000,
            "sort": [{"_score": "desc"}, {"id": "asc"}],
            "_source": False,
        }
        answer = await self._client.request("POST", f"/{index}/_search", body)
        hits = answer["hits"]
        return [self._documents.place(hit["_id"]) for hit in hits["hits"]], int(hits["total"]["value"])

    def _nearest(self, index: str, ask: Ask) -> tuple[list[int], int]:
        import numpy as np

        from qexplorer.llm.embedding import embed

        if self._vectors is None:
            path = self._work / f"vectors-by-hash-{index}-{len(self._documents)}.npy"
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                part = path.with_suffix(".part.npy")
                np.save(part, embed([self._documents.text(place) for place in range(len(self._documents))]))
                part.replace(path)
            self._vectors = np.load(path)
        cosines = self._vectors @ embed([ask.text])[0]
        best = np.argsort(-cosines, kind="stable")[: ask.hits]
        return [int(place) for place in best], len(self._documents)
