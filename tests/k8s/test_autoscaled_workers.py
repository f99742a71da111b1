"""The autoscaler's decisions carried out on real workers, Kafka and OpenSearch, with the clock 40 times faster."""

import asyncio
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from qexplorer.demo.workers import WorkerProcess, workers
from qexplorer.llm.fake_openai import FakeOpenAIServer
from qexplorer.settings import Settings
from qexplorer.stack import Endpoints
from tests.integration.site import Seen, Site, flag, until_ready
from tests.k8s.autoscaler import Autoscaler, Lag, turns
from tests.k8s.test_autoscaler import RULES
from worker.topics import group_lag

PARTITIONS, BURST, WITHIN_S = 6, 500, 100.0
# A worker answers at most 20 flags a second: one at a time, 50 ms each.
REPLY_S = 0.05


class Pool:
    """Workers that come and go; the one that came last goes first, and is waited for in the background."""

    def __init__(self, settings: Mapping[str, Any], folder: Path) -> None:
        self._settings, self._folder, self._numbers = settings, folder, count()
        self._running: list[tuple[ExitStack, WorkerProcess]] = []
        self._leaving: list[asyncio.Task[None]] = []
        self.left: list[WorkerProcess] = []

    @property
    def first(self) -> WorkerProcess:
        return self._running[0][1]

    def scale(self, replicas: int) -> None:
        """Start or stop as many as it takes."""
        while len(self._running) < replicas:
            folder = self._folder / f"replica-{next(self._numbers)}"
            folder.mkdir()
            stack = ExitStack()
            (worker,) = stack.enter_context(workers(1, self._settings, folder))
            self._running.append((stack, worker))
        while len(self._running) > replicas:
            stack, worker = self._running.pop()
            self.left.append(worker)
            self._leaving.append(asyncio.create_task(asyncio.to_thread(stack.close)))

    async def close(self) -> None:
        """Stop all and wait for them."""
        self.scale(0)
        await asyncio.gather(*self._leaving)


@pytest.fixture
def slow_model() -> Iterator[str]:
    """Serve a model that takes its time; the listing's own words are searched whatever it says."""
    idle = threading.Event()

    def answer(messages: Sequence[dict[str, str]], _: int) -> str:
        idle.wait(REPLY_S)
        return messages[-1]["content"].split()[-1]

    with FakeOpenAIServer(answer=answer) as server:
        yield server.base_url


async def trickle(site: Site, sent: list[str], stop: asyncio.Event) -> None:
    """Send a burst, and then a few flags at a time until told to stop, so that workers leave with work in hand."""
    number = BURST
    await site.send(*(flag(n) for n in range(BURST)))
    sent += [f"flag-seed{n}" for n in range(BURST)]
    while not stop.is_set():
        await site.send(flag(number), flag(number + 1))
        sent += [f"flag-seed{number}", f"flag-seed{number + 1}"]
        number += 2
        await asyncio.wait([asyncio.ensure_future(stop.wait())], timeout=0.4)


async def autoscale(pool: Pool, settings: Settings, seen: Seen, sent: Sequence[str]) -> list[int]:
    """Let the autoscaler rule until it has been through the burst and is back at one worker; return its course."""
    rules = replace(RULES, most=3, lag_threshold=100).faster(40)
    lag, scaler = Lag(rules), Autoscaler(rules, now=time.monotonic(), replicas=1)
    course, metric, looked, decided = [1], 0, 0.0, 0.0
    while not (max(course) > 1 and course[-1] == 1 and len(sent) > BURST):
        await seen.read()
        if time.monotonic() - looked >= rules.poll_s:
            places = await group_lag(settings)
            committed, ends = ({place: pair[end] for place, pair in places.items()} for end in (0, 1))
            metric, looked = lag.measure(committed, ends), time.monotonic()
        if time.monotonic() - decided >= rules.sync_s:
            decided = time.monotonic()
            course.append(scaler.decide(decided, course[-1], metric))
            pool.scale(course[-1])
    return course


async def test_nothing_is_lost_while_workers_come_and_go(engines: Endpoints, tmp_path: Path, slow_model: str) -> None:
    """A burst makes one worker three and three one again; every flag has one result, and who left had drained."""
    site = Site(engines, tmp_path, {"kind": "openai", "base_url": slow_model, "model": "fake", "concurrency": 1})
    await site.prepare(partitions=PARTITIONS)
    settings = Settings.model_validate({**site.settings, "policies": Path(site.settings["policies"])})
    sent: list[str] = []
    stop = asyncio.Event()
    pool = Pool(site.settings, tmp_path)
    try:
        pool.scale(1)
        await until_ready(pool.first)
        async with site.reading() as seen, asyncio.TaskGroup() as tasks, asyncio.timeout(WITHIN_S):
            tasks.create_task(trickle(site, sent, stop))
            course = await autoscale(pool, settings, seen, sent)
            stop.set()
            await asyncio.gather(*pool._leaving)
            await seen.until_answered(set(sent))
    finally:
        stop.set()
        await pool.close()
    assert max(course) == 3
    assert turns(course) == 1
    results = {result.result_id: result.flag_id for result in seen.results}
    assert sorted(results.values()) == sorted(sent)
    assert not seen.letters
    assert len(pool.left) >= 2
    assert all('"event": "drained"' in worker.process.output() for worker in pool.left[:2])
