"""What a query would find, before a search is spent on it: its matches among known flags and among random listings.

Flags of the past are what the flags of tomorrow look like. Of each only the hashes of its words are kept, and in clear
the words that several campaigns have, numbers that could be contacts left out: the model tells nobody's text.
"""

import itertools
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qexplorer.guard import BANAL
from qexplorer.near_duplicates import terms

MOST_FLAGS = 5_000
MOST_OTHERS = 5_000
PAGE = 60
LOAD = 0.01
NEAREST = 12
ANY = -1
# Phones, codes and account numbers that no redaction knew.
DIGITS = re.compile(r"\d{5}|(?:\d[-.]?){7}")


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
        self._words = {_hash(word): word for word in bytes(tensors["words"]).decode().split("\n") if word}
        self._by_policy: dict[int, set[int]] = {ANY: set(range(len(self._campaigns)))}
        for place, policy in enumerate(tensors["flag_policies"].tolist()):
            self._by_policy.setdefault(policy, set()).add(place)
        starts = [int(start) for start in tensors["flag_starts"]]
        hashes = tensors["flag_terms"].tolist()
        self._hashes = [frozenset(hashes[start:stop]) for start, stop in itertools.pairwise(starts)]

    def foresee(self, query: str, policy: str = "") -> Foreseen:
        """Return what a normalised query would find for a policy; what is flagged under another one is a false hit.

        A policy without known flags, like none, is served by all of them.
        """
        hashes = [_hash(term) for term in dict.fromkeys(terms(query))]
        found = _all_of(self._flags, hashes)
        flags = found & self._of(policy)
        return Foreseen(
            campaigns=frozenset(self._campaigns[place] for place in flags),
            flags=len(flags),
            others=len(found - flags) + round(len(_all_of(self._others, hashes)) * self._weight),
        )

    def _of(self, policy: str) -> set[int]:
        return self._by_policy.get(_hash(policy)) or self._by_policy[ANY]

    def siblings(self, text: str, most: int, policy: str = "") -> list[str]:
        """Return at most `most` words of a policy's known flags that are nearest to a normalised text, not its own.

        They are those that add most campaigns. Near is a high sum over common words of 1 / how many flags have it.
        """
        own = {_hash(term) for term in terms(text)}
        near: dict[int, float] = {}
        allowed = self._of(policy)
        for value in own:
            flags = self._flags.get(value, set()) & allowed
            for place in flags:
                near[place] = near.get(place, 0.0) + 1.0 / len(flags)
        nearest = sorted(near, key=lambda place: (-near[place], place))[:NEAREST]
        new = dict.fromkeys(value for place in nearest for value in sorted(self._hashes[place] - own))
        words = [self._words[value] for value in new if value in self._words]
        foreseen = [self.foresee(word, policy) for word in words]
        return [words[place] for place in greedily(foreseen)[:most]]


def tensors_of(
    flags: Sequence[str], campaigns: Sequence[int], others: Sequence[str], total: int, policies: Sequence[str] = ()
) -> dict[str, Any]:
    """Return what an artefact keeps of normalised flags, campaigns and policies, and of a sample of `total` others."""
    import numpy as np

    tensors: dict[str, Any] = {"flag_campaigns": np.array(campaigns[:MOST_FLAGS], dtype=np.int32)}
    tensors["flag_policies"] = np.array([_hash(name) for name in policies[:MOST_FLAGS]], dtype=np.int64)
    for name, texts in (("flag", flags[:MOST_FLAGS]), ("other", others[:MOST_OTHERS])):
        rows = [sorted({_hash(term) for term in terms(text)}) for text in texts]
        tensors[f"{name}_terms"] = np.array([value for row in rows for value in row], dtype=np.uint32)
        tensors[f"{name}_starts"] = np.cumsum([0, *map(len, rows)], dtype=np.int64)
    tensors["words"] = np.frombuffer("\n".join(_shared_words(flags[:MOST_FLAGS], campaigns)).encode(), dtype=np.uint8)
    tensors["other_weight"] = np.array([total / max(1, min(len(others), MOST_OTHERS))], dtype=np.float64)
    return tensors


def by_foresight(foreseen: Sequence[Foreseen], weights: Sequence[float], guesses: Sequence[bool]) -> list[int]:
    """Return the places of queries in the order in which they deserve a search.

    Greedily by what each adds to the campaigns that those before it cover; behind them, and among equals, by weight,
    the guesses last.
    """
    heaviest = sorted(range(len(foreseen)), key=lambda place: (guesses[place], -weights[place]))
    order = [heaviest[at] for at in greedily([foreseen[place] for place in heaviest])]
    first = set(order)
    return [*order, *(place for place in heaviest if place not in first)]


def greedily(foreseen: Sequence[Foreseen]) -> list[int]:
    """Return the places of the queries that add to those before them, each time the one that adds most."""
    covered: set[int] = set()
    order: list[int] = []
    left = list(range(len(foreseen)))
    while left:
        best = max(left, key=lambda place: foreseen[place].gain(covered))
        if foreseen[best].gain(covered) <= 0:
            break
        order.append(best)
        left.remove(best)
        covered |= foreseen[best].campaigns
    return order


def _shared_words(flags: Sequence[str], campaigns: Sequence[int]) -> list[str]:
    """Return the telling words that at least two campaigns have."""
    seen: dict[str, set[int]] = {}
    for text, campaign in zip(flags, campaigns, strict=False):
        for word in terms(text):
            seen.setdefault(word, set()).add(campaign)
    return sorted(
        word
        for word, names in seen.items()
        if len(names) > 1 and len(word) > 1 and word not in BANAL and not DIGITS.search(word) and not word.isdigit()
    )


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
