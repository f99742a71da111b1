"""Short spans of a text as queries: every way to cut them that a keyword method may want."""

from collections.abc import Callable, Sequence

from qexplorer.candidates import HAN_SPAN, PLACEHOLDER
from qexplorer.evaluation.methods.base import by_weight
from qexplorer.guard import BANAL
from qexplorer.redact import redact
from qexplorer.words import is_han, tokens

Weigh = Callable[[Sequence[str]], list[float] | None]


def grams(text: str, sizes: Sequence[int]) -> dict[str, tuple[int, int]]:
    """Return the spans of so many words that start and end with a telling word, and where they stand.

    A run of Han characters gives its pieces of four characters, two apart; they stand nowhere: (-1, -1).
    """
    found: dict[str, tuple[int, int]] = {}
    place = 0
    for line in PLACEHOLDER.sub("\n", redact(text)).splitlines():
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


def words_then_pairs(text: str, weigh: Weigh | None = None) -> list[str]:
    """Return the telling words of a text, then its pairs of words, each the highest mean weight of a word first.

    Without a weight the longest words come first: rare words are long.
    """
    return [query for size in (1, 2) for query in by_word_weight(list(grams(text, (size,))), weigh)]


def by_word_weight(queries: Sequence[str], weigh: Weigh | None = None) -> list[str]:
    """Return the queries by the mean weight of their words, the highest first."""
    weights = weigh(queries) if weigh else None
    means = (
        rarity(queries)
        if weights is None
        else [weight / len(query.split()) for weight, query in zip(weights, queries, strict=True)]
    )
    return by_weight(queries, means)


def rarity(queries: Sequence[str]) -> list[float]:
    """Return the mean length of the words of each query: rare words are long."""
    return [sum(map(len, query.split())) / len(query.split()) for query in queries]


def _tells(word: str) -> bool:
    return word not in BANAL and not is_han(word) and len(word) > 1
