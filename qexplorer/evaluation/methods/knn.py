"""The listings nearest to the seed by the embeddings of a small sentence model."""

from collections.abc import Sequence

from qexplorer.evaluation.budget import Ask
from qexplorer.evaluation.methods.base import Listed
from qexplorer.evaluation.seeds import Seed


class Knn(Listed):
    """One search a seed: all listings are compared, which an index of vectors would do nearly as well."""

    def asks(self, seed: Seed) -> Sequence[Ask]:
        """Return the one search."""
        return [Ask(text=seed.normalised, nearest=True, source="nearest embeddings")]
