"""What a seed shows to a method."""

from qexplorer.evaluation.seeds import Seed, _policies


def test_the_policies_are_read_once_for_all_seeds() -> None:
    """A corpus has tens of thousands of known flags, and reading the file takes milliseconds."""
    _policies.cache_clear()
    seeds = [Seed(title=f"gummies {number}", description="", kind="drugs", locale="en") for number in range(3)]
    assert [seed.policy for seed in seeds] == ["drugs"] * 3
    assert _policies.cache_info().misses == 1
