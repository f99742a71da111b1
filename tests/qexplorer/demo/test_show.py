"""What a reviewer is shown of a suspect."""

import pytest
from rich.text import Text

from qexplorer.demo.data import DemoData, Truth
from qexplorer.demo.show import examples
from qexplorer.search.dsl import MARK_END, MARK_START
from qexplorer.testing import a_flag
from schemas import Query, QuerySource, SeedFlag, Suspect


def suspect(*also: str, fragment: str = f"[b]{MARK_START}drop{MARK_END} tonight") -> Suspect:
    return Suspect(
        review_key="a",
        seed=SeedFlag.of(a_flag()),
        listing_id="a",
        listing_version="1",
        index="i",
        query=Query(id="q", text="night drop", normalised="night drop", source=QuerySource.GREEDY),
        also_found_by=also,
        highlights={"title": (fragment,)},
        dsl_hash="d",
        rank=3,
        triage_score=0.5,
        found_at=a_flag().flagged_at,
    )


DATA = DemoData(
    name="x",
    listings=(),
    seeds=(a_flag(),),
    history=(),
    unlabelled=(),
    truth={"a": Truth(kind="drugs/edibles", campaign="c")},
    refused=0,
)


def test_an_example_says_what_was_asked_why_it_matched_and_what_else_found_it() -> None:
    """Words of a listing are no markup of the terminal."""
    _, flagged, asked, also, judged = examples([suspect("[red]plug", "gummies")], DATA)
    assert "plug and play gummies" in flagged
    assert "night drop" in asked
    assert "«drop»" in asked
    assert r"\[b]" in asked
    assert also.endswith(r"found as well by: \[red]plug; gummies")
    assert judged.endswith("triage 0.50, rank 3, truth: drugs/edibles")


def test_where_one_query_found_it_no_other_is_named() -> None:
    """A line less."""
    assert len(examples([suspect()], DATA)) == 4


@pytest.mark.parametrize(
    ("fragment", "shown"),
    [
        pytest.param(f"{MARK_END}a {MARK_START}drop{MARK_END}", f"{MARK_END}a «drop»", id="a closing mark"),
        pytest.param(f"{MARK_START}a {MARK_START}drop{MARK_END}", f"{MARK_START}a «drop»", id="an opening mark"),
        pytest.param(f"a\\{MARK_START}drop{MARK_END}", "a\\«drop»", id="a backslash before a match"),
    ],
)
def test_a_listing_may_hold_the_marks_itself(fragment: str, shown: str) -> None:
    """Right-to-left text holds isolates, and no text may break the end of the demo."""
    asked = examples([suspect(fragment=fragment)], DATA)[2]
    assert Text.from_markup(asked).plain.endswith(f"and found: {shown}")
