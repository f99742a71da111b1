"""Replies to learn from: for each seed sets of queries that find much, drawn so that seeds do not all say the same."""

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from qexplorer.learn.reward import Asked, best_set, gain, reach, shares_word, weight
from qexplorer.near_duplicates import terms

PASSES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedCandidates:
    """A seed with the queries that could be its reply.

    `own` is its campaign, `words` are those of its text, `known` the queries that stand in its prompt.
    """

    flag_id: str
    own: str
    words: frozenset[str]
    known: frozenset[str] = frozenset()
    candidates: tuple[Asked, ...]

    def shows(self, query: str) -> bool:
        """Whether the model sees the query, or a word of it."""
        return query in self.known or shares_word(query, self.words)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A reply to learn, best query first; `how` says whether it is the greedy set or a draw, `value` its gain."""

    flag_id: str
    how: str
    queries: tuple[str, ...]
    value: float


def targets(seeds: Sequence[SeedCandidates], *, seed: int, greedy: bool, draws: int) -> list[Target]:
    """Return the replies to learn: of each seed the greedy set where wanted, then draws among its good queries.

    Greedy sets teach the order and draws the breadth; a seed without a query that gains anything has none.
    """
    chance = random.Random(seed)
    reached, sets = _greedy(seeds, chance)
    made: list[Target] = []
    for entry in seeds:
        best = sets.get(entry.flag_id)
        if not best:
            continue
        if greedy:
            made.append(_target(entry, "greedy", best, reached))
        good = [asked for asked in entry.candidates if asked.is_good(entry.own)]
        for _ in range(draws):
            drawn = _draw(entry, good, reached, chance) if len(good) > len(best) else best
            made.append(_target(entry, "drawn" if drawn is not best else "greedy", drawn, reached))
    return made


def _greedy(seeds: Sequence[SeedCandidates], chance: random.Random) -> tuple[dict[str, float], dict[str, list[Asked]]]:
    """Return how many seeds reach each campaign, and the greedy sets that each knows of the others' reach."""
    found: dict[str, set[str]] = {}
    chosen: dict[str, list[Asked]] = {}
    reached: dict[str, float] = {}
    for _ in range(PASSES):
        for entry in chance.sample(list(seeds), len(seeds)):
            for name in found.pop(entry.flag_id, set()):
                reached[name] -= 1
            liked = {asked.query for asked in entry.candidates if entry.shows(asked.query)}
            best = best_set(entry.candidates, entry.own, reached, liked=liked)
            chosen[entry.flag_id] = best
            found[entry.flag_id] = {name for asked in best for name in asked.found}
            for name in found[entry.flag_id]:
                reached[name] = reached.get(name, 0.0) + 1
    return reach(found.values()), chosen


def _draw(
    entry: SeedCandidates, good: Sequence[Asked], reached: Mapping[str, float], chance: random.Random, most: int = 6
) -> list[Asked]:
    """Draw queries without a word in common, the novel ones and those that the prompt shows more often."""
    left = list(good)
    weights = [_novelty(asked, entry.own, reached) * (2.0 if entry.shows(asked.query) else 1.0) for asked in left]
    drawn: list[Asked] = []
    used: set[str] = set()
    while left and len(drawn) < most:
        place = chance.choices(range(len(left)), weights)[0]
        asked = left.pop(place)
        weights.pop(place)
        words = set(terms(asked.query))
        if not words & used:
            drawn.append(asked)
            used |= words
    return drawn


def _novelty(asked: Asked, own: str, reached: Mapping[str, float]) -> float:
    found = asked.others(own)
    return sum(weight(reached.get(name, 0.0)) * wanted for name, wanted in found.items()) / max(1, len(found)) + 1e-6


def _target(entry: SeedCandidates, how: str, queries: Collection[Asked], reached: Mapping[str, float]) -> Target:
    """Put the queries in the order of their marginal gains: what is best comes first."""
    covered: set[str] = set()
    left, ordered, value = list(queries), [], 0.0
    while left:
        gains = [gain(asked, entry.own, covered, reached) for asked in left]
        place = max(range(len(left)), key=gains.__getitem__)
        value += gains[place]
        ordered.append(left.pop(place))
        covered |= set(ordered[-1].found)
    return Target(flag_id=entry.flag_id, how=how, queries=tuple(asked.query for asked in ordered), value=value)
