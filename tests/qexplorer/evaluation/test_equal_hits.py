"""Methods at the hits of a text match."""

from qexplorer.evaluation.equal_hits import at_equal_hits, campaigns_at
from tests.qexplorer.evaluation.test_results import a_row


def test_between_two_loads_campaigns_grow_evenly() -> None:
    """10 campaigns at 20 hits and 30 at 60: 20 at 40, 5 at 10; nothing more after the last load."""
    rows = [a_row(load=1, hits=20.0, campaigns=10.0), a_row(load=3, hits=60.0, campaigns=30.0)]
    assert [campaigns_at(rows, hits) for hits in (40.0, 10.0, 500.0, 0.0)] == [20.0, 5.0, 30.0, 0.0]


def test_a_method_is_compared_group_by_group() -> None:
    """20 and 22 campaigns at the 40 hits of a text match that has 16 and 20: 42 / 36."""
    rows = [
        a_row(method="whole_text", load=1, hits=40.0, campaigns=16.0),
        a_row(method="whole_text", load=1, group=1, hits=40.0, campaigns=20.0),
        a_row(method="sft", load=3, hits=40.0, campaigns=20.0),
        a_row(method="sft", load=3, group=1, hits=40.0, campaigns=22.0),
    ]
    (found,) = at_equal_hits(rows)
    assert (found.method, found.hits, found.campaigns, found.baseline) == ("sft", 40.0, 21.0, 18.0)
    assert found.ratio.value == 42 / 36
    assert at_equal_hits(rows[2:]) == []
