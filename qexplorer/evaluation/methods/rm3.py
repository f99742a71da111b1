"""RM3 (Abdul-Jaleel et al., TREC 2004): a relevance model of the first hits, mixed with the seed's own words."""

import math
from collections import Counter
from collections.abc import Sequence

from qexplorer.evaluation.budget import HITS, Answer, Ask, Budget
from qexplorer.evaluation.methods.base import Listed
from qexplorer.evaluation.methods.whole_text import whole_text
from qexplorer.evaluation.seeds import Seed
from qexplorer.guard import BANAL
from qexplorer.near_duplicates import terms

FEEDBACK = 10
EXPANSION = 20
OWN = 0.5


class Rm3(Listed):
    """One search for the whole text, then a weighted one for the words of its first hits, again as far as it goes."""

    async def explore(self, seed: Seed, budget: Budget) -> Sequence[Answer]:
        """Search, expand, search."""
        answers = await budget.run_first([whole_text(seed, HITS)])
        while answers and budget.left:
            weights = expand(seed.normalised, answers[-1])
            more = await budget.run_first([Ask(text=f"expanded {weights}", terms=weights, source="expanded")])
            if not more:
                break
            answers += more
        return answers


def expand(text: str, answer: Answer) -> tuple[tuple[str, float], ...]:
    """Return the words of the mixed model with their weights: half the seed's own, half those of the first hits.

    A hit counts by its place, 1 / log2(rank + 1), since scores of other searches cannot be compared.
    """
    own = _model(text)
    mixed = {word: OWN * share for word, share in own.items()}
    gains = [1 / math.log2(rank + 1) for rank in range(1, min(FEEDBACK, len(answer.hits)) + 1)]
    for gain, hit in zip(gains, answer.hits, strict=False):
        for word, share in _model(hit.text).items():
            mixed[word] = mixed.get(word, 0.0) + (1 - OWN) * share * gain / sum(gains)
    best = sorted(mixed, key=lambda word: (-mixed[word], word))[:EXPANSION]
    return tuple((word, round(mixed[word], 4)) for word in best)


def _model(text: str) -> dict[str, float]:
    words = Counter(word for word in terms(text) if word not in BANAL)
    return {word: count / words.total() for word, count in words.items()}
