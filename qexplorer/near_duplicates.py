"""Near-duplicates by token sets: exact Jaccard, and MinHash bands to find what to compare with."""

import hashlib
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, TypeVar

from qexplorer.words import is_han, tokens

T = TypeVar("T")
PERMUTATIONS = 96
ROWS = 4
KEPT_TOKENS = 256
NEAR = 0.5
ROWS_AT_ONCE = 512
PAIRS_AT_ONCE = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """A text as a set of 32-bit token hashes (at most 256) and 24 band keys of its MinHash.

    Two texts of Jaccard j share a band with probability 1 − (1 − j⁴)^24: 0.999 at 0.7, 0.79 at 0.5, 0.04 at 0.2.
    """

    hashes: frozenset[int]
    bands: tuple[str, ...]


def terms(text: str) -> list[str]:
    """Return the words of a text, runs of Chinese or Japanese as bigrams of characters."""
    found: list[str] = []
    for token in tokens(text):
        if is_han(token) and len(token) > 2:
            found += [token[start : start + 2] for start in range(len(token) - 1)]
        else:
            found.append(token)
    return found


def fingerprint(normalised: str) -> Fingerprint:
    """Return the fingerprint of a normalised text."""
    distinct = sorted({_hashed(term) for term in terms(normalised)})[:KEPT_TOKENS]
    if not distinct:
        return Fingerprint(hashes=frozenset(), bands=())
    rows = (_ROWS % tuple(_lowest([mixed for _, mixed in distinct]))).splitlines()
    bands = tuple((_BANDS % tuple(map(zlib.crc32, rows))).split())
    return Fingerprint(hashes=frozenset(value for value, _ in distinct), bands=bands)


# All rows of a MinHash, and all of its band keys, in one formatting each: one by one they cost twice as much.
_ROWS = b"".join([b"[" + b", ".join([b"%d"] * ROWS) + b"]\n"] * (PERMUTATIONS // ROWS))
_BANDS = " ".join(f"{start:02d}-%08x" for start in range(0, PERMUTATIONS, ROWS))


@lru_cache(maxsize=16_384)
def _hashed(term: str) -> tuple[int, int]:
    """Return the hash of a term and what the permutations start from.

    The latter is datasketch's scheme "affine32": SHA-1 to 32 bits and the finalizer of MurmurHash3, here without a
    sketch object for each text.
    """
    value = zlib.crc32(term.encode())
    mixed = int.from_bytes(hashlib.sha1(value.to_bytes(4, "big"), usedforsecurity=False).digest()[:4], "little")
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
        mixed = (mixed ^ (mixed >> shift)) * factor & 0xFFFFFFFF
    return value, mixed


def _lowest(mixed: Sequence[int]) -> list[int]:
    """Return the MinHash of the values: for each permutation, a · h + b modulo 2³², its lowest image."""
    import numpy as np

    factors, offsets = _permutations()
    images = np.multiply.outer(np.array(mixed, dtype=np.uint32), factors)
    images += offsets
    lows: list[int] = np.minimum.reduce(images).tolist()
    return lows


@cache
def _permutations() -> Any:
    """Draw the permutations once: factors and offsets, one of each for a permutation."""
    from datasketch import MinHash

    return MinHash(num_perm=PERMUTATIONS, seed=1).permutations


def jaccard(one: frozenset[T], other: frozenset[T]) -> float:
    """Return |one ∩ other| / |one ∪ other|; 0 when either is empty."""
    common = len(one & other)
    return common / (len(one) + len(other) - common) if common else 0.0


class Group:
    """Fingerprints seen so far, looked up by shared bands."""

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._by_band: dict[str, list[tuple[str, frozenset[int]]]] = {}

    def add(self, name: str, hashes: frozenset[int], bands: Iterable[str]) -> None:
        """Remember a fingerprint under a name."""
        for band in bands:
            self._by_band.setdefault(band, []).append((name, hashes))

    def like(self, mark: Fingerprint) -> str | None:
        """Return the name of a remembered near-duplicate, or None."""
        for band in mark.bands:
            for name, hashes in self._by_band.get(band, ()):
                if jaccard(hashes, mark.hashes) >= self._threshold:
                    return name
        return None


def near_groups(texts: Sequence[str]) -> list[int]:
    """Return for each normalised text the place of the first one in its group.

    Texts whose token sets have a Jaccard above one half are in one group, and so are those joined through others.
    Exact: all pairs are compared that share enough of the rarer halves of their tokens.
    """
    import numpy as np

    own = [dict.fromkeys(terms(text)) for text in texts]
    counts = Counter(term for each in own for term in each)
    ranks = {term: rank for rank, term in enumerate(sorted(counts, key=lambda term: (counts[term], term)))}
    rows = [sorted(map(ranks.__getitem__, each)) for each in own]
    whole = _ones(rows, len(ranks))
    rarer = _ones([row[: len(row) - len(row) // 2] for row in rows], len(ranks))
    sizes = np.array([len(row) for row in rows], dtype=np.int64)
    pairs: list[tuple[int, int]] = []
    for start in range(0, len(texts), ROWS_AT_ONCE):
        common = (rarer[start : start + ROWS_AT_ONCE] @ rarer[start:].T).tocoo()
        ones, others = common.row + start, common.col + start
        # Of the one whose rarer half ends first, all that the halves do not share is in its other half.
        most = common.data + np.maximum(sizes[ones], sizes[others]) // 2
        likely = (ones < others) & (most > NEAR * (sizes[ones] + sizes[others] - most))
        ones, others = ones[likely], others[likely]
        for first in range(0, len(ones), PAIRS_AT_ONCE):
            one, other = ones[first : first + PAIRS_AT_ONCE], others[first : first + PAIRS_AT_ONCE]
            shared = np.asarray(whole[one].multiply(whole[other]).sum(axis=1)).ravel()
            near = shared > NEAR * (sizes[one] + sizes[other] - shared)
            pairs += zip(one[near].tolist(), other[near].tolist(), strict=True)
    return joined(len(texts), pairs)


def _ones(rows: Sequence[Sequence[int]], width: int) -> Any:
    """Return a sparse matrix with a one in each of these columns of a row: [rows, width]."""
    import numpy as np
    from scipy.sparse import csr_matrix

    indices = [place for row in rows for place in row]
    indptr = np.cumsum([0, *map(len, rows)])
    return csr_matrix((np.ones(len(indices), dtype=np.int32), indices, indptr), shape=(len(rows), max(1, width)))


def joined(size: int, pairs: Iterable[tuple[int, int]]) -> list[int]:
    """Return for each place the least place that it is joined with, directly or through others."""
    import numpy as np
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import connected_components

    ends = np.array(list(pairs), dtype=np.int64).reshape(-1, 2)
    graph = csr_matrix((np.ones(len(ends), dtype=np.int8), (ends[:, 0], ends[:, 1])), shape=(size, size))
    labels = connected_components(graph, directed=False)[1]
    first: dict[int, int] = {}
    return [first.setdefault(int(label), place) for place, label in enumerate(labels)]
