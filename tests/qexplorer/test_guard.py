"""What may be searched."""

import pytest

from qexplorer.guard import refusal


@pytest.mark.parametrize(
    "query",
    [
        "plug gummies",
        "glock 19",
        "上头电子烟",
        "fullz cvv",
        "one two three four five six seven eight",
        "微信 上头电子烟",
        "k粉",
        "a货 包",
    ],
)
def test_telling_words_pass(query: str) -> None:
    """One to eight words, Chinese counted by two characters a word."""
    assert refusal(query, []) == ""


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        pytest.param("", "has no words", id="empty"),
        pytest.param("…", "has no words", id="punctuation"),
        pytest.param("one two three four five six seven eight nine", "9 words", id="too long"),
        pytest.param("上" * 17, "9 words", id="too long in Chinese"),
        pytest.param('plug "gummies"', "an operator", id="quotes"),
        pytest.param("plug* gummies", "an operator", id="wildcard"),
        pytest.param("title:plug", "an operator", id="field"),
        pytest.param("for sale", "banal", id="banal"),
        pytest.param("best price 100", "banal", id="banal with a number"),
        pytest.param("but what if", "banal", id="grammar alone"),
        pytest.param("全新 二手", "banal", id="banal in Chinese"),
        pytest.param("<phone>", "an operator", id="a placeholder of personal data"),
    ],
)
def test_others_are_refused_with_a_reason(query: str, reason: str) -> None:
    """The reason goes into the audit."""
    assert reason in refusal(query, [])


def test_a_near_copy_of_an_accepted_candidate_is_refused() -> None:
    """Four of five words in common is a copy, three of five is not."""
    accepted = [frozenset("plug and play gummies".split())]
    assert "near-copy" in refusal("play gummies plug and", accepted)
    assert refusal("plug gummies sauce", accepted) == ""
