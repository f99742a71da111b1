"""Copies of the listing."""

from qexplorer.evaluation.metrics.copies import copy_rate, is_copy

TEXT = "plug and play gummies today".split()


def test_a_copy_is_a_verbatim_span_of_most_of_the_text() -> None:
    """Four of five words in their order are 80 %; three are 60 % and not more; others stand elsewhere."""
    assert is_copy("and play gummies today".split(), TEXT)
    assert not is_copy("plug and play".split(), TEXT)
    assert not is_copy("today gummies play and".split(), TEXT)
    assert not is_copy("plug and play gummies now".split(), TEXT)


def test_the_rate_is_over_all_queries() -> None:
    """One copy of two."""
    assert copy_rate([(TEXT, TEXT), (["gummies"], TEXT)]) == 0.5
    assert copy_rate([]) == 0.0
