"""What a query is worth, from what it finds.

For a seed x and a query q with the hits H (its first k, the seed's own campaign left out)

    gain(q | x, S) = Σ over campaigns c of H that S has not found: w(c) · (p(c) − 1.5 · (1 − p(c)))
    w(c) = 1 / (1 + n(c) / 10)

p is the probability that the campaign is wanted, n(c) how many other seeds' queries reach it already: without w every
seed's best set is the same dozen general queries. A listing that resembles no other is a campaign of its own.

A reply is judged as one of a group of 20 seeds, whose queries go through a bank where each runs once, and of whose
hits people see the most suspicious first. With g(q) what a query finds beside its seed's campaign and the queries
before it, p − 0.3 · (1 − p) a campaign, and a(q) the share of all replies that have it,

    reward = (1 − 0.7) · Σ over places i of 0.7^i · (s(q) · ln(1 + g(q)) where g(q) > 0, else −1)
    s(q) = (1 − (1 − a(q))²⁰) / (20 · a(q))    the odds to be the first of 20, in any order, to ask q

The logarithm is what keeps replies apart: by the sum of what is found the best replies to all seeds begin with the same
few broad queries, and a model that has learnt that has too few left for twenty seeds. What it must unlearn is the query
that finds nothing, two of five on listings that it was not trained on.
"""

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from qexplorer.near_duplicates import terms
from qexplorer.rank import FALSE_HIT

HITS = 50
NOVELTY = 10.0
GROUP = 20
WORST = -1.5
PLACE = 0.7
SEEN_LAST = 0.3
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


def gain(
    asked: Asked, own: str, covered: Collection[str], reached: Mapping[str, float], *, false_hit: float = FALSE_HIT
) -> float:
    """Return what a query adds to what is covered, in campaigns; a refused one costs as much as can be lost."""
    if asked.refused:
        return WORST * HITS
    return sum(
        weight(reached.get(name, 0.0)) * (wanted - false_hit * (1.0 - wanted))
        for name, wanted in asked.found.items()
        if name != own and name not in covered
    )


def best_set(
    candidates: Sequence[Asked], own: str, reached: Mapping[str, float], *, liked: Collection[str] = (), most: int = 6
) -> list[Asked]:
    """Return up to `most` queries greedily by their marginal gains; that of a query of `liked` counts twice."""
    return _greedily(
        candidates,
        lambda asked, covered: gain(asked, own, covered, reached) * (2 if asked.query in liked else 1),
        most,
    )


def first_to_ask(replies: Collection[Collection[str]]) -> dict[str, float]:
    """Return for each query of the replies how likely a reply is the first of a group, in any order, to ask it."""
    asked = Counter(query for queries in replies for query in set(queries))
    shares = {query: count / len(replies) for query, count in asked.items()}
    return {query: (1.0 - (1.0 - share) ** GROUP) / (GROUP * share) for query, share in shares.items()}


def reply_value(queries: Sequence[Asked], own: str, first: Mapping[str, float]) -> float:
    """Return the reward of a reply, down to −1 and up to ln 51; `first` is that of `first_to_ask`.

    A reply without queries could not be read; it has the worst reward, −1.5, and so has one with a refused query.
    """
    if not queries or any(asked.refused for asked in queries):
        return WORST
    covered: set[str] = set()
    value = 0.0
    for place, asked in enumerate(queries):
        value += PLACE**place * _added(asked, own, covered, first)
        covered |= set(asked.found)
    return (1.0 - PLACE) * value


def best_reply(candidates: Iterable[Asked], own: str, first: Mapping[str, float], *, most: int = 6) -> list[Asked]:
    """Return the best reply of up to `most` of these queries, greedily: each place has what adds most to the reward."""
    return _greedily(candidates, lambda asked, covered: _added(asked, own, covered, first), most)


def _greedily(candidates: Iterable[Asked], worth: Callable[[Asked, Collection[str]], float], most: int) -> list[Asked]:
    """Return up to `most` queries, each the one that is worth most beside what those before it cover, if anything."""
    left = list({asked.query: asked for asked in candidates}.values())
    covered: set[str] = set()
    chosen: list[Asked] = []
    while left and len(chosen) < most:
        values = [worth(asked, covered) for asked in left]
        place = max(range(len(left)), key=values.__getitem__)
        if values[place] <= 0:
            break
        chosen.append(left.pop(place))
        covered |= set(chosen[-1].found)
    return chosen


def _added(asked: Asked, own: str, covered: Collection[str], first: Mapping[str, float]) -> float:
    found = gain(asked, own, covered, {}, false_hit=SEEN_LAST)
    return first[asked.query] * math.log1p(found) if found > 0 else -1.0


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
