"""Topics, an index, settings and readers of one test on the shared engines."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import psutil
import yaml
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from qexplorer.demo.workers import WorkerProcess
from qexplorer.search.backend import WriteMode
from qexplorer.search.client import OpenSearchClient
from qexplorer.search.load import document
from qexplorer.search.mapping import listings_body
from qexplorer.settings import SearchSettings
from qexplorer.stack import Endpoints
from qexplorer.testing import a_flag, a_listing
from schemas import DeadLetter, DeadLetterReason, FlagResult, Position, Suspect
from worker.dead_letters import LETTER

FLAGS = 40
WITHIN_S = 60.0


class Site:
    """Topics, indices and settings of one test on the shared engines."""

    def __init__(self, endpoints: Endpoints, folder: Path, engine: Mapping[str, Any]) -> None:
        name = uuid4().hex[:10]
        self.brokers, self.url, self.folder = str(endpoints.kafka), str(endpoints.opensearch), folder
        self.topics = {part: f"{part}-{name}" for part in ("flags", "suspects", "audit", "dead_letters", "control")}
        self.index = f"listings-{name}"
        self.policy = {
            "id": "drugs",
            "kinds": ["drugs"],
            "index": self.index,
            "candidates": 0,
            "max_flag_age": "P9999D",
        }
        self.write_policies({"version": 1, "policies": [self.policy]})
        self.settings: dict[str, Any] = {
            "kafka": {"brokers": self.brokers, "group": f"group-{name}", "topics": self.topics},
            "search": {"url": self.url, "discoveries": f"discoveries-{name}", "bank": f"bank-{name}"},
            "worker": {"batch_size": 4, "batch_wait_s": 0.2, "run_id": name},
            "engines": {"default": dict(engine)},
            "policies": str(folder / "policies.yaml"),
        }

    async def prepare(self, *, partitions: int = 4) -> None:
        """Create topics and a filled index; flag n has one sibling that shares two words with it alone."""
        (self.folder / "topics.yaml").write_text(yaml.safe_dump(self.settings))
        made = self.worker("topics", "--create", "--partitions", str(partitions))
        assert made.returncode == 0, made.stderr
        async with OpenSearchClient(SearchSettings(url=self.url)) as client:
            await client.ensure_index(self.index, listings_body())
            rows = [
                a_listing(f"sib{n}", f"zaza{n}x lean{n}x fresh", updated_at=datetime.now(UTC)) for n in range(FLAGS)
            ]
            await client.write(self.index, [document(row, b"") for row in rows], WriteMode.REPLACE)
            await client.request("POST", f"/{self.index}/_refresh")

    def set_kinds(self, *kinds: str) -> None:
        """Have the policy take these kinds."""
        self.policy["kinds"] = list(kinds)
        self.write_policies({"version": 1, "policies": [self.policy]})

    def spoil_policies(self) -> None:
        """Write a policies file that no worker may take."""
        self.write_policies({"version": 1, "policies": [{**self.policy, "nonsense": 1}]})

    def write_policies(self, policies: Mapping[str, Any]) -> None:
        """Write the policies file in one step."""
        part = self.folder / "policies.part"
        part.write_text(yaml.safe_dump(policies))
        part.replace(self.folder / "policies.yaml")

    def command(self, *arguments: str) -> str:
        """Run a command of the worker that must succeed, and return what it says."""
        ended = self.worker(*arguments)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def worker(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the worker and return how it ended."""
        command = [sys.executable, "-m", "worker", *arguments, "--config", str(self.folder / "topics.yaml")]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)  # noqa: S603 - our own arguments

    async def send(self, *values: bytes) -> None:
        """Put messages into the topic of flags."""
        producer = AIOKafkaProducer(bootstrap_servers=self.brokers)
        await producer.start()
        try:
            for number, value in enumerate(values):
                await producer.send_and_wait(self.topics["flags"], value=value, key=str(number).encode())
        finally:
            await producer.stop()

    async def letter_of(self, topic: str) -> None:
        """Leave a dead letter of a message of another topic."""
        place = Position(topic=topic, partition=0, offset=0)
        letter = DeadLetter(
            letter_id="f" * 32,
            position=place,
            reason=DeadLetterReason.UNREADABLE,
            stage="decode",
            error="no JSON",
            at=datetime.now(UTC),
        )
        producer = AIOKafkaProducer(bootstrap_servers=self.brokers)
        await producer.start()
        try:
            await producer.send_and_wait(
                self.topics["dead_letters"], b"old", letter.letter_id.encode(), headers=[(LETTER, letter.to_bytes())]
            )
        finally:
            await producer.stop()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator["Seen"]:
        """Read what comes out, from the start."""
        topics = [self.topics[part] for part in ("suspects", "audit", "dead_letters")]
        consumer = AIOKafkaConsumer(*topics, bootstrap_servers=self.brokers, auto_offset_reset="earliest")
        await consumer.start()
        try:
            yield Seen(consumer, self.topics)
        finally:
            await consumer.stop()


class Seen:
    """What has come out of the topics."""

    def __init__(self, consumer: Any, topics: Mapping[str, str]) -> None:
        self._consumer = consumer
        self._topics = topics
        self.suspects: list[Suspect] = []
        self.results: list[FlagResult] = []
        self.letters: list[bytes] = []
        self.retracted: list[str] = []

    async def until(self, done: Callable[[], bool], within_s: float = WITHIN_S) -> None:
        """Read until something is so."""
        async with asyncio.timeout(within_s):
            while not done():
                await self.read()

    async def until_answered(self, flags: set[str], letters: int = 0, within_s: float = WITHIN_S) -> None:
        """Read until each flag has a result and so many dead letters are there."""
        await self.until(
            lambda: flags <= {result.flag_id for result in self.results} and len(self.letters) >= letters, within_s
        )

    async def read(self) -> None:
        """Take in what is there."""
        for messages in (await self._consumer.getmany(timeout_ms=200)).values():
            for message in messages:
                self._take(message)

    def _take(self, message: Any) -> None:
        if message.value is None or "qx-state" in dict(message.headers):
            return
        if message.topic == self._topics["dead_letters"]:
            self.letters.append(message.value)
        elif message.topic == self._topics["suspects"] and dict(message.headers)["type"] == b"Retraction":
            self.retracted.append(message.key.decode())
        elif message.topic == self._topics["suspects"]:
            self.suspects.append(Suspect.from_bytes(message.value))
        elif dict(message.headers)["type"] == b"FlagResult":
            self.results.append(FlagResult.from_bytes(message.value))


def flag(number: int) -> bytes:
    return a_flag(f"seed{number}", f"zaza{number}x lean{number}x today", flagged_at=datetime.now(UTC)).to_bytes()


NAMES = {f"flag-seed{number}" for number in range(FLAGS)}


async def until_ready(worker: WorkerProcess) -> None:
    async with asyncio.timeout(WITHIN_S), aiohttp.ClientSession() as http:
        while True:
            assert worker.process.is_running, worker.process.output()
            try:
                async with http.get(f"{worker.url}/ready") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.1)


def pid_of(worker: WorkerProcess) -> int:
    (child,) = psutil.Process(worker.process.guard_pid).children()
    return int(child.pid)


async def status_of(worker: WorkerProcess, done: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Ask a worker for its status until it is as wanted."""
    async with asyncio.timeout(WITHIN_S), aiohttp.ClientSession() as http:
        while True:
            assert worker.process.is_running, worker.process.output()
            try:
                async with http.get(f"{worker.url}/status") as answer:
                    found: dict[str, Any] = await answer.json()
            except aiohttp.ClientError:
                found = {}
            if "partitions" in found and done(found):
                return found
            await asyncio.sleep(0.1)
