"""One, two and four workers on eight partitions; a burst; a skewed topic."""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import yaml
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from qexplorer.demo.workers import AUDIT, FLAGS
from qexplorer.stack import running
from qexplorer.stack.process import EngineProcess, stop_all
from qexplorer.testing import a_flag
from tests.bench.site_of_bench import Bench

ROOT = Path(__file__).parents[2]
PARTITIONS = 8
# As many as flags in a run: of a listing that was flagged before, the queries are in the bank and nothing is searched.
LISTINGS = 25_000
WARM_S = 60.0
SIZE = 8
SECONDS = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a fleet did: flags a second, processor seconds a second of each worker, the machine's share (0 to 1)."""

    workers: int
    rate: float
    worker_cpu: Sequence[float]
    machine: float


async def scale() -> str:
    """Return the table: a simulated inference of 50 ms, and of 250 ms, for each batch of eight."""
    lines = [f"8 partitions, batches of {SIZE}, real search, {os.cpu_count()} cores, {SECONDS:.0f} s each"]
    with tempfile.TemporaryDirectory() as name, running() as engines:
        bench = Bench(engines, Path(name), batch_size=SIZE)
        await bench.prepare(LISTINGS, partitions=PARTITIONS)
        # OpenSearch and Kafka cost several times as much until the JVM has compiled what they do.
        await _fleet(bench, Path(name), 4, 0.01, seconds=WARM_S)
        for engine_s in (0.05, 0.25):
            found = [await _fleet(bench, Path(name), count, engine_s) for count in (1, 2, 4)]
            lines += [
                f"inference {engine_s * 1000:.0f} ms, {each.workers} workers: {each.rate:.0f} flags/s, "
                f"ratio {each.rate / found[0].rate:.2f}; processor of each worker "
                f"{', '.join(f'{cpu:.2f}' for cpu in each.worker_cpu)} cores, machine {each.machine:.0%}"
                for each in found
            ]
    return "\n          ".join(lines)


async def burst() -> str:
    """Return how long 50,000 flags at once take two workers."""
    count = 50_000
    with tempfile.TemporaryDirectory() as name, running() as engines:
        bench = Bench(engines, Path(name), batch_size=64)
        await bench.prepare(count, partitions=PARTITIONS)
        async with _workers(bench, Path(name), 2, 0.0, "burst"):
            started = time.monotonic()
            await bench.send(_flags(count, "burst"))
            async for _ in bench.results(count, "burst"):
                pass
            seconds = time.monotonic() - started
    return f"{count} flags at once, 2 workers: all answered {seconds:.0f} s after the first ({count / seconds:.0f}/s)"


async def skew() -> str:
    """Return how long flags of other partitions wait beside a flooded one."""
    flood = 10_000
    with tempfile.TemporaryDirectory() as name, running() as engines:
        bench = Bench(engines, Path(name), batch_size=SIZE)
        await bench.prepare(LISTINGS, partitions=PARTITIONS)
        took = await _skewed(bench, Path(name), flood)
    return (
        f"one partition flooded with {flood} flags, a minute's work and more; one worker, 50 ms for each batch of "
        f"{SIZE}: a flag in another partition is answered after {took[len(took) // 2]:.1f} s (median of {len(took)}), "
        f"{took[-1]:.1f} s at the latest"
    )


async def _fleet(bench: Bench, folder: Path, count: int, engine_s: float, *, seconds: float = SECONDS) -> Measured:
    run = f"w{count}-{engine_s * 1000:.0f}"
    async with _workers(bench, folder, count, engine_s, run) as processes:
        # More than can be answered in the time: the fleet never waits for flags.
        await bench.send(_flags(min(LISTINGS, int(SIZE / engine_s * count * seconds * 1.6)), run))
        seen: list[tuple[float, int]] = []
        began: tuple[list[float], float] | None = None
        psutil.cpu_percent()
        async for answered in bench.results(10**9, run):
            now = time.monotonic()
            for process in processes:
                if not process.is_running:
                    raise RuntimeError(process.output()[-2000:])
            if not seen and answered < 50 * count:
                continue
            if began is None:
                began = ([_cpu(process) for process in processes], now)
                psutil.cpu_percent()
            seen.append((now, answered))
            if now - began[1] >= seconds:
                break
        assert began is not None
        took = seen[-1][0] - seen[0][0]
        used = [(_cpu(process) - before) / took for process, before in zip(processes, began[0], strict=True)]
        return Measured(
            workers=count,
            rate=(seen[-1][1] - seen[0][1]) / took,
            worker_cpu=used,
            machine=psutil.cpu_percent() / 100,
        )


@asynccontextmanager
async def _workers(
    bench: Bench, folder: Path, count: int, engine_s: float, run: str
) -> AsyncIterator[list[EngineProcess]]:
    settings: dict[str, Any] = {
        **bench.settings,
        "kafka": {**bench.settings["kafka"], "group": f"scale-{run}"},
        "search": {**bench.settings["search"], "discoveries": f"{run}-discoveries", "bank": f"{run}-bank"},
        "worker": {**bench.settings["worker"], "run_id": run, "batch_wait_s": 0.1},
    }
    config = folder / f"{run}.yaml"
    config.write_text(yaml.safe_dump(settings))
    processes = [slow_worker(config, f"{run}-{number}", engine_s, "--log-level", "warning") for number in range(count)]
    try:
        yield processes
    finally:
        await asyncio.to_thread(stop_all, processes)


def slow_worker(config: Path, name: str, engine_s: float, *options: str, **environment: str) -> EngineProcess:
    """Start the real worker with an engine that takes a set time for a batch; its log is beside the settings."""
    words = [f"{key}={value}" for key, value in {"PYTHONPATH": ROOT, "ENGINE_S": engine_s, **environment}.items()]
    command = ["/usr/bin/env", *words, sys.executable, "-m", "tests.bench.slow_worker", "run", "--config", str(config)]
    command += ["--health-port", "0", *options]
    return EngineProcess(name, command, log=config.parent / f"{name}.log", folder=config.parent)


def _flags(count: int, run: str) -> Iterator[bytes]:
    now = datetime.now(UTC)
    for number in range(count):
        yield a_flag(f"s{number}", f"zaza{number}x lean{number}x", flag_id=f"{run}-{number}", flagged_at=now).to_bytes()


def _cpu(process: EngineProcess) -> float:
    """Return the processor seconds of a worker and its inference process."""
    children = psutil.Process(process.guard_pid).children(recursive=True)
    return sum(sum(child.cpu_times()[:2]) for child in children)


async def _skewed(bench: Bench, folder: Path, flood: int) -> list[float]:
    """Flood one partition, then send a flag a second into another; return how long those took, sorted."""
    producer = AIOKafkaProducer(bootstrap_servers=bench.brokers, linger_ms=20)
    await producer.start()
    for value in _flags(flood, "flood"):
        await producer.send(FLAGS, value=value, partition=0)
    await producer.flush()
    consumer: Any = AIOKafkaConsumer(AUDIT, bootstrap_servers=bench.brokers, auto_offset_reset="latest")
    await consumer.start()
    took: list[float] = []
    async with _workers(bench, folder, 1, 0.05, "skewed"):
        await _answer_to(consumer, "flood-")
        for number in range(10):
            name = f"other-{number}"
            flag = a_flag(name, f"zaza{number}x lean{number}x", flag_id=name, flagged_at=datetime.now(UTC))
            started = time.monotonic()
            await producer.send_and_wait(FLAGS, value=flag.to_bytes(), partition=5)
            await _answer_to(consumer, name)
            took.append(time.monotonic() - started)
    await consumer.stop()
    await producer.stop()
    return sorted(took)


async def _answer_to(consumer: Any, flag: str) -> None:
    """Wait for the answer to a flag whose id begins so."""
    wanted = f'"flag_id":"{flag}'.encode()
    while True:
        for messages in (await consumer.getmany(timeout_ms=100, max_records=5000)).values():
            if any(dict(m.headers)["type"] == b"FlagResult" and wanted in m.value for m in messages):
                return
