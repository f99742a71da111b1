"""A results folder is written whole, read back as it was, and refused when it is something else."""

import json
from pathlib import Path
from typing import Any

import pytest

from qexplorer.errors import BadInputError, ConfigError
from qexplorer.evaluation.measure import group_row, seed_rows
from qexplorer.evaluation.pool import explore_group
from qexplorer.evaluation.results import (
    META,
    ROWS,
    Results,
    Row,
    hash_of,
    pick,
    read_results,
    require_new,
    write_results,
)
from qexplorer.evaluation.testing import GOODS, Scripted, small_case


def a_row(**fields: Any) -> Row:
    whole: dict[str, Any] = {
        "corpus": "small", "digest": "d1", "part": "dev", "protocol": "pool", "triage": True, "method": "m", "load": 3,
        "group": 0, "seeds": 20, "reviews": 200, "reviewed": 200, "finds_half": 5.0, "finds": 9.0, "campaigns": 8.0,
        "campaigns_most": 60, "searches": 3.0, "hits": 40.0, "zero_results": 0.0, "copies": 0.0, "distinct": 1.0,
        "words": 2.0, "breadth": 1.0, "tokens": 10.0, "model_ms": 5.0, "search_ms": 2.0, "replies": 0,
        "unparseable": 0, "kinds": "{}", "curve": [1, 2],
    }  # fmt: skip
    return Row(**{"seeds_hash": f"seeds of {fields.get('group', 0)}"} | whole | fields)


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def some() -> Results:
    case, index = small_case()
    result = await explore_group(case, index, Scripted(["nothing here", *GOODS]), number=0, load=5)
    return Results(
        rows=(group_row(case, result, "pool"),), seeds=tuple(seed_rows(case, result, "pool")), meta={"seed": 1}
    )


async def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    """Rows, seeds and configuration survive."""
    results = await some()
    write_results(results, tmp_path / "out")
    read = read_results(tmp_path / "out")
    assert read.rows == results.rows
    assert read.seeds == results.seeds
    assert read.meta["seed"] == 1
    assert names(tmp_path) == ["out"]


async def test_a_row_says_what_was_spent_and_found() -> None:
    """One seed of three ran five queries, one of which matched nothing; the others found all in the bank."""
    results = await some()
    (row,) = results.rows
    assert row.searches == pytest.approx(5 / 3)
    assert row.zero_results == 0.2
    assert row.words == pytest.approx(6 / 5)
    assert row.distinct == 1.0
    assert row.curve[-1] == row.finds == row.campaigns == row.campaigns_most
    assert len(row.curve) == row.reviews == 30
    assert row.finds_half == row.curve[14]
    assert row.seeds_hash == hash_of(seed.listing for seed in results.seeds)
    assert results.seeds[0].queries == ["nothing here", *GOODS]
    assert results.seeds[0].totals[0] == 0
    assert len(results.seeds[0].found) == row.finds


def test_results_are_never_overwritten(tmp_path: Path) -> None:
    """An opening of the test part that was written down stays."""
    with pytest.raises(ConfigError, match="exists already"):
        require_new(tmp_path)


def test_another_version_is_refused(tmp_path: Path) -> None:
    """Results of another format are not guessed at."""
    (tmp_path / META).write_text(json.dumps({"format": "qexplorer-evaluation-0"}))
    with pytest.raises(BadInputError, match="format qexplorer-evaluation-0 and not"):
        read_results(tmp_path)


@pytest.mark.parametrize("text", ["", "[1]", "nonsense"], ids=["empty", "list", "no json"])
def test_what_is_no_results_folder_is_refused(tmp_path: Path, text: str) -> None:
    """Neither a broken file nor some other JSON passes."""
    (tmp_path / META).write_text(text)
    with pytest.raises(BadInputError):
        read_results(tmp_path)


async def test_broken_rows_are_refused(tmp_path: Path) -> None:
    """A Parquet file that was cut off is one clear error."""
    write_results(await some(), tmp_path / "out")
    (tmp_path / "out" / ROWS).write_bytes(b"PAR1")
    with pytest.raises(BadInputError, match="is broken"):
        read_results(tmp_path / "out")


def test_rows_are_picked_by_value() -> None:
    """In order of corpus and group."""
    rows = [a_row(group=1), a_row(group=0), a_row(method="n")]
    assert [row.group for row in pick(rows, method="m")] == [0, 1]


async def test_half_of_the_reviews_are_half_of_the_budget() -> None:
    """Two reviews after each of three seeds are six, of which the first three are half."""
    case, index = small_case()
    result = await explore_group(case, index, Scripted(GOODS), number=0, load=4, reviews=2)
    row = group_row(case, result, "pool")
    assert (row.reviews, row.finds_half, row.finds) == (6, 3, 6)
