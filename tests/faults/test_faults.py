"""Some schedules of faults on real engines; `make faults` runs many more."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from qexplorer.stack import Endpoints, running
from tests.faults.checker import DRAIN_S
from tests.faults.run import Run
from tests.faults.schedule import KINDS, Blow, Schedule, draw

pytestmark = [pytest.mark.engines, pytest.mark.timeout(240)]
# Ten that have every kind of fault among them.
SEEDS = (0, 3, 4, 5, 6, 7, 8, 9, 10, 53)


# The broker is killed, so these engines are not those that other tests share.
@pytest.fixture(scope="module")
def breakable() -> Iterator[Endpoints]:
    with running() as endpoints:
        yield endpoints


@pytest.mark.parametrize("seed", SEEDS)
async def test_no_fault_costs_a_flag(breakable: Endpoints, tmp_path: Path, seed: int) -> None:
    """Every flag is answered or in the dead letters, once, in order and soon."""
    run = Run(draw(seed), breakable, tmp_path)
    verdict = await run.verdict()
    assert verdict.kept, f"{run.schedule.text()}: {verdict.text()}"


def test_every_kind_of_fault_is_among_them() -> None:
    assert {blow.kind for seed in SEEDS for blow in draw(seed).blows} == set(KINDS)


async def test_the_checker_finds_the_loss_of_an_unsafe_worker(breakable: Endpoints, tmp_path: Path) -> None:
    """Batches taken by `Stream.take` are acknowledged too early: a kill while search is slow loses some."""
    blows = (
        Blow(kind="search slow", at=2.0, lasts=8.0, which=0),
        Blow(kind="kill worker", at=7.0, lasts=1.0, which=0),
    )
    run = Run(
        Schedule(seed=-1, workers=1, batch_size=16, blows=blows), breakable, tmp_path, unsafe=True, give_up_s=DRAIN_S
    )
    verdict = await run.verdict()
    assert verdict.lost
