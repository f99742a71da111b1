"""The gap to the upper references."""

import pytest

from qexplorer.evaluation.gap import references, shares
from qexplorer.evaluation.report import gap_tables, html_report, markdown_report
from qexplorer.evaluation.results import Results
from tests.qexplorer.evaluation.test_results import a_row


def test_a_share_is_paired_over_the_groups_that_both_have() -> None:
    """8 and 9 finds of the oracle's 10 and 20: 17 / 30; the third group, which the oracle lacks, counts nothing.

    Campaigns have a gap where finds have none: 12 of 30.
    """
    rows = [
        a_row(method="oracle", group=0, load=3, finds=10, campaigns=10),
        a_row(method="oracle", group=1, load=3, finds=20, campaigns=20),
        *(a_row(method="sft", group=group, load=3, finds=finds, campaigns=6) for group, finds in enumerate((8, 9, 40))),
        a_row(method="sft", group=0, load=6, finds=9),
        a_row(method="sft:best_of_n", group=0, load=3, finds=9),
    ]
    assert references(rows) == ["oracle", "sft:best_of_n"]
    found = shares(rows, "oracle", "Finds")
    assert list(found) == ["sft"]
    assert list(found["sft"]) == [3]
    assert found["sft"][3].value == pytest.approx(17 / 30)
    (head, lines, title), (_, campaigns, of_campaigns), *others = gap_tables(rows)
    assert head == ["method", "3 searches"]
    assert lines[0][:1] == ["sft"]
    assert lines[0][1].startswith("0.57")
    assert campaigns[0][1].startswith("0.40")
    assert "oracle" in title
    assert of_campaigns.startswith("Campaigns ÷ campaigns of the upper reference oracle")
    assert len(others) == 2


def test_reports_have_a_table_for_each_reference_that_ran() -> None:
    """For finds and for campaigns, and none where no upper reference did."""
    rows = (a_row(method="sft"), a_row(method="oracle"), a_row(method="active_learning"))
    for report in (markdown_report, html_report):
        assert report(Results(rows=rows, seeds=(), meta={})).count("of the upper reference") == 4
        assert report(Results(rows=rows[:1], seeds=(), meta={})).count("of the upper reference") == 0
