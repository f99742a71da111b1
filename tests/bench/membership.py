"""Workers restarted one by one under load, as dynamic and as static members of their group."""

import asyncio
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import yaml
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from qexplorer.demo.workers import AUDIT, FLAGS
from qexplorer.stack import running
from qexplorer.stack.process import EngineProcess
from qexplorer.testing import a_flag
from tests.bench.scale import slow_worker
from tests.bench.site_of_bench import Bench

WORKERS, PARTITIONS, RATE = 3, 8, 20
FIRST_S, BETWEEN_S, LAST_S = 10.0, 15.0, 25.0
# A static member must be back within this time, and its partitions stand still for as long when it is not.
SESSIONS = {"dynamic, session 12 s": 0.0, "static, session 12 s": 12.0, "static, session 45 s": 45.0}


@dataclass(slots=True)
class Seen:
    """When flags were sent and first answered, in seconds, and how many results came in all."""

    sent: dict[str, float] = field(default_factory=dict)
    answered: dict[str, float] = field(default_factory=dict)
    results: int = 0


async def rolling_restart() -> str:
    """Restart each of three workers under load, then kill one; return rebalances and waits for each membership."""
    lines = [
        f"{WORKERS} workers, {PARTITIONS} partitions, {RATE} flags/s; all restarted in turn, then one killed for good"
    ]
    for name, session_s in SESSIONS.items():
        with tempfile.TemporaryDirectory() as folder, running() as engines:
            bench = Bench(engines, Path(folder), batch_size=8)
            await bench.prepare(2_000, partitions=PARTITIONS)
            lines.append(f"{name}: {await _rolled(bench, Path(folder), session_s)}")
    return "\n          ".join(lines)


async def _rolled(bench: Bench, folder: Path, session_s: float) -> str:
    config = folder / "settings.yaml"
    config.write_text(yaml.safe_dump(bench.settings))
    fleet = [_start(config, number, session_s, 0) for number in range(WORKERS)]
    gone: list[EngineProcess] = []
    seen = Seen()
    running_tasks: list[asyncio.Task[None]] = []
    try:
        await _assigned(fleet)
        calm = _rebalances(fleet)
        running_tasks = [asyncio.create_task(_read(bench, seen)), asyncio.create_task(_send(bench, seen))]
        await asyncio.sleep(FIRST_S)
        for number in range(WORKERS):
            await asyncio.to_thread(fleet[number].stop)
            gone.append(fleet[number])
            fleet[number] = _start(config, number, session_s, 1)
            await asyncio.sleep(BETWEEN_S)
        rolled, waits = _rebalances([*gone, *fleet]) - calm, _waits(seen)
        before = set(seen.sent)
        killed = time.time()
        psutil.Process(fleet[-1].guard_pid).children()[0].kill()
        await asyncio.sleep(LAST_S + session_s)
        running_tasks[1].cancel()
        await asyncio.sleep(5.0)
        late = max(seen.answered.get(flag, time.time()) - at for flag, at in seen.sent.items() if flag not in before)
        lost = len(seen.sent) - len(seen.answered)
        return (
            f"{rolled} assignments in the roll-out, a flag waits {waits[0]:.1f} s (median), {waits[1]:.1f} s (99 %), "
            f"{waits[2]:.1f} s (most); {seen.results - len(seen.answered)} answered twice, {lost} not at all; "
            f"after the kill a flag waits {late:.0f} s at the most (it was {time.time() - killed:.0f} s ago)"
        )
    finally:
        for task in running_tasks:
            task.cancel()
        for worker in fleet:
            await asyncio.to_thread(worker.stop)


def _start(config: Path, number: int, session_s: float, life: int) -> EngineProcess:
    return slow_worker(config, f"worker-{number}-{life}", 0.05, MEMBER=f"worker-{number}", SESSION_S=str(session_s))


def _rebalances(workers: list[EngineProcess]) -> int:
    return sum(worker.output().count('"event": "assigned"') for worker in workers)


async def _assigned(workers: list[EngineProcess]) -> None:
    async with asyncio.timeout(60):
        while not all('"event": "assigned"' in worker.output() for worker in workers):  # noqa: ASYNC110 - a log
            await asyncio.sleep(0.1)
    # Those that came first have given some up since.
    await asyncio.sleep(5.0)


async def _send(bench: Bench, seen: Seen) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bench.brokers)
    await producer.start()
    try:
        for number in range(10**9):
            flag = a_flag(
                f"s{number % 2000}", f"zaza{number}x lean", flag_id=f"f{number}", flagged_at=datetime.now(UTC)
            )
            seen.sent[f"f{number}"] = time.time()
            await producer.send_and_wait(FLAGS, value=flag.to_bytes(), partition=number % PARTITIONS)
            await asyncio.sleep(1 / RATE)
    finally:
        await producer.stop()


async def _read(bench: Bench, seen: Seen) -> None:
    consumer: Any = AIOKafkaConsumer(AUDIT, bootstrap_servers=bench.brokers, auto_offset_reset="earliest")
    await consumer.start()
    try:
        async for message in consumer:
            if dict(message.headers)["type"] == b"FlagResult":
                flag = message.value.split(b'"flag_id":"', 1)[1].split(b'"', 1)[0].decode()
                seen.results += 1
                seen.answered.setdefault(flag, message.timestamp / 1000)
    finally:
        await consumer.stop()


def _waits(seen: Seen) -> tuple[float, float, float]:
    waits = sorted(seen.answered.get(flag, time.time()) - at for flag, at in seen.sent.items())
    return statistics.median(waits), waits[int(0.99 * len(waits))], waits[-1]
