"""Spans of the seed's own text, by the length of their words or by what triage says of them.

Measured on the dev parts: single words first and pairs after them find the most at any load. Longer spans, or pairs
first, match so little that they would make every other method look good.
"""

from collections.abc import Sequence

from qexplorer.evaluation.budget import Ask
from qexplorer.evaluation.methods.base import Listed, guarded
from qexplorer.evaluation.methods.grams import words_then_pairs
from qexplorer.evaluation.seeds import Knowledge, Seed


class OwnSpans(Listed):
    """Words, then pairs; with `by_triage` ordered by the triage's weights, where there is a triage."""

    def __init__(self, name: str, knowledge: Knowledge, *, by_triage: bool) -> None:
        super().__init__(name)
        self._knowledge = knowledge
        self._by_triage = by_triage

    def asks(self, seed: Seed) -> Sequence[Ask]:
        """Return the spans."""
        return guarded(self.spans(seed), "own span")

    def spans(self, seed: Seed) -> list[str]:
        """Return the spans as texts."""
        return words_then_pairs(seed.text, self._knowledge.weigh if self._by_triage else None)
