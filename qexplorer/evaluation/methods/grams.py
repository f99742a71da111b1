"""The short spans of a text as queries, in the orders that keyword methods want."""

from collections.abc import Callable, Sequence

from qexplorer.evaluation.methods.base import by_weight
from qexplorer.grams import grams, rarity
from qexplorer.redact import redact

Weigh = Callable[[Sequence[str]], list[float] | None]


def words_then_pairs(text: str, weigh: Weigh | None = None) -> list[str]:
    """Return the telling words of a text, then its pairs of words, each the highest mean weight of a word first.

    Without a weight the longest words come first: rare words are long.
    """
    plain = redact(text)
    return [query for size in (1, 2) for query in by_word_weight(list(grams(plain, (size,))), weigh)]


def by_word_weight(queries: Sequence[str], weigh: Weigh | None = None) -> list[str]:
    """Return the queries by the mean weight of their words, the highest first."""
    weights = weigh(queries) if weigh else None
    means = (
        [rarity(query) for query in queries]
        if weights is None
        else [weight / len(query.split()) for weight, query in zip(weights, queries, strict=True)]
    )
    return by_weight(queries, means)
