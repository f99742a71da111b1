"""Another method's queries in the product's own order: by what they would find among known flags."""

from collections.abc import Sequence

from qexplorer.evaluation.budget import Ask
from qexplorer.evaluation.methods.base import Listed, guarded
from qexplorer.evaluation.seeds import Knowledge, Seed
from qexplorer.foresight import by_foresight
from qexplorer.near_duplicates import terms
from qexplorer.normalise import normalise


class ByForesight(Listed):
    """All queries that another method could run for a seed, those first that add most known campaigns."""

    def __init__(self, name: str, knowledge: Knowledge, inner: Listed) -> None:
        super().__init__(name)
        self._knowledge = knowledge
        self._inner = inner

    def asks(self, seed: Seed) -> Sequence[Ask]:
        """Return the queries in that order."""
        return guarded(in_foresight([ask.text for ask in self._inner.asks(seed)], self._knowledge, seed), self.name)


def in_foresight(queries: Sequence[str], knowledge: Knowledge, seed: Seed) -> list[str]:
    """Return queries in the order of the product; in their own where there is no triage, which holds the foresight."""
    triage = knowledge.triage
    if triage is None or not queries:
        return list(queries)
    normalised = [normalise(query) for query in queries]
    sums = triage.weigh(normalised)
    weights = [weight / max(1, len(terms(query))) for weight, query in zip(sums, normalised, strict=True)]
    return [queries[place] for place in by_foresight(triage.foresee(normalised, seed.policy), weights)]
