"""What a query would find, before a search is spent on it: its matches among known flags and among random listings.

Flags of the past are what the flags of tomorrow look like. Of each only the hashes of its words are kept, and in clear
the short spans that two campaigns, and two sellers where they are named, have; contacts and numbers that could be some
are left out. It tells nobody's text.
"""

import heapq
import itertools
import math
import re
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

from qexplorer.grams import PLACEHOLDER, grams
from qexplorer.near_duplicates import terms
from qexplorer.words import is_han

T = TypeVar("T")
MOST_FLAGS = 5_000
MOST_OTHERS = 5_000
PAGE = 60
LOAD = 0.03
NEAREST = 12
KEPT = 512
SIZES = (1, 2)
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
        self._sizes = [stop - start for start, stop in itertools.pairwise(tensors["flag_starts"].tolist())]
        self._others = _postings(tensors["other_terms"], tensors["other_starts"])
        # Each random listing stands for as many as there are of them for one: the sample may be small.
        self._weight = float(tensors["other_weight"][0])
        self._total = len(self._campaigns) + self._weight * (len(tensors["other_starts"]) - 1)
        self._spans = bytes(tensors["spans"]).decode().split("\n")
        self._span_hashes = [[_hash(term) for term in terms(span)] for span in self._spans]
        ids, starts = tensors["flag_spans"].tolist(), tensors["flag_span_starts"].tolist()
        self._of_flag = [ids[start:stop] for start, stop in itertools.pairwise(starts)]
        # The prompt of a flag and its candidates need the same, a batch apart.
        self._near = lru_cache(maxsize=KEPT)(self._siblings)
        self._by_policy: dict[int, set[int]] = {ANY: set(range(len(self._campaigns)))}
        for place, policy in enumerate(tensors["flag_policies"].tolist()):
            self._by_policy.setdefault(policy, set()).add(place)

    def foresee(self, query: str, policy: str = "") -> Foreseen:
        """Return what a normalised query would find for a policy; what is flagged under another one is a false hit.

        A policy without known flags, like none, is served by all of them.
        """
        return self._found(list({_hash(term) for term in terms(query)}), policy)

    def _found(self, hashes: Sequence[int], policy: str) -> Foreseen:
        found = _all_of(self._flags, hashes)
        flags = found & self._of(policy)
        return Foreseen(
            campaigns=frozenset(self._campaigns[place] for place in flags),
            flags=len(flags),
            others=len(found - flags) + round(len(_all_of(self._others, hashes)) * self._weight),
        )

    def foresee_text(self, text: str, policy: str = "") -> Foreseen:
        """Return what a search for a whole normalised text would find on its first page, as `foresee` of a query."""
        allowed = self._of(policy)
        campaigns: set[int] = set()
        flags, others = 0, 0.0
        for is_other, place in self._most_alike(text):
            left = PAGE - flags - others
            if left <= 0:
                break
            if is_other:
                others += min(left, self._weight)
            elif place in allowed:
                flags += 1
                campaigns.add(self._campaigns[place])
            else:
                others += 1
        return Foreseen(campaigns=frozenset(campaigns), flags=flags, others=round(others))

    def familiarity(self, text: str, policy: str = "") -> float:
        """Return the share of a normalised text's words, by rarity, that a policy's flags of two campaigns have."""
        allowed = self._of(policy)
        known = total = 0.0
        for value in {_hash(term) for term in terms(text)}:
            rarity = self._rarity(value)
            total += rarity
            if len({self._campaigns[place] for place in self._flags.get(value, set()) & allowed}) > 1:
                known += rarity
        return known / total if total else 0.0

    def _rarity(self, value: int) -> float:
        """Return ln(1 + N / (1 + n)), n of N listings having the word of this hash."""
        found = len(self._flags.get(value, ())) + self._weight * len(self._others.get(value, ()))
        return math.log(1.0 + self._total / (1.0 + found))

    def _most_alike(self, text: str) -> list[tuple[int, int]]:
        """Return the places of at most a page of flags (0) and random listings (1), those most like a text first.

        That is by the sum of the rarity of the words that they have in common.
        """
        scores: dict[tuple[int, int], float] = {}
        for value in {_hash(term) for term in terms(text)}:
            flags, others = self._flags.get(value, set()), self._others.get(value, set())
            rarity = self._rarity(value)
            for key in itertools.chain(zip(itertools.repeat(0), flags), zip(itertools.repeat(1), others)):
                scores[key] = scores.get(key, 0.0) + rarity
        return heapq.nsmallest(PAGE, scores, key=lambda key: (-scores[key], key))

    def _of(self, policy: str) -> set[int]:
        return self._by_policy.get(_hash(policy)) or self._by_policy[ANY]

    def siblings(self, text: str, most: int, policy: str = "") -> list[str]:
        """Return at most `most` spans of a policy's known flags that are nearest to a normalised text, not its own.

        They are those that add most campaigns, then those that have most. Near is a high sum over common words of
        1 / how many flags have it. Where the text is that of a known flag, its campaign is left out.
        """
        return self._near(text, policy)[:most]

    def _siblings(self, text: str, policy: str) -> list[str]:
        own = {_hash(term) for term in terms(text)}
        near: dict[int, float] = {}
        allowed = self._of(policy)
        twins = {self._campaigns[place] for place in _all_of(self._flags, list(own)) if self._sizes[place] == len(own)}
        if twins:
            allowed = {place for place in allowed if self._campaigns[place] not in twins}
        for value in own:
            flags = self._flags.get(value, set()) & allowed
            for place in flags:
                near[place] = near.get(place, 0.0) + 1.0 / len(flags)
        nearest = heapq.nsmallest(NEAREST, near, key=lambda place: (-near[place], place))
        new = dict.fromkeys(span for place in nearest for span in self._of_flag[place])
        spans = [span for span in new if not own.issuperset(self._span_hashes[span])]
        foreseen = [self._found(self._span_hashes[span], policy) for span in spans]
        first = greedily(foreseen)
        alone = {place: gain for place, each in enumerate(foreseen) if (gain := each.gain(frozenset())) > 0}
        others = sorted(alone.keys() - set(first), key=lambda place: (-alone[place], place))
        return [self._spans[spans[place]] for place in (*first, *others)]


def tensors_of(
    flags: Sequence[str],
    campaigns: Sequence[int],
    others: Sequence[str],
    total: int,
    *,
    policies: Sequence[str] = (),
    posters: Sequence[int] = (),
    shown: Sequence[str] = (),
) -> dict[str, Any]:
    """Return what an artefact keeps of normalised flags, and of a sample of `total` others.

    Each flag has a campaign, and may have a policy and who posted it: a span is shared if two of these have it. They
    are the campaigns where it is not known, but the same people post more than one, in words that nobody else has.
    Spans are those of `shown`, the flags without their contacts, where it is given.
    """
    import numpy as np

    kept = _spread(campaigns)
    shown = [(shown or flags)[place] for place in kept]
    posters = [(posters or campaigns)[place] for place in kept]
    flags, campaigns = [flags[place] for place in kept], [campaigns[place] for place in kept]
    tensors: dict[str, Any] = {"flag_campaigns": np.array(campaigns, dtype=np.int32)}
    names = [policies[place] for place in kept] if policies else []
    tensors["flag_policies"] = np.array([_hash(name) for name in names], dtype=np.int64)
    for name, texts in (("flag", flags), ("other", others[:MOST_OTHERS])):
        rows = [sorted({_hash(term) for term in terms(text)}) for text in texts]
        tensors[f"{name}_terms"] = np.array([value for row in rows for value in row], dtype=np.uint32)
        tensors[f"{name}_starts"] = np.cumsum([0, *map(len, rows)], dtype=np.int64)
    spans, of_flag = _shared_spans(shown, posters)
    tensors["spans"] = np.frombuffer("\n".join(spans).encode(), dtype=np.uint8)
    tensors["flag_spans"] = np.array([span for row in of_flag for span in row], dtype=np.int32)
    tensors["flag_span_starts"] = np.cumsum([0, *map(len, of_flag)], dtype=np.int64)
    tensors["other_weight"] = np.array([total / max(1, min(len(others), MOST_OTHERS))], dtype=np.float64)
    return tensors


def _spread(campaigns: Sequence[int]) -> list[int]:
    """Return the places of the flags to keep: the last of each campaign, then the last but one of each, and so on.

    Flags come in order of time, and what was flagged last is most like what comes next.
    """
    seen: Counter[int] = Counter()
    turns = []
    for place in reversed(range(len(campaigns))):
        turns.append((seen[campaigns[place]], -place))
        seen[campaigns[place]] += 1
    return sorted(-place for _, place in sorted(turns)[:MOST_FLAGS])


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
    # What a query adds never grows, so only the first of the heap can be the one that adds most.
    heap = [(-each.gain(covered), place) for place, each in enumerate(foreseen)]
    heapq.heapify(heap)
    while heap:
        place = heap[0][1]
        gain = foreseen[place].gain(covered)
        if -heap[0][0] > gain:
            heapq.heapreplace(heap, (-gain, place))
            continue
        if gain <= 0:
            break
        heapq.heappop(heap)
        order.append(place)
        covered |= foreseen[place].campaigns
    return order


def _shared_spans(flags: Sequence[str], posters: Sequence[int]) -> tuple[list[str], list[list[int]]]:
    """Return the spans whose words flags of at least two posters have, and which of them each flag has."""
    postings: dict[str, set[int]] = {}
    words = [terms(PLACEHOLDER.sub(" ", text)) for text in flags]
    for place, own in enumerate(words):
        for term in own:
            postings.setdefault(term, set()).add(place)
    shared: dict[str, bool] = {}
    ids: dict[str, int] = {}
    rows: list[list[int]] = []
    for text, own in zip(flags, words, strict=True):
        pairs = (term for term in own if is_han(term) and len(term) > 1)
        spans = list(dict.fromkeys((*grams(text, SIZES), *pairs)))
        for span in spans:
            if span not in shared:
                found = _all_of(postings, terms(span))
                shared[span] = len({posters[place] for place in found}) > 1 and not _could_be_contact(span)
        rows.append([ids.setdefault(span, len(ids)) for span in spans if shared[span]])
    return list(ids), rows


def _could_be_contact(span: str) -> bool:
    joined = span.replace(" ", "")
    return joined.isdigit() or DIGITS.search(joined) is not None


def _postings(values: Any, starts: Any) -> dict[int, set[int]]:
    postings: dict[int, set[int]] = {}
    bounds = [int(start) for start in starts]
    hashes = values.tolist()
    for place, (start, stop) in enumerate(itertools.pairwise(bounds)):
        for value in hashes[start:stop]:
            postings.setdefault(value, set()).add(place)
    return postings


def _all_of(postings: Mapping[T, set[int]], words: Sequence[T]) -> set[int]:
    found = [postings.get(word, set()) for word in words]
    return set.intersection(*sorted(found, key=len)) if found else set()


def _hash(term: str) -> int:
    return zlib.crc32(term.encode())
