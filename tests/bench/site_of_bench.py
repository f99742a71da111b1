"""Topics, an index and settings for the benchmarks on real engines."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from qexplorer.demo.workers import AUDIT, FLAGS, make_topics
from qexplorer.search.backend import WriteMode
from qexplorer.search.client import OpenSearchClient
from qexplorer.search.load import document
from qexplorer.search.mapping import listings_body
from qexplorer.settings import SearchSettings
from qexplorer.stack import Endpoints
from qexplorer.testing import a_listing


class Bench:
    """One benchmark's place on the engines; each listing n has one sibling."""

    def __init__(self, engines: Endpoints, folder: Path, *, batch_size: int) -> None:
        self.brokers, self.url = str(engines.kafka), str(engines.opensearch)
        policies = folder / "policies.yaml"
        policy = {"id": "drugs", "kinds": ["drugs"], "candidates": 0, "max_flag_age": "P9999D"}
        policies.write_text(yaml.safe_dump({"version": 1, "policies": [policy]}))
        self.settings: dict[str, Any] = {
            "kafka": {"brokers": self.brokers},
            "search": {"url": self.url, "max_qps": 1e6},
            "worker": {"batch_size": batch_size, "batch_wait_s": 0.2},
            "engines": {"default": {"kind": "scripted"}},
            "policies": str(policies),
        }

    async def prepare(self, listings: int, *, partitions: int = 4) -> None:
        """Make topics and a filled index."""
        make_topics(self.brokers, partitions=partitions)
        async with OpenSearchClient(SearchSettings(url=self.url)) as client:
            await client.ensure_index("listings", listings_body())
            rows = [
                a_listing(f"sib{n}", f"zaza{n}x lean{n}x fresh", updated_at=datetime.now(UTC)) for n in range(listings)
            ]
            await client.write("listings", [document(row, b"") for row in rows], WriteMode.REPLACE)
            await client.request("POST", "/listings/_refresh")

    async def send(self, values: Iterable[bytes]) -> None:
        """Put flags into their topic."""
        producer = AIOKafkaProducer(bootstrap_servers=self.brokers, linger_ms=20)
        await producer.start()
        try:
            for number, value in enumerate(values):
                await producer.send(FLAGS, value=value, key=str(number).encode())
            await producer.flush()
        finally:
            await producer.stop()

    async def results(self, count: int, run: str = "production") -> AsyncIterator[int]:
        """Yield now and then how many flags have a result of a run, until all have."""
        wanted = f'"run_id":"{run}"'.encode()
        consumer = AIOKafkaConsumer(AUDIT, bootstrap_servers=self.brokers, auto_offset_reset="earliest")
        await consumer.start()
        seen: set[bytes] = set()
        try:
            while len(seen) < count:
                for messages in (await consumer.getmany(timeout_ms=500, max_records=5000)).values():
                    seen |= {
                        m.key for m in messages if dict(m.headers).get("type") == b"FlagResult" and wanted in m.value
                    }
                yield len(seen)
                await asyncio.sleep(0)
        finally:
            await consumer.stop()
