"""What a query is worth, from what it finds.

For a seed x and a query q with the hits H (its first k, the seed's own campaign left out)

    gain(q | x, S) = Σ over campaigns c of H that S has not found: w(c) · (p(c) − 1.5 · (1 − p(c)))
    w(c) = 1 / (1 + n(c) / 10)

p is the probability that the campaign is wanted, n(c) how many other seeds' queries reach it already: without w every
seed's best set is the same dozen general queries. A listing that resembles no other is a campaign of its own. Divided
by the fixed k, so that a narrow query cannot look better than a broad one, the reward lies in [−1.5, 1].

A reply is worth what it adds to a group of 20 seeds whose replies run behind a bank, where each query runs once. Of
several replies to a seed the first queries run first: each place counts little to the one before, and what the others
have is what their first queries ask and find. With a(q) and r(c) the shares of the replies to other seeds whose first
query is q or finds the campaign c,

    first(x) = (1 − (1 − x)²⁰) / 20x, the odds to come before all others of 20 that each have it by chance x
    s(q) = first(a(q))    a query that is not the first of its kind neither costs a search nor takes a place
    w(c) = first(r(c))    how likely c is new

Each search costs half a campaign, so a query that finds nothing is worse than none.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from qexplorer.near_duplicates import terms
from qexplorer.rank import FALSE_HIT

HITS = 50
NOVELTY = 10.0
SEARCH = 0.5
GROUP = 20
WORST = -1.5
PLACE = 0.2
GOOD_PRECISION = 0.8
GOOD_CAMPAIGNS = 2
MOST_COPIED = 0.6

Weigh = Callable[[str], float]


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


def novelty(reached: Mapping[str, float]) -> Weigh:
    """Return what a campaign still counts, by its name, when so many other seeds reach it."""
    return lambda name: 1.0 / (1.0 + reached.get(name, 0.0) / NOVELTY)


def gain(asked: Asked, own: str, covered: Collection[str], weigh: Weigh) -> float:
    """Return what a query adds to what is covered, in campaigns that count as `weigh` says of each by its name.

    A refused query costs as much as can be lost.
    """
    if asked.refused:
        return WORST * HITS
    return sum(
        weigh(name) * (wanted - FALSE_HIT * (1.0 - wanted))
        for name, wanted in asked.found.items()
        if name != own and name not in covered
    )


def best_set(
    candidates: Sequence[Asked], own: str, weigh: Weigh, *, liked: Collection[str] = (), most: int = 6
) -> list[tuple[Asked, float]]:
    """Return up to `most` queries with their marginal gains, greedily; a query of `liked` counts twice."""
    covered: set[str] = set()
    left = list(candidates)
    chosen: list[tuple[Asked, float]] = []
    while left and len(chosen) < most:
        gains = [gain(asked, own, covered, weigh) for asked in left]
        values = [value * (2 if asked.query in liked else 1) for value, asked in zip(gains, left, strict=True)]
        place = max(range(len(left)), key=values.__getitem__)
        if gains[place] <= 0:
            break
        chosen.append((left[place], gains[place]))
        covered |= set(left.pop(place).found)
    return chosen


class Crowd:
    """What the first queries of all replies ask and find, of which a seed meets what the others' do."""

    def __init__(self, replies: Iterable[tuple[str, Sequence[Asked]]]) -> None:
        """Take each reply as its seed and its queries."""
        self._replies: Counter[str] = Counter()
        self._with: Counter[str] = Counter()
        self._own: Counter[tuple[str, str]] = Counter()
        for seed, queries in replies:
            self._replies[seed] += 1
            names = [name for asked in queries[:1] for name in (_query(asked.query), *asked.found)]
            self._with.update(names)
            self._own.update((seed, name) for name in names)
        self._all = self._replies.total()

    def first_to_ask(self, seed: str, query: str) -> float:
        """Return how likely a seed is the first of its group, in any order, to ask the query."""
        return self._first(seed, _query(query))

    def first_to_find(self, seed: str, campaign: str) -> float:
        """Return how likely a seed is the first of its group, in any order, to find the campaign."""
        return self._first(seed, campaign)

    def _first(self, seed: str, name: str) -> float:
        others = self._all - self._replies[seed]
        count = self._with[name] - self._own[seed, name]
        if not count:
            return 1.0
        share = count / others
        return float(1.0 - (1.0 - share) ** GROUP) / (GROUP * share)


def _query(text: str) -> str:
    """Return a name that no listing has."""
    return f"\0{text}"


def reply_value(seed: str, queries: Sequence[Asked], own: str, crowd: Crowd) -> float:
    """Return the reward of a reply: its queries' marginal gains, less what their searches cost, over k.

    Each place counts a fifth of the one before. A reply without queries could not be read and has the worst reward.
    """
    if not queries:
        return WORST
    covered: set[str] = set()
    value = place = 0.0
    for asked in queries:
        first = crowd.first_to_ask(seed, asked.query)
        value += PLACE**place * first * (gain(asked, own, covered, partial(crowd.first_to_find, seed)) - SEARCH)
        place += first
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
