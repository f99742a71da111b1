"""Words that are significant in the known flags near the seed: OpenSearch's significant_text."""

from collections.abc import Sequence
from typing import Any

from qexplorer.clock import Clock
from qexplorer.evaluation.budget import Ask
from qexplorer.evaluation.methods.base import MOST, Listed, guarded
from qexplorer.evaluation.seeds import Knowledge, Seed
from qexplorer.search.client import OpenSearchClient
from qexplorer.search.load import load_listings
from schemas import Listing


class SignificantText(Listed):
    """The flags that share words with a seed against all flags and a random sample, in an index of their own.

    Reading what is known costs no search of the judged index.
    """

    def __init__(self, name: str, knowledge: Knowledge, client: OpenSearchClient, index: str, clock: Clock) -> None:
        super().__init__(name)
        self._knowledge = knowledge
        self._client = client
        self._index = index
        self._clock = clock
        self._words: dict[Seed, list[str]] = {}

    async def prepare(self, seeds: Sequence[Seed]) -> None:
        """Fill the index of what is known and ask it for each seed."""
        flags = [
            Listing(id=f"flag-{n}", version="1", title=flag.title, description=flag.description, category="flag")
            for n, flag in enumerate(self._knowledge.flags)
        ]
        sample = [
            Listing(id=f"sample-{n}", version="1", title=text or "-") for n, text in enumerate(self._knowledge.sample)
        ]
        await load_listings(self._client, self._index, [*flags, *sample], clock=self._clock)
        for seed in dict.fromkeys(seeds):
            answer = await self._client.request("POST", f"/{self._index}/_search", _body(seed))
            buckets = answer["aggregations"]["words"]["buckets"]
            self._words[seed] = [str(bucket["key"]) for bucket in buckets]

    def asks(self, seed: Seed) -> Sequence[Ask]:
        """Return the words, the most significant first."""
        return guarded(self._words[seed], "significant word")


def _body(seed: Seed) -> dict[str, Any]:
    return {
        "size": 0,
        "query": {
            "bool": {
                "filter": [{"term": {"category": "flag"}}],
                "must": [{"match": {"normalised": {"query": seed.normalised, "minimum_should_match": "20%"}}}],
            }
        },
        "aggs": {"words": {"significant_text": {"field": "normalised", "size": 2 * MOST, "min_doc_count": 2}}},
    }
