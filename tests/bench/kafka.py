"""The whole worker on real engines against a plain aiokafka loop with the same searches and writes, byte for byte."""

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from qexplorer.demo.workers import AUDIT, FLAGS, SUSPECTS, workers
from qexplorer.search.client import OpenSearchClient
from qexplorer.search.mapping import bank_body, discoveries_body
from qexplorer.settings import SearchSettings
from qexplorer.stack import running
from qexplorer.testing import a_flag
from tests.bench.site_of_bench import Bench
from tests.faults.proxies import SearchProxy

COUNT, WARM, BATCH = 9_000, 3_000, 64
RECORDED = "recorded"


async def worker_against_plain_loop() -> str:
    """Take the same flags through both, each with its own group and indices, and compare the rates."""
    now = datetime.now(UTC)
    with tempfile.TemporaryDirectory() as name, running() as engines:
        bench = Bench(engines, Path(name), batch_size=BATCH)
        await bench.prepare(COUNT)
        await bench.send(a_flag(f"s{n}", f"zaza{n}x lean{n}x today", flagged_at=now).to_bytes() for n in range(COUNT))
        # What the worker asks of OpenSearch is written down in a run of its own. It and another one warm OpenSearch: it
        # compiles its code while it works, and the first to run would pay for the other.
        async with Recorder(bench.url) as recorder:
            await worker(bench, Path(name), RECORDED, url=recorder.url)
        await worker(bench, Path(name), "warm")
        work = Work(requests=recorder.requests, records=await records(bench))
        rates = [
            (await worker(bench, Path(name), run), await plain_loop(bench, work, run))
            for run in ("first", "second", "third")
        ]
    return "; ".join(
        f"{COUNT} flags, {len(work.requests)} requests, batches of {BATCH}: worker {ours:.0f} flags/s, plain loop "
        f"{plain:.0f} flags/s: ratio {ours / plain:.2f} (goal ≥ 0.80)"
        for ours, plain in rates
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request (POST) of the worker to OpenSearch as it was sent."""

    path: str
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What the worker did for its flags: its requests in order, and its records by flag."""

    requests: Sequence[Request]
    records: Mapping[str, Sequence[tuple[str, bytes, bytes]]]


class Recorder(SearchProxy):
    """Passes requests to OpenSearch and keeps those that belong to flags."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.requests: list[Request] = []

    async def forward(self, request: web.Request) -> tuple[int, bytes]:
        """Keep a request with a body, and pass it on."""
        if request.method == "POST" and (body := await request.read()):
            self.requests.append(Request(path=request.path_qs, body=body))
        return await super().forward(request)


async def worker(bench: Bench, folder: Path, run: str, *, url: str = "") -> float:
    """Return the flags a second of one worker with a group and indices of its own, its first flags left out."""
    search = {"discoveries": f"{run}-discoveries", "bank": f"{run}-bank", "url": url or bench.url}
    settings = {
        **bench.settings,
        "kafka": {**bench.settings["kafka"], "group": f"worker-{run}"},
        "search": {**bench.settings["search"], **search},
        "worker": {**bench.settings["worker"], "run_id": run},
    }
    with workers(1, settings, folder):
        times = [(count, time.monotonic()) async for count in bench.results(COUNT, run)]
    first = next(entry for entry in times if entry[0] >= WARM)
    return (times[-1][0] - first[0]) / (times[-1][1] - first[1])


async def records(bench: Bench) -> dict[str, list[tuple[str, bytes, bytes]]]:
    """Read back what the worker published, by flag, so that the plain loop publishes no more and no less."""
    consumer = AIOKafkaConsumer(SUSPECTS, AUDIT, bootstrap_servers=bench.brokers, auto_offset_reset="earliest")
    await consumer.start()
    seen: dict[str, list[tuple[str, bytes, bytes]]] = {}
    while got := await consumer.getmany(timeout_ms=2000, max_records=5000):
        for message in (message for messages in got.values() for message in messages):
            value = orjson.loads(message.value)
            flag = value["seed"]["flag_id"] if message.topic == SUSPECTS else value["flag_id"]
            seen.setdefault(flag, []).append((message.topic, message.key, message.value))
    await consumer.stop()
    return seen


async def plain_loop(bench: Bench, work: Work, run: str) -> float:
    """Consume, search, write and produce as the worker does, with no decision in between; return flags a second."""
    consumer = AIOKafkaConsumer(
        FLAGS, bootstrap_servers=bench.brokers, group_id=f"plain-{run}", auto_offset_reset="earliest",
        enable_auto_commit=False, max_poll_records=BATCH,
    )  # fmt: skip
    producer = AIOKafkaProducer(
        bootstrap_servers=bench.brokers, acks="all", enable_idempotence=True, linger_ms=5, compression_type="zstd"
    )
    await consumer.start()
    await producer.start()
    done = asked = refused = 0
    first, started = 0, 0.0
    async with OpenSearchClient(SearchSettings(url=bench.url)) as client:
        for index, body in ((f"plain-{run}-discoveries", discoveries_body()), (f"plain-{run}-bank", bank_body())):
            await client.ensure_index(index, body)
        requests = [_renamed(request, f"plain-{run}") for request in work.requests]
        while done < COUNT:
            for messages in (await consumer.getmany(timeout_ms=1000, max_records=BATCH)).values():
                done += len(messages)
                # The requests belong to batches that were cut otherwise: as many as are due by the share of flags.
                due = len(requests) * done // COUNT
                for request in requests[asked:due]:
                    answer = await client.request("POST", request.path, request.body)
                    refused += bool(answer.get("errors"))
                asked = due
                ids = [orjson.loads(message.value)["flag_id"] for message in messages]
                await _produce(producer, [record for flag in ids for record in work.records.get(flag, [])])
            await consumer.commit()
            if not started and done >= WARM:
                first, started = done, time.monotonic()
    seconds = time.monotonic() - started
    await consumer.stop()
    await producer.stop()
    if refused:
        print(f"{refused} of {len(requests)} requests of the plain loop were refused in part")
    return (COUNT - first) / seconds


def _renamed(request: Request, name: str) -> Request:
    """Return the request for indices of another name."""
    path = request.path.replace(RECORDED, name)
    return Request(path=path, body=request.body.replace(RECORDED.encode(), name.encode()))


async def _produce(producer: Any, records: Sequence[tuple[str, bytes, bytes]]) -> None:
    for delivery in [await producer.send(topic, value=value, key=key) for topic, key, value in records]:
        await delivery
