"""Another method's queries in the product's own order: by what they would find among known flags."""

from collections.abc import Sequence

from qexplorer.candidates import ranked
from qexplorer.evaluation.budget import Ask
from qexplorer.evaluation.methods.base import Listed, guarded
from qexplorer.evaluation.seeds import Knowledge, Seed


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
    return [queries[place] for place in ranked(queries, triage, seed.policy, seed.normalised)[0]]
