"""An evaluation that was cut off goes on: what was done is not done again, and nothing else changes."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from qexplorer.clock import SystemClock
from qexplorer.errors import ConfigError
from qexplorer.evaluation.case import CaseSettings
from qexplorer.evaluation.measure import group_row, seed_rows
from qexplorer.evaluation.names import Protocol
from qexplorer.evaluation.pool import explore_group
from qexplorer.evaluation.results import Row, SeedRow
from qexplorer.evaluation.run import Plan, run_corpus
from qexplorer.evaluation.testing import GOODS, Scripted, small_case, small_corpus
from qexplorer.evaluation.unfinished import Unfinished
from qexplorer.search.client import OpenSearchClient
from qexplorer.settings import SearchSettings
from qexplorer.stack import Endpoints

INPUTS = {"seed": 1}


class CutOffError(Exception):
    """The end of a run before its time."""


async def a_group() -> tuple[Row, list[SeedRow]]:
    case, index = small_case()
    result = await explore_group(case, index, Scripted(list(GOODS)), number=0, load=3)
    return group_row(case, result, "pool"), list(seed_rows(case, result, "pool"))


def left(folder: Path) -> list[Path]:
    return list(folder.iterdir())


def hidden(folder: Path) -> Path:
    (path,) = left(folder)
    return path


async def test_rows_are_read_as_they_were_kept(tmp_path: Path) -> None:
    """Group by group, and a group that was done is known by its corpus, protocol, method, triage, load and number."""
    row, seeds = await a_group()
    Unfinished(tmp_path / "out", INPUTS).add(row, seeds)
    again = Unfinished(tmp_path / "out", INPUTS)
    assert again.rows == [row]
    assert again.seeds == seeds
    assert again.has("small", "pool", row.method, triage=True, load=3, group=0)
    assert not again.has("small", "pool", row.method, triage=False, load=3, group=0)
    assert not again.has("small", "pool", row.method, triage=True, load=3, group=1)


async def test_a_line_that_was_cut_off_costs_its_group_alone(tmp_path: Path) -> None:
    """What is kept behind it is read again."""
    row, seeds = await a_group()
    first = Unfinished(tmp_path / "out", INPUTS)
    first.add(row, seeds)
    first.add(replace(row, group=1), seeds)
    path = hidden(tmp_path)
    path.write_bytes(path.read_bytes()[:-40])
    second = Unfinished(tmp_path / "out", INPUTS)
    assert [each.group for each in second.rows] == [0]
    second.add(replace(row, group=2), seeds)
    assert [each.group for each in Unfinished(tmp_path / "out", INPUTS).rows] == [0, 2]


async def test_other_inputs_do_not_go_on_with_it(tmp_path: Path) -> None:
    """The file is named, and how to begin anew; a run without a group, or whose file is removed, leaves nothing."""
    Unfinished(tmp_path / "out", {"seed": 2})
    Unfinished(tmp_path / "out", INPUTS).add(*await a_group())
    with pytest.raises(ConfigError, match=r"\.out\.unfinished is of an evaluation with other inputs"):
        Unfinished(tmp_path / "out", {"seed": 2})
    Unfinished(tmp_path / "out", INPUTS).remove()
    assert not left(tmp_path)


async def test_a_run_that_was_cut_off_goes_on(engines: Endpoints, tmp_path: Path) -> None:
    """Cut off at its third method: the first two are not run again, and the rows are those of a run in one go."""
    plan = Plan(
        case=CaseSettings(group_size=3, triage=False), methods=("own_spans", "whole_text", "tfidf"), extractors={},
        loads=(1, 3), triage=(False,), protocols=(Protocol.POOL, Protocol.PER_SEED), work=tmp_path / "work",
    )  # fmt: skip

    async def rows_of(name: str, say: Callable[[str], None]) -> list[Row]:
        rows = Unfinished(tmp_path / name, INPUTS)
        async with OpenSearchClient(SearchSettings(url=engines.opensearch)) as client:
            await run_corpus(small_corpus(), plan, client, SystemClock(), rows, say=say)
        return [replace(row, search_ms=0.0) for row in rows.rows]

    def cut(line: str) -> None:
        if line == "small, pool: tfidf":
            raise CutOffError

    with pytest.raises(CutOffError):
        await rows_of("cut", cut)
    said: list[str] = []
    resumed = await rows_of("cut", said.append)
    assert [line for line in said if ":" in line and "listings" not in line] == [
        "small, pool: tfidf", "small, per_seed: own_spans", "small, per_seed: whole_text", "small, per_seed: tfidf",
    ]  # fmt: skip
    assert resumed == await rows_of("whole", lambda _line: None)
    assert len(resumed) == 2 * 3 * 2 * len({row.group for row in resumed})


@pytest.mark.parametrize("kept", [0, 9])
async def test_a_run_that_was_cut_off_in_its_first_line_begins_anew(tmp_path: Path, kept: int) -> None:
    """It holds no group, and is no run with other inputs."""
    Unfinished(tmp_path / "out", INPUTS).add(*await a_group())
    path = hidden(tmp_path)
    path.write_bytes(path.read_bytes()[:kept])
    again = Unfinished(tmp_path / "out", INPUTS)
    assert again.rows == []
    again.add(*await a_group())
    assert len(Unfinished(tmp_path / "out", INPUTS).rows) == 1
