"""Text matching: the whole text of the seed, any of its telling words (more_like_this)."""

from collections.abc import Sequence

from qexplorer.evaluation.budget import Ask
from qexplorer.evaluation.methods.base import Listed
from qexplorer.evaluation.seeds import Seed
from qexplorer.search.backend import SearchKind


class WholeText(Listed):
    """One search a seed, which fetches `hits` hits."""

    def __init__(self, name: str, hits: int) -> None:
        super().__init__(name)
        self.hits = hits

    def asks(self, seed: Seed) -> Sequence[Ask]:
        """Return the one search."""
        return [whole_text(seed, self.hits)]


def whole_text(seed: Seed, hits: int) -> Ask:
    """Return the search for a seed's whole text."""
    return Ask(text=seed.text, kind=SearchKind.WHOLE_TEXT, hits=hits, source="whole text")
