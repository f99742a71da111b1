"""Which queries to keep and which hits to show: decisions over hits that have been scored."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from qexplorer.near_duplicates import Fingerprint, Group
from qexplorer.search.backend import Hit

FALSE_HIT = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """A new hit with its review key, text in normal form and triage score (None without a triage)."""

    hit: Hit
    review_key: str
    normalised: str
    score: float | None

    def shown(self, threshold: float) -> bool:
        """Whether triage lets it through to people."""
        return self.score is None or self.score >= threshold


def select(queries: Mapping[str, Sequence[Scored]], threshold: float, *, last: Collection[str] = ()) -> list[str]:
    """Return the queries worth keeping, the best first: greedily by the gain that each adds.

    The gain of a query is Σ p − 1.5 · Σ (1 − p) over hits that no query before it has found, p being the triage
    score; a query that would only add loss is left out. Without a triage every query that adds a hit is kept in its
    order. Those in `last` come behind all others: a text match finds much, but tells a reviewer little of why.
    """
    covered: set[str] = set()
    chosen: list[str] = []
    for left in (
        {name: hits for name, hits in queries.items() if name not in last},
        {name: hits for name, hits in queries.items() if name in last},
    ):
        while left:
            gains = {name: _gain(hits, covered, threshold) for name, hits in left.items()}
            best = max(left, key=gains.__getitem__)
            if gains[best] <= 0:
                break
            chosen.append(best)
            covered |= {hit.review_key for hit in left.pop(best)}
    return chosen


def _gain(hits: Sequence[Scored], covered: set[str], threshold: float) -> float:
    """Return the gain of a query; a hit that triage would not show costs the reviewer nothing here."""
    fresh = [hit for hit in hits if hit.review_key not in covered]
    if any(hit.score is None for hit in fresh):
        return 1.0
    return sum(p - FALSE_HIT * (1 - p) for p in (hit.score or 0.0 for hit in fresh) if p >= threshold)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A hit to publish, with the listings that say nearly the same."""

    hit: Scored
    mark: Fingerprint
    query: str
    near_duplicates: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """What is left of one seed's hits, best first, and the listings that repeat the seed or a known item."""

    shown: tuple[Shown, ...]
    repeats: tuple[str, ...]


def in_order(queries: Sequence[tuple[str, Sequence[Scored]]], threshold: float) -> list[tuple[str, Scored]]:
    """Return the hits of the chosen queries that triage lets through as one list, best first, each with its query.

    A hit belongs to the first query that found it. Without a triage the order is that of the queries and their ranks.
    """
    first: dict[str, tuple[str, Scored]] = {}
    for name, hits in queries:
        for hit in hits:
            if hit.shown(threshold):
                first.setdefault(hit.review_key, (name, hit))
    return sorted(first.values(), key=lambda pair: -(pair[1].score or 0.0))


def merge(hits: Sequence[tuple[str, Scored]], group: Group, marks: Mapping[str, Fingerprint], *, cap: int) -> Merged:
    """Return what is shown of hits in order, near-duplicates folded.

    `group` holds the seed and the known items and is extended by what is shown; `marks` are the fingerprints by review
    key. A hit without one is not shown: so far down the list nobody has looked for known items like it.
    """
    shown: dict[str, tuple[str, Scored, list[str]]] = {}
    repeats: list[str] = []
    for name, hit in hits:
        mark = marks.get(hit.review_key)
        like = group.like(mark) if mark is not None else None
        if mark is None or like == hit.review_key:
            continue
        if like is not None:
            (shown[like][2] if like in shown else repeats).append(hit.hit.listing_id)
        elif len(shown) < cap:
            group.add(hit.review_key, mark.hashes, mark.bands)
            shown[hit.review_key] = (name, hit, [])
    return Merged(
        shown=tuple(
            Shown(hit=hit, mark=marks[key], query=name, near_duplicates=tuple(same))
            for key, (name, hit, same) in shown.items()
        ),
        repeats=tuple(repeats),
    )
