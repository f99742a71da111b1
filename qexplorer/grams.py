"""The short spans of a text that could be queries."""

import re
from collections.abc import Sequence

from qexplorer.guard import BANAL
from qexplorer.words import is_han, tokens

HAN_SPAN = 4
# Where redaction took something away, no span crosses.
PLACEHOLDER = re.compile(r"<(?:phone|email|handle)>")


def grams(text: str, sizes: Sequence[int]) -> dict[str, tuple[int, int]]:
    """Return the spans of so many words that start and end with a telling word, and where they stand.

    A run of Han characters gives its pieces of four characters, two apart; they stand nowhere: (-1, -1).
    """
    found: dict[str, tuple[int, int]] = {}
    place = 0
    for line in PLACEHOLDER.sub("\n", text).splitlines():
        words = list(tokens(line))
        telling = [_tells(word) for word in words]
        for size in sizes:
            for start in range(len(words) - size + 1):
                last = start + size - 1
                if telling[start] and telling[last] and not any(map(is_han, words[start : last + 1])):
                    found.setdefault(" ".join(words[start : last + 1]), (place + start, place + last + 1))
        place += len(words) + 1
        for run in filter(is_han, words):
            for start in range(0, max(1, len(run) - 1), 2):
                found.setdefault(run[start : start + HAN_SPAN], (-1, -1))
    return found


def rarity(span: str) -> float:
    """Return the mean length of the words of a span: rare words are long."""
    words = span.split()
    return sum(map(len, words)) / len(words)


def _tells(word: str) -> bool:
    return word not in BANAL and not is_han(word) and len(word) > 1
