"""Replies to learn are drawn so that seeds do not all say the same."""

from collections import Counter
from collections.abc import Sequence

from qexplorer.learn.reward import Asked
from qexplorer.learn.targets import SeedCandidates, Target, targets
from qexplorer.near_duplicates import terms


def seeds(count: int = 6) -> list[SeedCandidates]:
    general = Asked(query="general", found={f"g{n}": 1.0 for n in range(8)})
    return [
        SeedCandidates(
            flag_id=f"f{number}",
            own=f"own{number}",
            words=frozenset({f"w{number}"}),
            candidates=(
                general,
                *(
                    Asked(query=f"w{number} x{part}", found={f"c{number}-{part}-{n}": 1.0 for n in range(5)})
                    for part in range(8)
                ),
                Asked(query="false", found={"h1": 0.0, "h2": 0.0}),
            ),
        )
        for number in range(count)
    ]


def made(entries: Sequence[SeedCandidates] | None = None, *, seed: int = 1) -> list[Target]:
    return targets(seeds() if entries is None else entries, seed=seed, greedy=True, draws=1)


def test_each_seed_has_its_greedy_set_and_draws() -> None:
    """The greedy set first, where it is wanted, then as many draws as asked for."""
    both = targets(seeds(), seed=1, greedy=True, draws=2)
    assert [target.flag_id for target in both] == [f"f{number}" for number in range(6) for _ in range(3)]
    assert [target.how for target in both[:3]] == ["greedy", "drawn", "drawn"]
    assert {target.how for target in targets(seeds(), seed=1, greedy=False, draws=3)} == {"drawn"}


def test_false_queries_are_never_taught() -> None:
    """What finds harmless listings gains nothing and is not good."""
    assert not any("false" in target.queries for target in made())


def test_draws_have_no_word_in_common() -> None:
    """Six queries about the same word would be one query."""
    for target in made():
        words = [word for query in target.queries for word in terms(query)]
        assert target.how == "greedy" or len(words) == len(set(words))


def test_the_best_query_comes_first() -> None:
    """In a draw as well the order is that of what each query adds."""
    sizes = {"general": 8}
    for target in made():
        found = [sizes.get(query, 5) for query in target.queries]
        assert target.how == "greedy" or found == sorted(found, reverse=True)


def test_a_seed_without_a_gain_is_left_out() -> None:
    """There is nothing to learn from it."""
    empty = SeedCandidates(flag_id="x", own="o", words=frozenset(), candidates=(Asked(query="q", found={"h": 0.0}),))
    assert made([empty]) == []


def test_the_same_seed_draws_the_same() -> None:
    """A data set can be made again."""
    assert made(seed=3) == made(seed=3)


def test_what_the_prompt_shows_is_taught_more_often() -> None:
    """A known span or a word of the seed counts twice: it is in the greedy set and in more draws than its equals."""
    queries = [f"q{number}" for number in range(12)]
    equals = tuple(Asked(query=query, found={f"{query}-{n}": 1.0 for n in range(3)}) for query in queries)
    entry = SeedCandidates(
        flag_id="f", own="o", words=frozenset({"q10"}), known=frozenset({"q11"}), candidates=equals
    )  # fmt: skip
    best, *drawn = targets([entry], seed=1, greedy=True, draws=300)
    assert {"q10", "q11"} <= set(best.queries)
    counts = Counter(query for target in drawn for query in target.queries)
    assert min(counts["q10"], counts["q11"]) > 1.2 * max(counts[query] for query in queries[:10])
