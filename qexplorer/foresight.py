"""What a query would find, before a search is spent on it: its matches among known flags and among random listings.

Flags of the past are what the flags of tomorrow look like. Of each only the hashes of its words are kept, so the model
that holds them tells nobody's text.
"""

import itertools
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qexplorer.near_duplicates import terms

MOST_FLAGS = 5_000
MOST_OTHERS = 5_000
PAGE = 60
LOAD = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreseen:
    """The campaigns of known flags that a query matches, how many flags these are, and how many other listings."""

    campaigns: frozenset[int] = frozenset()
    flags: int = 0
    others: int = 0

    def gain(self, covered: frozenset[int] | set[int]) -> float:
        """Return what the query adds to the campaigns covered, as far as one page of hits reaches, less its load."""
        found = self.flags + self.others
        new = sum(1 for name in self.campaigns if name not in covered)
        return new * min(1.0, PAGE / max(1, found)) - LOAD * min(PAGE, self.others)


class Foresight:
    """Postings of word hashes over known flags and random listings."""

    def __init__(self, tensors: Mapping[str, Any]) -> None:
        self._campaigns = [int(name) for name in tensors["flag_campaigns"]]
        self._flags = _postings(tensors["flag_terms"], tensors["flag_starts"])
        self._others = _postings(tensors["other_terms"], tensors["other_starts"])
        # Each random listing stands for as many as there are of them for one: the sample may be small.
        self._weight = float(tensors["other_weight"][0])

    def foresee(self, query: str) -> Foreseen:
        """Return what a normalised query would find."""
        hashes = [_hash(term) for term in dict.fromkeys(terms(query))]
        flags = _all_of(self._flags, hashes)
        return Foreseen(
            campaigns=frozenset(self._campaigns[place] for place in flags),
            flags=len(flags),
            others=round(len(_all_of(self._others, hashes)) * self._weight),
        )


def tensors_of(flags: Sequence[str], campaigns: Sequence[int], others: Sequence[str], total: int) -> dict[str, Any]:
    """Return what an artefact keeps of normalised flags with their campaigns, and of a sample of `total` others."""
    import numpy as np

    tensors: dict[str, Any] = {"flag_campaigns": np.array(campaigns[:MOST_FLAGS], dtype=np.int32)}
    for name, texts in (("flag", flags[:MOST_FLAGS]), ("other", others[:MOST_OTHERS])):
        rows = [sorted({_hash(term) for term in terms(text)}) for text in texts]
        tensors[f"{name}_terms"] = np.array([value for row in rows for value in row], dtype=np.uint32)
        tensors[f"{name}_starts"] = np.cumsum([0, *map(len, rows)], dtype=np.int64)
    tensors["other_weight"] = np.array([total / max(1, min(len(others), MOST_OTHERS))], dtype=np.float64)
    return tensors


def by_foresight(foreseen: Sequence[Foreseen], weights: Sequence[float]) -> list[int]:
    """Return the places of queries in the order in which they deserve a search.

    Greedily by what each adds to the campaigns that those before it cover; behind them, and among equals, by weight.
    """
    covered: set[int] = set()
    order: list[int] = []
    left = sorted(range(len(foreseen)), key=lambda place: -weights[place])
    while left:
        best = max(left, key=lambda place: foreseen[place].gain(covered))
        if foreseen[best].gain(covered) <= 0:
            break
        order.append(best)
        left.remove(best)
        covered |= foreseen[best].campaigns
    return [*order, *left]


def _postings(values: Any, starts: Any) -> dict[int, set[int]]:
    postings: dict[int, set[int]] = {}
    bounds = [int(start) for start in starts]
    hashes = values.tolist()
    for place, (start, stop) in enumerate(itertools.pairwise(bounds)):
        for value in hashes[start:stop]:
            postings.setdefault(value, set()).add(place)
    return postings


def _all_of(postings: Mapping[int, set[int]], hashes: Sequence[int]) -> set[int]:
    found = [postings.get(value, set()) for value in hashes]
    return set.intersection(*sorted(found, key=len)) if found else set()


def _hash(term: str) -> int:
    return zlib.crc32(term.encode())
