"""Spans of the known flags that are nearest to the seed: the vocabulary of its siblings."""

import itertools
from collections.abc import Sequence
from functools import cache
from typing import Any

from qexplorer.evaluation.budget import Ask
from qexplorer.evaluation.methods.base import MOST, Listed, guarded
from qexplorer.evaluation.methods.grams import by_word_weight, words_then_pairs
from qexplorer.evaluation.seeds import Knowledge, Seed
from qexplorer.near_duplicates import terms


class NearestSpans(Listed):
    """The spans of the `nearest` flags by tf-idf cosine: the best of each in turn, or all by the triage's weights."""

    def __init__(self, name: str, knowledge: Knowledge, *, by_triage: bool, nearest: int = MOST) -> None:
        super().__init__(name)
        self._knowledge = knowledge
        self._by_triage = by_triage
        self._nearest = nearest
        self._neighbours: Neighbours | None = None

    def asks(self, seed: Seed) -> Sequence[Ask]:
        """Return the spans."""
        return guarded(self.spans(seed), "span of a near flag")

    def spans(self, seed: Seed) -> list[str]:
        """Return the spans as texts."""
        self._neighbours = self._neighbours or Neighbours(self._knowledge.flags)
        near = self._neighbours.nearest(seed, self._nearest)
        rows = itertools.zip_longest(*(flag_spans(flag.text) for flag in near))
        found = list(dict.fromkeys(span for row in rows for span in row if span is not None))
        if not self._by_triage:
            return found
        words = [span for span in found if " " not in span]
        pairs = [span for span in found if " " in span]
        return [span for spans in (words, pairs) for span in by_word_weight(spans, self._knowledge.weigh)]


class Neighbours:
    """Known flags by tf-idf cosine of their words."""

    def __init__(self, flags: Sequence[Seed]) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        self._flags = flags
        self._features: Any = TfidfVectorizer(analyzer=terms, sublinear_tf=True)
        self._matrix = self._features.fit_transform([flag.normalised for flag in flags])

    def nearest(self, seed: Seed, most: int) -> list[Seed]:
        """Return the nearest flags, the nearest first; those with no word in common are left out."""
        cosines = (self._matrix @ self._features.transform([seed.normalised]).T).toarray().ravel()
        ranked = sorted(range(len(self._flags)), key=lambda place: (-cosines[place], place))
        return [self._flags[place] for place in ranked[:most] if cosines[place] > 0]


@cache
def flag_spans(text: str) -> tuple[str, ...]:
    """Return the spans of a known flag."""
    return tuple(words_then_pairs(text))
