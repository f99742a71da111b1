"""The gap to the upper references."""

import pytest

from qexplorer.evaluation.gap import references, shares
from qexplorer.evaluation.report import gap_table, html_report, markdown_report
from qexplorer.evaluation.results import Results
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


def test_reports_have_a_table_for_each_reference_that_ran() -> None:
    """And none where no upper reference did."""
    rows = (a_row(method="sft"), a_row(method="oracle"), a_row(method="active_learning"))
    for report in (markdown_report, html_report):
        assert report(Results(rows=rows, seeds=(), meta={})).count("of the upper reference") == 2
        assert report(Results(rows=rows[:1], seeds=(), meta={})).count("of the upper reference") == 0
