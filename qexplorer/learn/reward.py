"""What a query is worth, from what it finds.

For a seed x and a query q with the hits H (its first k, the seed's own campaign left out)

    gain(q | x, S) = Σ over campaigns c of H that S has not found: w(c) · (p(c) − 1.5 · (1 − p(c)))
    w(c) = 1 / (1 + n(c) / 10)

p is the probability that the campaign is wanted, n(c) how many other seeds' queries reach it already: without w every
seed's best set is the same dozen general queries. A listing that resembles no other is a campaign of its own. Divided
by the fixed k, so that a narrow query cannot look better than a broad one, the reward lies in [−1.5, 1].

A reply is worth what it adds when all replies run behind a bank of queries, where each query runs once. A query that m
other replies ask as well brings its gain, costs its search and takes a place in so far as this reply is the first

    s(q) = 1 / (1 + m · 20 / seeds)

with groups of 20 seeds in mind. Each search costs half a campaign, so a query that finds nothing is worse than none.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from qexplorer.near_duplicates import terms
from qexplorer.rank import FALSE_HIT

HITS = 50
NOVELTY = 10.0
SEARCH = 0.5
GROUP = 20.0
WORST = -1.5
PLACE = 0.85
GOOD_PRECISION = 0.8
GOOD_CAMPAIGNS = 2
MOST_COPIED = 0.6


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A query with what it finds: campaign → probability that it is wanted. `refused` says why it must not run."""

    query: str
    found: Mapping[str, float]
    refused: str = ""

    def others(self, own: str) -> dict[str, float]:
        """Return what it finds beside the seed's own campaign."""
        return {name: wanted for name, wanted in self.found.items() if name != own}

    def is_good(self, own: str) -> bool:
        """Whether it finds two campaigns at least, eight of ten hits wanted."""
        found = self.others(own)
        wanted = sum(1 for value in found.values() if value >= 0.5)
        return not self.refused and wanted >= GOOD_CAMPAIGNS and sum(found.values()) >= GOOD_PRECISION * len(found)


def weight(reached: float) -> float:
    """Return what a campaign still counts when `reached` other seeds find it."""
    return 1.0 / (1.0 + reached / NOVELTY)


def gain(asked: Asked, own: str, covered: Collection[str], reached: Mapping[str, float]) -> float:
    """Return what a query adds to what is covered, in campaigns; a refused one costs as much as can be lost."""
    if asked.refused:
        return WORST * HITS
    return sum(
        weight(reached.get(name, 0.0)) * (wanted - FALSE_HIT * (1.0 - wanted))
        for name, wanted in asked.found.items()
        if name != own and name not in covered
    )


def best_set(
    candidates: Sequence[Asked], own: str, reached: Mapping[str, float], *, liked: Collection[str] = (), most: int = 6
) -> list[tuple[Asked, float]]:
    """Return up to `most` queries with their marginal gains, greedily; a query of `liked` counts twice."""
    covered: set[str] = set()
    left = list(candidates)
    chosen: list[tuple[Asked, float]] = []
    while left and len(chosen) < most:
        gains = [gain(asked, own, covered, reached) for asked in left]
        values = [value * (2 if asked.query in liked else 1) for value, asked in zip(gains, left, strict=True)]
        place = max(range(len(left)), key=values.__getitem__)
        if gains[place] <= 0:
            break
        chosen.append((left[place], gains[place]))
        covered |= set(left.pop(place).found)
    return chosen


def first_to_ask(replies: Sequence[Collection[str]], seeds: int) -> dict[str, float]:
    """Return for each query how likely a reply is the first of a group of seeds to ask it."""
    asked = Counter(query for queries in replies for query in set(queries))
    return {query: 1.0 / (1.0 + (count - 1) * GROUP / seeds) for query, count in asked.items()}


def reply_value(
    queries: Sequence[Asked], own: str, reached: Mapping[str, float], first: Mapping[str, float] = MappingProxyType({})
) -> float:
    """Return the reward of a reply: its queries' marginal gains, less what their searches cost, over k.

    Each place counts 0.85 of the one before; `first` says how likely this reply is the first to ask a query, 1 where it
    does not say. A reply without queries could not be read and has the worst reward.
    """
    if not queries:
        return WORST
    covered: set[str] = set()
    value = place = 0.0
    for asked in queries:
        share = first.get(asked.query, 1.0)
        value += PLACE**place * share * (gain(asked, own, covered, reached) - SEARCH)
        place += share
        covered |= set(asked.found)
    return max(WORST, value / HITS)


def copies(query: str, text: str) -> bool:
    """Whether a query is a run of words of the text that makes up more than 60 % of it."""
    words, own = terms(query), terms(text)
    if len(words) <= MOST_COPIED * len(own) or not words:
        return False
    return any(own[start : start + len(words)] == words for start in range(len(own) - len(words) + 1))


def shares_word(query: str, words: Collection[str]) -> bool:
    """Whether a query has a word of these."""
    return any(term in words for term in terms(query))


def reach(sets: Iterable[Collection[str]]) -> dict[str, float]:
    """Return how many of the sets hold each campaign."""
    counts: dict[str, float] = {}
    for names in sets:
        for name in names:
            counts[name] = counts.get(name, 0.0) + 1.0
    return counts
