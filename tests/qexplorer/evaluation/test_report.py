"""A report holds tables, charts, kinds, the best and the worst seeds, and needs nothing beside it."""

import re
from dataclasses import replace

from qexplorer.evaluation.measure import group_row, seed_rows
from qexplorer.evaluation.pool import explore_group
from qexplorer.evaluation.report import equal_hits_table, html_report, kinds_table, markdown_report, survival_table
from qexplorer.evaluation.results import Results
from qexplorer.evaluation.testing import GOODS, Scripted, small_case
from tests.qexplorer.evaluation.test_results import a_row


async def some() -> Results:
    case, index = small_case()
    rows, seeds = [], []
    for name, queries in (("good", GOODS), ("<b>poor</b>", ["chair"])):
        for load in (1, 4):
            for number in range(len(case.groups)):
                result = await explore_group(case, index, Scripted(queries, name=name), number=number, load=load)
                rows.append(group_row(case, result, "pool"))
                seeds += seed_rows(case, result, "pool")
    rows += [replace(row, protocol="disguised") for row in rows]
    meta = {"openings": [{"corpus": "small", "release": "v1"}]}
    return Results(rows=tuple(rows), seeds=tuple(seeds), meta=meta)


async def test_a_page_needs_nothing_beside_it() -> None:
    """No script, picture, font or style from elsewhere; what a corpus or a method says is no markup."""
    page = html_report(await some())
    assert not re.search(r"<script|<link|<img|@import|url\(http", page)
    assert "<b>poor" not in page
    assert page.count("<svg") == page.count("</svg>") == 6
    for words in ("4 searches a seed", "The best and the worst seeds", "What survives disguise", "release v1"):
        assert words in page


async def test_markdown_has_a_table_for_each_load() -> None:
    """With its interval, and a line for each method."""
    text = markdown_report(await some())
    assert text.count("| method | finds at half |") == 4
    assert re.search(r"\| good \| \d+\.\d \[\d+\.\d, \d+\.\d\]", text)


def test_a_name_breaks_no_table() -> None:
    """A bar in the name of a kind or method is no column, a line break in one no row."""
    text = markdown_report(Results(rows=(a_row(method="a|b", kinds='{"arms|ammo": 1, "fakes\\nbags": 2}'),), seeds=()))
    assert "| method | arms\\|ammo | fakes bags |\n|---|---|---|\n| a\\|b | 1.0 | 2.0 |\n" in text


def test_kinds_are_counted_a_group() -> None:
    """3 and 1 finds of drugs in two groups are 2 a group; papers were found in one of them."""
    rows = [a_row(kinds='{"drugs": 3}'), a_row(group=1, kinds='{"drugs": 1, "papers": 1}')]
    assert kinds_table(rows) == (["method", "drugs", "papers"], [["m", "2.0", "0.5"]])


def test_equal_hits_are_told_where_a_text_match_ran() -> None:
    """Half of 8 campaigns at half of 40 hits, to 5 of a text match; a deep search is not cut short."""
    rows = [a_row(), a_row(method="whole_text", hits=20.0, campaigns=5.0), a_row(method="whole_text_300", hits=300.0)]
    assert equal_hits_table(rows) == [["m", "4.0", "5.0", "0.80 [0.80, 0.80]"]]
    assert equal_hits_table(rows[:1]) == []


def test_survival_is_told_where_both_protocols_ran() -> None:
    """30 of 40 finds survive; without the undisguised run nothing can be said."""
    rows = [a_row(finds=40.0), a_row(finds=30.0, protocol="disguised")]
    assert survival_table(rows) == [["m", "small", "yes", "3", "40.0", "30.0", "0.75 [0.75, 0.75]"]]
    assert survival_table(rows[1:]) == []


def test_survival_is_told_of_kinds_that_were_held_out() -> None:
    """There the undisguised run is called transfer."""
    rows = [a_row(finds=40.0, protocol="transfer"), a_row(finds=30.0, protocol="disguised")]
    assert [line[-1] for line in survival_table(rows)] == ["0.75 [0.75, 0.75]"]


def test_what_survives_of_nothing_has_no_interval() -> None:
    """A method that finds nothing undisguised keeps none of it, and nobody can say how surely."""
    rows = [a_row(finds=0.0), a_row(finds=0.0, protocol="disguised")]
    assert survival_table(rows)[0][-1] == "0.00 [no interval]"
