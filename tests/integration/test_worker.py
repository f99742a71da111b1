"""The worker as a process of its own, on real Kafka and real OpenSearch."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import psutil
import pytest
import yaml
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from qexplorer.demo.workers import WorkerProcess, workers
from qexplorer.search.backend import WriteMode
from qexplorer.search.client import OpenSearchClient
from qexplorer.search.load import document
from qexplorer.search.mapping import listings_body
from qexplorer.settings import SearchSettings
from qexplorer.stack import Endpoints
from qexplorer.testing import a_flag, a_listing
from schemas import FlagResult, Suspect

FLAGS = 40
WITHIN_S = 60.0


class Site:
    """Topics, indices and settings of one test on the shared engines."""

    def __init__(self, endpoints: Endpoints, folder: Path, engine: Mapping[str, Any]) -> None:
        name = uuid4().hex[:10]
        self.brokers, self.url, self.folder = str(endpoints.kafka), str(endpoints.opensearch), folder
        self.topics = {part: f"{part}-{name}" for part in ("flags", "suspects", "audit", "dead_letters", "control")}
        self.index = f"listings-{name}"
        policies = folder / "policies.yaml"
        policy = {"id": "drugs", "kinds": ["drugs"], "index": self.index, "candidates": 0, "max_flag_age": "P9999D"}
        policies.write_text(yaml.safe_dump({"version": 1, "policies": [policy]}))
        self.settings: dict[str, Any] = {
            "kafka": {"brokers": self.brokers, "group": f"group-{name}", "topics": self.topics},
            "search": {"url": self.url, "discoveries": f"discoveries-{name}", "bank": f"bank-{name}"},
            "worker": {"batch_size": 4, "batch_wait_s": 0.2, "run_id": name},
            "engines": {"default": dict(engine)},
            "policies": str(policies),
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

    async def until_answered(self, flags: set[str], letters: int = 0, within_s: float = WITHIN_S) -> None:
        """Read until each flag has a result and so many dead letters are there."""
        async with asyncio.timeout(within_s):
            while not (flags <= {result.flag_id for result in self.results} and len(self.letters) >= letters):
                await self.read()

    async def read(self) -> None:
        """Take in what is there."""
        for messages in (await self._consumer.getmany(timeout_ms=200)).values():
            for message in messages:
                self._take(message)

    def _take(self, message: Any) -> None:
        if message.topic == self._topics["dead_letters"]:
            self.letters.append(message.value)
        elif message.topic == self._topics["suspects"]:
            self.suspects.append(Suspect.from_bytes(message.value))
        elif dict(message.headers)["type"] == b"FlagResult":
            self.results.append(FlagResult.from_bytes(message.value))


def flag(number: int) -> bytes:
    return a_flag(f"seed{number}", f"zaza{number}x lean{number}x today", flagged_at=datetime.now(UTC)).to_bytes()


NAMES = {f"flag-seed{number}" for number in range(FLAGS)}


@pytest.fixture
async def site(engines: Endpoints, tmp_path: Path) -> Site:
    made = Site(engines, tmp_path, {"kind": "scripted"})
    await made.prepare()
    return made


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


async def test_flags_become_suspects_and_poison_becomes_dead_letters(site: Site) -> None:
    """Every flag is answered, each sibling is published once, and broken messages are set aside with their bytes."""
    await site.send(*(flag(number) for number in range(FLAGS)), b"not json", b'{"flag_id": 1}')
    with workers(2, site.settings, site.folder) as processes:
        async with site.reading() as seen:
            await seen.until_answered(NAMES, letters=2)
            for worker in processes:
                await until_ready(worker)
            async with aiohttp.ClientSession() as http, http.get(f"{processes[0].url}/metrics") as answer:
                assert "qexplorer_flags_total" in await answer.text()
    assert {suspect.listing_id for suspect in seen.suspects} == {f"sib{number}" for number in range(FLAGS)}
    assert len(seen.suspects) == len({suspect.review_key for suspect in seen.suspects})
    assert sorted(seen.letters) == [b"not json", b'{"flag_id": 1}']


async def test_a_killed_worker_loses_nothing(site: Site) -> None:
    """After kill -9 in the middle of the work another worker answers the rest; no suspect is missing."""
    await site.send(*(flag(number) for number in range(FLAGS)))
    async with site.reading() as seen:
        with workers(1, site.settings, site.folder) as (first,):
            while not seen.results:
                assert first.process.is_running, first.process.output()
                await seen.read()
            os.kill(pid_of(first), signal.SIGKILL)
        with workers(1, site.settings, site.folder):
            await seen.until_answered(NAMES)
    assert {suspect.listing_id for suspect in seen.suspects} == {f"sib{number}" for number in range(FLAGS)}


async def test_sigterm_finishes_the_work_in_hand(site: Site) -> None:
    """A worker that is asked to stop ends with 0 and has acknowledged what it answered."""
    await site.send(*(flag(number) for number in range(FLAGS)))
    async with site.reading() as seen:
        with workers(1, site.settings, site.folder) as (worker,):
            await seen.until_answered(NAMES)
            process = psutil.Process(pid_of(worker))
            process.terminate()
            gone, alive = await asyncio.to_thread(psutil.wait_procs, [process], 40)
            assert gone
            assert not alive
            assert '"event": "drained"' in worker.process.output()
    status = site.worker("status")
    assert "total lag 0" in status.stdout


async def test_a_dry_run_publishes_to_its_own_topic_with_a_memory_of_its_own(site: Site, engines: Endpoints) -> None:
    """Production's discoveries and bank stay as they are."""
    dry = {**site.settings, "worker": {**site.settings["worker"], "dry_run_topic": f"shadow-{uuid4().hex[:8]}"}}
    (site.folder / "topics.yaml").write_text(yaml.safe_dump(dry))
    assert site.worker("topics", "--create").returncode == 0
    await site.send(flag(0))
    site.topics["suspects"] = dry["worker"]["dry_run_topic"]
    async with site.reading() as seen:
        with workers(1, dry, site.folder):
            await seen.until_answered({"flag-seed0"})
    assert [suspect.listing_id for suspect in seen.suspects] == ["sib0"]
    async with OpenSearchClient(SearchSettings(url=str(engines.opensearch))) as client:
        exists = await client.request("GET", "/_cat/indices", params={"format": "json"})
    names = {index["index"] for index in exists}
    assert site.settings["search"]["bank"] not in names
    assert any(name.startswith(site.settings["search"]["bank"] + "-dry-") for name in names)


@pytest.mark.parametrize(
    ("change", "code", "names"),
    [
        pytest.param({"kafka": {"brokers": "127.0.0.1:1"}}, 7, "127.0.0.1:1", id="dead broker"),
        pytest.param({"search": {"url": "http://127.0.0.1:1"}}, 6, "http://127.0.0.1:1", id="dead search"),
        pytest.param({"kafka": {"topics": {"flags": "nowhere"}}}, 4, "nowhere", id="missing topic"),
        pytest.param({"policies": "/nowhere.yaml"}, 4, "/nowhere.yaml", id="missing policies"),
        pytest.param({"triage": "/nowhere"}, 4, "/nowhere", id="missing triage"),
        pytest.param(
            {"engines": {"default": {"kind": "transformers", "model": "/no/model"}}}, 9, "/no/model", id="missing model"
        ),
        pytest.param({"worker": {"batch_size": 0}}, 4, "worker.batch_size", id="wrong setting"),
        pytest.param({"kafka": {"nonsense": 1}}, 4, "kafka.nonsense", id="unknown setting"),
    ],
)
async def test_a_start_that_cannot_work_is_one_clear_line(
    site: Site, change: dict[str, Any], code: int, names: str
) -> None:
    """The thing is named with a remedy, the exit code says of which kind it is, and there is no traceback."""
    settings = {**site.settings}
    for section, value in change.items():
        settings[section] = {**site.settings.get(section, {}), **value} if isinstance(value, dict) else value
    (site.folder / "topics.yaml").write_text(yaml.safe_dump(settings))
    ended = site.worker("run", "--health-port", "0")
    assert ended.returncode == code, ended.stderr
    assert names in ended.stderr
    assert "→" in ended.stderr
    assert "Traceback" not in ended.stderr


async def test_a_taken_port_is_named(site: Site) -> None:
    """Two workers cannot share a health port: the second says so."""
    with workers(1, site.settings, site.folder) as (first,):
        await until_ready(first)
        ended = site.worker("run", "--health-port", str(first.port))
    assert ended.returncode == 4
    assert f"the port {first.port} of 127.0.0.1 is taken" in ended.stderr


@pytest.mark.model
@pytest.mark.timeout(600)
async def test_the_packaged_model_finds_a_sibling(engines: Endpoints, tmp_path: Path) -> None:
    """The whole loop with the real small model: its queries or the listing's own words find what is like the flag."""
    site = Site(engines, tmp_path, {"kind": "transformers", "model": "packaged", "threads": 2})
    await site.prepare()
    await site.send(flag(0), flag(1))
    async with site.reading() as seen:
        with workers(1, site.settings, site.folder):
            # The first time the model is unpacked, on a machine that may be busy.
            await seen.until_answered({"flag-seed0", "flag-seed1"}, within_s=4 * WITHIN_S)
    assert {suspect.listing_id for suspect in seen.suspects} == {"sib0", "sib1"}, [r.reason for r in seen.results]
    (versions,) = {suspect.versions.model for suspect in seen.suspects}
    assert versions.startswith("smollm2-135m-instruct@")
