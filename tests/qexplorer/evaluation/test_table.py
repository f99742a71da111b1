"""Tables of means over groups."""

from dataclasses import asdict

from qexplorer.evaluation.results import Row
from qexplorer.evaluation.table import COLUMNS, PER_SEED_COLUMNS, cells, markdown, tables
from tests.qexplorer.evaluation.test_results import a_row


def test_a_table_for_each_load_with_a_line_for_each_method() -> None:
    """Finds 4 and 6 over two groups are 5; two of eight replies did not parse."""
    rows = [a_row(finds=4.0, replies=4, unparseable=2), a_row(finds=6.0, group=1, replies=4), a_row(load=6)]
    first, second = tables(rows)
    assert (first.load, first.groups, second.load, second.groups) == (3, 2, 6, 1)
    head, (line,) = cells(first)
    assert head == COLUMNS
    assert line[0] == "m"
    assert line[2] == "5.0 [4.0, 6.0]"
    assert line[3] == "8.0 [8.0, 8.0] of 60"
    assert line[COLUMNS.index("parsed")] == "75.0%"
    assert markdown(first).count("\n") == 5


def test_rows_are_not_compared_with_each_other() -> None:
    """Thousands of rows with their curves would take minutes; methods keep the order in which they ran."""

    class Alone(Row):
        def __eq__(self, other: object) -> bool:
            raise AssertionError("compared")

        __hash__ = None  # type: ignore[assignment]

    rows = [Alone(**asdict(a_row(method=method, group=group))) for method in ("z", "a") for group in (1, 0)]
    (table,) = tables(rows)
    assert [line.method for line in table.lines] == ["z", "a"]


def test_seed_by_seed_precision_and_yield_come_first() -> None:
    """The same figures behind them."""
    (table,) = tables([a_row(protocol="per_seed", precision=0.5, share=0.25)])
    head, (line,) = cells(table)
    assert head == PER_SEED_COLUMNS
    assert len(head) == len(line)
    assert line[:3] == ["m", "0.50", "0.25"]
    assert "200 reviews a seed" in markdown(table)
