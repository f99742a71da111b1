"""Words a query."""

from qexplorer.evaluation.metrics.words import words_per_query


def test_two_han_characters_are_one_word() -> None:
    """Three words, and four characters that count as two: 2.5."""
    assert words_per_query(["plug and play", "电子烟油"]) == 2.5
    assert words_per_query([]) == 0.0
