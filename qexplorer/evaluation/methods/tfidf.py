"""The seed's words by tf-idf: frequent here and rare among random listings."""

import math
from collections import Counter
from collections.abc import Sequence

from qexplorer.evaluation.budget import Ask
from qexplorer.evaluation.methods.base import Listed, guarded
from qexplorer.evaluation.seeds import Knowledge, Seed
from qexplorer.near_duplicates import terms


class TfIdf(Listed):
    """Single words, (1 + log tf) · log((n + 1) / (df + 1)) the highest first; df over a random sample of the index."""

    def __init__(self, name: str, knowledge: Knowledge) -> None:
        super().__init__(name)
        self._sample = knowledge.sample
        self._counts: Counter[str] = Counter()

    def asks(self, seed: Seed) -> Sequence[Ask]:
        """Return the words."""
        if not self._counts:
            self._counts = Counter(word for text in self._sample for word in set(terms(text)))
        size = len(self._sample) + 1
        found = Counter(terms(seed.normalised))
        weights = {
            word: (1 + math.log(count)) * math.log(size / (self._counts[word] + 1)) for word, count in found.items()
        }
        return guarded(sorted(found, key=lambda word: (-weights[word], word)), "tf-idf")
