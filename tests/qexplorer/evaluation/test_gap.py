"""The gap to the upper references."""

import pytest

from qexplorer.evaluation.gap import references, shares
from qexplorer.evaluation.report import gap_table
from tests.qexplorer.evaluation.test_results import a_row


def test_a_share_is_paired_over_the_groups_that_both_have() -> None:
    """8 and 9 finds of the oracle's 10 and 20: 17 / 30; the third group, which the oracle lacks, counts nothing."""
    rows = [
        a_row(method="oracle", group=0, load=3, finds=10),
        a_row(method="oracle", group=1, load=3, finds=20),
        *(a_row(method="sft", group=group, load=3, finds=finds) for group, finds in enumerate((8, 9, 40))),
        a_row(method="sft", group=0, load=6, finds=9),
        a_row(method="sft:best_of_n", group=0, load=3, finds=9),
    ]
    assert references(rows) == ["oracle", "sft:best_of_n"]
    found = shares(rows, "oracle")
    assert list(found) == ["sft"]
    assert list(found["sft"]) == [3]
    assert found["sft"][3].value == pytest.approx(17 / 30)
    head, lines, title = gap_table(rows, "oracle")
    assert head == ["method", "3 searches"]
    assert lines[0][:1] == ["sft"]
    assert lines[0][1].startswith("0.57")
    assert "oracle" in title
