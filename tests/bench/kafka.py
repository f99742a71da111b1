"""The whole worker on real engines against a plain aiokafka loop with the same searches and writes."""

import asyncio
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from qexplorer.demo.workers import AUDIT, FLAGS, SUSPECTS, workers
from qexplorer.normalise import normalise
from qexplorer.search.backend import Document, SearchRequest, WriteMode
from qexplorer.search.client import OpenSearchClient
from qexplorer.search.mapping import bank_body, discoveries_body
from qexplorer.settings import SearchSettings
from qexplorer.stack import running
from qexplorer.testing import a_flag
from schemas import FlagResult, QueryAudit, Suspect
from tests.bench.site_of_bench import Bench

COUNT, WARM, BATCH = 6_000, 3_000, 64


async def worker_against_plain_loop() -> str:
    """Take the same flags through both, each with its own group and indices, and compare the rates."""
    now = datetime.now(UTC)
    with tempfile.TemporaryDirectory() as name, running() as engines:
        bench = Bench(engines, Path(name), batch_size=BATCH)
        await bench.prepare(COUNT)
        await bench.send(a_flag(f"s{n}", f"zaza{n}x lean{n}x today", flagged_at=now).to_bytes() for n in range(COUNT))
        # OpenSearch compiles its code while it works: the first to run meets it cold and pays for the other. The
        # second pass of each meets it warm.
        rates: list[tuple[float, float]] = []
        done: Shape | None = None
        for run in ("first", "second"):
            ours = await worker(bench, Path(name), run)
            done = done or await shape(bench)
            rates.append((ours, await plain_loop(bench, done, run)))
    (ours, plain), (again, plain_again) = rates
    return (
        f"{COUNT} flags, batches of {BATCH}: worker {ours:.0f} flags/s, plain loop {plain:.0f} flags/s: "
        f"ratio {ours / plain:.2f} (goal ≥ 0.80); once more, with OpenSearch warm for both: {again:.0f} and "
        f"{plain_again:.0f}, ratio {again / plain_again:.2f}"
    )


async def worker(bench: Bench, folder: Path, run: str) -> float:
    """Return the flags a second of one worker with a group and indices of its own, its first flags left out."""
    settings = {
        **bench.settings,
        "kafka": {**bench.settings["kafka"], "group": f"worker-{run}"},
        "search": {**bench.settings["search"], "discoveries": f"{run}-discoveries", "bank": f"{run}-bank"},
        "worker": {**bench.settings["worker"], "run_id": run},
    }
    with workers(1, settings, folder):
        times = [(count, time.monotonic()) async for count in bench.results(COUNT, run)]
    first = next(entry for entry in times if entry[0] >= WARM)
    return (times[-1][0] - first[0]) / (times[-1][1] - first[1])


class Shape:
    """What the worker did for its flags, by flag: the queries it ran and the records it wrote."""

    def __init__(self) -> None:
        self.queries: dict[str, list[tuple[str, bool]]] = {}
        self.records: dict[str, list[tuple[str, bytes, bytes]]] = {}
        self.suspects: dict[str, list[Suspect]] = {}


async def shape(bench: Bench) -> Shape:
    """Read back what the worker wrote, so that the plain loop does no more and no less."""
    consumer = AIOKafkaConsumer(SUSPECTS, AUDIT, bootstrap_servers=bench.brokers, auto_offset_reset="earliest")
    await consumer.start()
    seen = Shape()
    while got := await consumer.getmany(timeout_ms=2000, max_records=5000):
        for message in (message for messages in got.values() for message in messages):
            kind = dict(message.headers)["type"]
            if kind == b"Suspect":
                suspect = Suspect.from_bytes(message.value)
                flag = suspect.seed.flag_id
                seen.suspects.setdefault(flag, []).append(suspect)
            elif kind == b"QueryAudit":
                audit = QueryAudit.from_bytes(message.value)
                flag = audit.flag_id
                if audit.searches:
                    seen.queries.setdefault(flag, []).append((audit.query.text, audit.query.source == "whole_text"))
            else:
                flag = FlagResult.from_bytes(message.value).flag_id
            seen.records.setdefault(flag, []).append((message.topic, message.key, message.value))
    await consumer.stop()
    return seen


async def plain_loop(bench: Bench, done: Shape, run: str) -> float:
    """Consume, search, write and produce as the worker does, with no decision in between; return flags a second."""
    consumer = AIOKafkaConsumer(
        FLAGS, bootstrap_servers=bench.brokers, group_id=f"plain-{run}", auto_offset_reset="earliest",
        enable_auto_commit=False, max_poll_records=BATCH,
    )  # fmt: skip
    producer = AIOKafkaProducer(
        bootstrap_servers=bench.brokers, acks="all", enable_idempotence=True, linger_ms=5, compression_type="gzip"
    )
    await consumer.start()
    await producer.start()
    count, first, started = 0, 0, 0.0
    async with OpenSearchClient(SearchSettings(url=bench.url)) as client:
        store, bank = f"plain-{run}-discoveries", f"plain-{run}-bank"
        for index, body in ((store, discoveries_body()), (bank, bank_body())):
            await client.ensure_index(index, body)
        while count < COUNT:
            for messages in (await consumer.getmany(timeout_ms=1000, max_records=BATCH)).values():
                ids = [orjson.loads(message.value)["flag_id"] for message in messages]
                await _batch(client, producer, ids, done, store, bank)
                count += len(messages)
            await consumer.commit()
            if not started and count:
                first, started = count, time.monotonic()
    seconds = time.monotonic() - started
    await consumer.stop()
    await producer.stop()
    return (COUNT - first) / seconds


async def _batch(
    client: OpenSearchClient, producer: Any, ids: Sequence[str], done: Shape, store: str, bank: str
) -> None:
    now = datetime.now(UTC).isoformat()
    await asyncio.gather(client.find(store, "item", ids, 1000), client.get(store, ids))
    flagged = [_doc(flag, now) for flag in ids]
    await client.write(store, flagged, WriteMode.REPLACE)
    queries = [(flag, text) for flag in ids for text, _ in done.queries.get(flag, [])]
    await client.get(bank, [f"{flag}-{text}" for flag, text in queries])
    await client.search([SearchRequest(index="listings", text=text, normalised=normalise(text)) for _, text in queries])
    keys = [suspect.review_key for flag in ids for suspect in done.suspects.get(flag, [])]
    await client.get(store, keys)
    await client.find(store, "bands", [band for key in keys for band in _bands(key)], 1000)
    await client.write(store, [_doc(key, now) for key in keys], WriteMode.CREATE)
    records = [record for flag in ids for record in done.records.get(flag, [])]
    await _produce(producer, [record for record in records if record[0] == SUSPECTS])
    await client.write(store, [_doc(key, now) for key in keys], WriteMode.REPLACE)
    await _produce(producer, [record for record in records if record[0] == AUDIT])
    entries = [
        Document(id=f"{flag}-{text}", source={"policy": "drugs", "normalised": text, "last_run_at": now, "runs": 1})
        for flag, text in queries
    ]
    await asyncio.gather(
        client.write(bank, entries, WriteMode.REPLACE), client.write(store, flagged, WriteMode.REPLACE)
    )


async def _produce(producer: Any, records: Sequence[tuple[str, bytes, bytes]]) -> None:
    for delivery in [await producer.send(topic, value=value, key=key) for topic, key, value in records]:
        await delivery


def _bands(name: str) -> list[str]:
    return [f"{number:02d}-{name[:8]}" for number in range(24)]


def _doc(name: str, now: str) -> Document:
    source = {
        "item": name, "bands": _bands(name), "state": "flagged", "owner": name,
        "policy": "drugs", "seller": name, "listing_id": name, "depth": 1, "at": now, "hashes": list(range(8)),
    }  # fmt: skip
    return Document(id=name, source=source)
