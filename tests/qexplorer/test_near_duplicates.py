"""Near-duplicates by token sets."""

import random

from datasketch import MinHash
from hypothesis import given
from hypothesis import strategies as st

from qexplorer.near_duplicates import PERMUTATIONS, Group, _hashed, _lowest, fingerprint, jaccard, near_groups, terms


def test_jaccard_by_hand() -> None:
    """{a, b, c} and {b, c, d} share 2 of 4."""
    assert jaccard(frozenset("abc"), frozenset("bcd")) == 0.5
    assert jaccard(frozenset(), frozenset("a")) == 0.0


def test_chinese_runs_are_compared_by_pairs_of_characters() -> None:
    """A word inside running text is a term of its own."""
    assert terms("上头电子烟 now") == ["上头", "头电", "电子", "子烟", "now"]


def test_near_duplicates_are_found_through_their_bands() -> None:
    """Of 300 pairs with 18 of 22 words in common (Jaccard 0.82) hardly one is missed, and nothing else is found."""
    draw = random.Random(1)
    words = [f"w{n}" for n in range(5000)]
    found = wrong = 0
    for _ in range(300):
        common, one, other = draw.sample(words, 18), draw.sample(words, 2), draw.sample(words, 2)
        group = Group(0.7)
        mark = fingerprint(" ".join(common + one))
        group.add("a", mark.hashes, mark.bands)
        found += group.like(fingerprint(" ".join(common + other))) == "a"
        wrong += group.like(fingerprint(" ".join(draw.sample(words, 20)))) is not None
    assert found >= 297
    assert wrong == 0


def test_an_empty_text_is_like_nothing() -> None:
    """Two listings without words are not duplicates of each other."""
    group = Group(0.7)
    mark = fingerprint("")
    group.add("a", mark.hashes, mark.bands)
    assert group.like(fingerprint("")) is None


@given(st.sets(st.text(min_size=1, max_size=8), min_size=1, max_size=256))
def test_the_sketch_is_that_of_the_library(words: set[str]) -> None:
    """The arithmetic written out here gives datasketch's MinHash, value by value."""
    hashed = [_hashed(word) for word in words]
    sketch = MinHash(num_perm=PERMUTATIONS, seed=1)
    sketch.update_batch([value.to_bytes(4, "big") for value, _ in hashed])
    assert _lowest([mixed for _, mixed in hashed]) == [int(value) for value in sketch.hashvalues]


def test_band_keys_stay_as_they_are() -> None:
    """They are kept in an index, where those of an older version must meet those of a newer one."""
    bands = fingerprint("plug gummies 上头电子烟").bands
    assert (len(bands), bands[0], bands[-1]) == (24, "00-4bb85586", "92-eec9a764")


@given(st.lists(st.lists(st.sampled_from("abcdefghijkl"), max_size=9).map(" ".join), max_size=12))
def test_groups_are_those_of_all_pairs(texts: list[str]) -> None:
    """Two texts are in one group exactly when a chain of texts with a Jaccard above one half joins them."""
    sets = [frozenset(terms(text)) for text in texts]
    expected = list(range(len(texts)))
    for _ in texts:
        for one in range(len(texts)):
            for other in range(len(texts)):
                if jaccard(sets[one], sets[other]) > 0.5:
                    expected[one] = expected[other] = min(expected[one], expected[other])
    assert near_groups(texts) == expected


def test_texts_far_apart_are_grouped_too() -> None:
    """Texts are compared some hundred at a time with all others, wherever these stand."""
    texts = [f"word{number} only{number} here{number}" for number in range(700)]
    assert near_groups([*texts, *texts]) == [*range(700), *range(700)]
