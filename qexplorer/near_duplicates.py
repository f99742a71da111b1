"""Near-duplicates by token sets: exact Jaccard, and MinHash bands to find what to compare with."""

import hashlib
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

from qexplorer.words import is_han, tokens

T = TypeVar("T")
PERMUTATIONS = 96
ROWS = 4
KEPT_TOKENS = 256


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
    distinct = sorted({zlib.crc32(token.encode()) for token in terms(normalised)})[:KEPT_TOKENS]
    if not distinct:
        return Fingerprint(hashes=frozenset(), bands=())
    lows = _lowest(distinct)
    bands = tuple(
        f"{start:02d}-{zlib.crc32(repr(lows[start : start + ROWS]).encode()):08x}"
        for start in range(0, PERMUTATIONS, ROWS)
    )
    return Fingerprint(hashes=frozenset(distinct), bands=bands)


def _lowest(distinct: Sequence[int]) -> list[int]:
    """Return the MinHash of the values: for each permutation its lowest image.

    The same as datasketch's scheme "affine32": SHA-1 to 32 bits, the finalizer of MurmurHash3, a · h + b modulo 2³²;
    without a sketch object for each text, which costs three times as much as the arithmetic.
    """
    import numpy as np

    hashed = b"".join(hashlib.sha1(value.to_bytes(4, "big"), usedforsecurity=False).digest()[:4] for value in distinct)
    mixed = np.frombuffer(hashed, dtype="<u4")
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        mixed = (mixed ^ (mixed >> np.uint32(shift))) * np.uint32(factor)
    mixed ^= mixed >> np.uint32(16)
    factors, offsets = _permutations()
    lows: list[int] = (factors * mixed[:, None] + offsets).min(axis=0).tolist()
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
