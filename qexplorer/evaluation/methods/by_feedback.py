"""Search feedback at run time: what the first hits say decides what is searched next, or what is kept."""

from collections.abc import Sequence

from qexplorer.evaluation.budget import Answer, Ask, Budget
from qexplorer.evaluation.methods.base import Listed, guarded
from qexplorer.evaluation.methods.grams import words_then_pairs
from qexplorer.evaluation.seeds import Knowledge, Seed
from qexplorer.rank import FALSE_HIT

WANTED = 0.5


class ByFeedback(Listed):
    """Runs the queries of another method and keeps the answers whose hits look to triage like more good than harm."""

    def __init__(self, name: str, inner: Listed) -> None:
        super().__init__(name)
        self._inner = inner

    async def explore(self, seed: Seed, budget: Budget) -> Sequence[Answer]:
        """Run the first ones and keep the good ones; what is thrown away was paid for."""
        return [answer for answer in await budget.run_first(self._inner.asks(seed)) if gain(answer) > 0]


class SpansOfHits(Listed):
    """Half the searches for the seed's own words, half for the words of the hits that triage likes best."""

    def __init__(self, name: str, knowledge: Knowledge, own: Listed) -> None:
        super().__init__(name)
        self._knowledge = knowledge
        self._own = own

    async def explore(self, seed: Seed, budget: Budget) -> Sequence[Answer]:
        """Search, read, search."""
        answers = await budget.run_first(self._own.asks(seed), (budget.searches + 1) // 2)
        hits = {hit.place: hit for answer in answers for hit in answer.hits if (hit.score or 0.0) > WANTED}
        best = sorted(hits.values(), key=lambda hit: (-(hit.score or 0.0), hit.place))[: budget.searches]
        return [*answers, *await budget.run_first(self._read([hit.text for hit in best]))]

    def _read(self, texts: Sequence[str]) -> list[Ask]:
        words = list(dict.fromkeys(query for text in texts for query in words_then_pairs(text, self._knowledge.weigh)))
        singles = [word for word in words if " " not in word]
        weights = self._knowledge.weigh(singles) or [0.0] * len(singles)
        order = sorted(range(len(singles)), key=lambda place: (-weights[place], place))
        return guarded([singles[place] for place in order], "word of a hit")


def gain(answer: Answer) -> float:
    """Return Σ p − 1.5 · Σ (1 − p) over the hits; without a triage each hit counts as good."""
    scores = [1.0 if hit.score is None else hit.score for hit in answer.hits]
    return sum(score - FALSE_HIT * (1 - score) for score in scores)
