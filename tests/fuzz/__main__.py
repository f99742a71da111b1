"""Hostile messages through one real worker on real Kafka and OpenSearch: `python -m tests.fuzz --count 100000`.

Exits with 1 when a message is not accounted for exactly once, when the worker or its model's process was started again,
or when its memory grew.
"""

import argparse
import asyncio
import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import typer
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from qexplorer.demo.workers import AUDIT, FLAGS, WorkerProcess, workers
from qexplorer.stack import Endpoints, running
from schemas import DeadLetter, FlagResult, WireError
from tests.bench.memory import rss
from tests.bench.site_of_bench import Bench
from tests.fuzz.messages import Fate, Fuzzed, fuzzed

DEAD_LETTERS = "flagged-listings-dead-letters"
LISTINGS = 500
# Small, so that many messages can be too large without filling the disk.
MOST_BYTES = 100_000
# What the second half may use beyond the first.
MOST_GROWTH = 0.10
# Nothing for so long means that the worker is stuck.
SILENCE_S = 120.0

Place = tuple[int, int]


@dataclass(slots=True)
class Books:
    """What was sent where, and what came of it."""

    sent: dict[Place, tuple[str, Fate]] = field(default_factory=dict)
    results: Counter[Place] = field(default_factory=Counter)
    letters: dict[Place, list[str]] = field(default_factory=dict)

    @property
    def done(self) -> int:
        """How many positions have come back."""
        return len(self.results.keys() | self.letters.keys())

    def wrong(self) -> list[str]:
        """Name each message that was lost, came back twice, or met the wrong fate."""
        found: list[str] = []
        for place, (name, fate) in self.sent.items():
            answered, set_aside = self.results[place], len(self.letters.get(place, ()))
            if answered + set_aside != 1:
                found.append(f"{name} at {place}: {answered} results and {set_aside} dead letters")
            elif fate is not Fate.EITHER and fate is not (Fate.ANSWERED if answered else Fate.SET_ASIDE):
                found.append(f"{name} at {place} was {'answered' if answered else self.letters[place]}")
        found += [
            f"{place} was never sent" for place in self.results.keys() | self.letters.keys() if place not in self.sent
        ]
        return found


async def send(brokers: str, books: Books, *, count: int, seed: int) -> None:
    """Send the messages and note where each stands."""
    producer = AIOKafkaProducer(bootstrap_servers=brokers, linger_ms=20)
    await producer.start()
    waiting: list[tuple[Any, str, Fate]] = []
    try:
        for message in fuzzed(seed, count, flagged_at=datetime.now(UTC)):
            stored = await producer.send(FLAGS, value=message.value, key=_key(message), headers=list(message.headers))
            waiting.append((stored, message.name, message.fate))
            if len(waiting) >= 200:
                await _note(books, waiting)
                # Generating is work for the processor; the reader must have its turn.
                await asyncio.sleep(0)
        await _note(books, waiting)
    finally:
        await producer.stop()


def _key(message: Fuzzed) -> bytes | None:
    """Return the key; this producer, unlike others, refuses to send neither key nor value."""
    return b"" if message.key is None and message.value is None else message.key


async def _note(books: Books, waiting: list[tuple[Any, str, Fate]]) -> None:
    for stored, name, fate in waiting:
        place = await stored
        books.sent[place.partition, place.offset] = name, fate
    waiting.clear()


async def read(brokers: str, books: Books, count: int) -> AsyncIterator[int]:
    """Read what comes back; yield how many positions have, until all have or nothing more comes."""
    consumer = AIOKafkaConsumer(AUDIT, DEAD_LETTERS, bootstrap_servers=brokers, auto_offset_reset="earliest")
    await consumer.start()
    try:
        last = time.monotonic()
        while books.done < count and time.monotonic() - last < SILENCE_S:
            for messages in (await consumer.getmany(timeout_ms=500, max_records=2000)).values():
                for message in messages:
                    _take(books, message)
                    last = time.monotonic()
            yield books.done
        # A second answer would come soon after the last first one.
        for messages in (await consumer.getmany(timeout_ms=3000)).values():
            for message in messages:
                _take(books, message)
    finally:
        await consumer.stop()


def _take(books: Books, message: Any) -> None:
    headers = dict(message.headers)
    if message.topic == DEAD_LETTERS:
        with contextlib.suppress(WireError):
            letter = DeadLetter.from_bytes(headers["qx-dead-letter"])
            place = letter.position.partition, letter.position.offset
            books.letters.setdefault(place, []).append(f"{letter.reason.value}: {letter.error[:100]}")
    elif headers.get("type") == b"FlagResult":
        position = FlagResult.from_bytes(message.value).position
        if position is not None:
            books.results[position.partition, position.offset] += 1


def settings_of(bench: Bench) -> dict[str, Any]:
    """Return settings under which dead letters never pause the fleet."""
    bench.settings["worker"] |= {
        "max_message_bytes": MOST_BYTES,
        "dead_letters_in_a_row": 10**9,
        "dead_letter_share": 1.0,
    }
    return bench.settings


async def run(engines: Endpoints, folder: Path, *, count: int, seed: int) -> bool:
    """Send, wait, and print what happened; return whether all is as promised."""
    bench, books = Bench(engines, folder, batch_size=64), Books()
    await bench.prepare(LISTINGS)
    memory: list[tuple[int, int]] = []
    with workers(1, settings_of(bench), folder) as (worker,):
        started = time.monotonic()
        sending = asyncio.create_task(send(bench.brokers, books, count=count, seed=seed))
        async for done in read(bench.brokers, books, count):
            memory.append((done, rss(worker.process.guard_pid)))
            if len(memory) % 40 == 0:
                typer.echo(f"{time.monotonic() - started:.0f} s: {len(books.sent)} sent, {done} back", err=True)
            if sending.done():
                sending.result()
            if not worker.process.is_running:
                typer.echo(f"the worker ended:\n{worker.process.output()[-3000:]}")
                break
        seconds = time.monotonic() - started
        sending.cancel()
        status = await _status(worker)
        starts = worker.process.output().count('"event": "ready to consume"')
    return report(books, memory, count=count, seconds=seconds, starts=starts, status=status)


async def _status(worker: WorkerProcess) -> dict[str, Any]:
    with contextlib.suppress(aiohttp.ClientError):
        async with aiohttp.ClientSession() as http, http.get(f"{worker.url}/status") as answer:
            found: dict[str, Any] = await answer.json()
            return found
    return {}


def report(
    books: Books,
    memory: list[tuple[int, int]],
    *,
    count: int,
    seconds: float,
    starts: int,
    status: dict[str, Any],
) -> bool:
    """Print the figures; return whether nothing is wrong."""
    wrong = books.wrong()
    reasons = Counter(reason.partition(":")[0] for each in books.letters.values() for reason in each)
    early = [size for done, size in memory if 0.1 * count <= done <= 0.5 * count] or [0]
    late = [size for done, size in memory if done >= 0.9 * count] or [0]
    growth = statistics.median(late) / max(1.0, statistics.median(early)) - 1
    restarts = status.get("inference_restarts", -1)
    figures = {
        "sent": len(books.sent),
        "answered": len(books.results),
        "set aside": len(books.letters),
        "reasons": dict(reasons),
        "wrong": len(wrong),
        "seconds": round(seconds),
        "a second": round(len(books.sent) / seconds),
        "starts of the worker": starts,
        "restarts of the model's process": restarts,
        "MB early": round(statistics.median(early) / 2**20),
        "MB late": round(statistics.median(late) / 2**20),
        "MB at most": round(max((size for _, size in memory), default=0) / 2**20),
        "growth": f"{growth:+.1%}",
    }
    typer.echo(json.dumps(figures, indent=1))
    for line in wrong[:20]:
        typer.echo(f"wrong: {line}")
    return not wrong and len(books.sent) == count and starts == 1 and restarts == 0 and growth <= MOST_GROWTH


def main() -> None:
    """Run it once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, running() as engines:
        good = asyncio.run(run(engines, Path(name), count=arguments.count, seed=arguments.seed))
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
