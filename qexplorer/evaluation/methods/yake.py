"""Key phrases by YAKE (Campos et al., Information Sciences 509, 2020): statistics of the one text alone."""

import importlib
from collections.abc import Sequence
from typing import Any

from qexplorer.errors import ConfigError
from qexplorer.evaluation.budget import Ask
from qexplorer.evaluation.methods.base import MOST, Listed, guarded
from qexplorer.evaluation.seeds import Seed
from qexplorer.redact import redact

WORDS = 3


class Yake(Listed):
    """Phrases of up to `words` words, the most telling first."""

    def __init__(self, name: str, *, words: int = WORDS) -> None:
        super().__init__(name)
        self._words = words
        self._extractors: dict[str, Any] = {}

    def asks(self, seed: Seed) -> Sequence[Ask]:
        """Return the phrases."""
        language = seed.locale[:2] or "en"
        if language not in self._extractors:
            self._extractors[language] = _extractor(language, self._words)
        found = self._extractors[language].extract_keywords(redact(seed.text))
        return guarded([phrase for phrase, _ in found], "key phrase")


def _extractor(language: str, words: int) -> Any:
    try:
        yake = importlib.import_module("yake")
    except ImportError:
        raise ConfigError("YAKE is not installed", remedy="pip install 'qexplorer[evaluate]'") from None
    return yake.KeywordExtractor(lan=language, n=words, top=2 * MOST)
