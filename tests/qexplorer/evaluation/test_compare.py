"""A comparison says which is better, by how much and how sure."""

import pytest

from qexplorer.errors import BadInputError
from qexplorer.evaluation.compare import compare_folders, compare_methods, sentence
from qexplorer.evaluation.results import Results
from tests.qexplorer.evaluation.test_results import a_row


def results(**finds: list[int]) -> Results:
    rows = [
        a_row(method=method, group=group, finds=float(value), campaigns=float(value))
        for method, values in finds.items()
        for group, value in enumerate(values)
    ]
    return Results(rows=tuple(rows), seeds=())


def test_the_better_one_is_named_with_difference_and_ratio() -> None:
    """12 to 52 against 10 to 50: always two more, 160 / 150 = 1.07 times."""
    both = results(new=[12, 22, 32, 42, 52], old=[10, 20, 30, 40, 50])
    found = compare_methods(both, "new", "old")
    assert [(one.measure, one.verdict) for one in found] == [("finds", "better"), ("campaigns", "better")]
    assert (found[0].difference.value, found[0].difference.low) == (2, 2)
    assert found[0].ratio.value == pytest.approx(160 / 150)
    assert sentence(found[0]).startswith(
        "small, pool, 3 searches: new 32.0, old 30.0 finds: better; difference 2.0 [2.0, 2.0], ratio 1.07 ["
    )
    assert compare_methods(both, "old", "new")[0].verdict == "worse"


def test_fewer_than_five_groups_tell_nothing() -> None:
    """Four groups with two finds more each have an interval above 0, which is no proof; the fifth makes it one."""
    for groups, verdict in ((1, "not told apart"), (4, "not told apart"), (5, "better")):
        (found, _) = compare_methods(results(new=[12] * groups, old=[10] * groups), "new", "old")
        assert (found.verdict, found.difference.low) == (verdict, 2)
        assert sentence(found).endswith(f"{groups} groups" if groups == 5 else f"{groups} groups, fewer than 5")


def test_chance_is_not_taken_for_a_difference() -> None:
    """Thrice better by two and thrice worse by one is no difference, though the mean is half a find better."""
    both = results(new=[12, 19] * 3, old=[10, 20] * 3)
    found = compare_methods(both, "new", "old")
    assert found[0].difference.value == 0.5
    assert found[0].verdict == "not told apart"
    assert compare_methods(both, "old", "new")[0].verdict == "not told apart"


def test_two_folders_are_compared_by_their_common_methods() -> None:
    """The same method of an earlier and a later evaluation, paired by group."""
    found = compare_folders(results(m=[3, 4] * 3, n=[1, 1]), results(m=[1, 2] * 3, k=[1, 1]))
    assert [one.one for one in found] == ["m", "m"]
    assert found[0].verdict == "better"


def test_a_missing_baseline_is_one_clear_error() -> None:
    """It names what the results have."""
    with pytest.raises(BadInputError, match=r"no method old\. They have new"):
        compare_methods(results(new=[1, 2]), "new", "old")
    with pytest.raises(BadInputError, match="no method in common"):
        compare_folders(results(new=[1, 2]), results(old=[1, 2]))


def test_other_seeds_are_not_compared() -> None:
    """Groups of another split, or with other seeds, are not the same groups, whatever their number."""
    for changed in ({"digest": "d2"}, {"seeds_hash": "by campaign"}):
        other = Results(rows=(a_row(**changed),), seeds=())
        with pytest.raises(BadInputError, match="no corpus, split, load and group of seeds in common"):
            compare_folders(Results(rows=(a_row(),), seeds=()), other)
