"""How long the queries of a method are."""

from collections.abc import Sequence

from qexplorer.words import count_words


def words_per_query(queries: Sequence[str]) -> float:
    """Return the mean number of words; 0 without any query."""
    return sum(map(count_words, queries)) / len(queries) if queries else 0.0
