"""The demo's worker processes and its own ends of the topics."""

import contextlib
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from qexplorer.errors import BrokerUnavailableError, StackError
from qexplorer.stack.process import EngineProcess, stop_all
from schemas import FlaggedListing, FlagResult, QueryAudit, Suspect

FLAGS, SUSPECTS, AUDIT = "flagged-listings", "suspect-items", "query-audit"


@dataclass(slots=True)
class Inbox:
    """What has come out of the topics so far, repeats dropped by their identity."""

    suspects: dict[str, Suspect] = field(default_factory=dict)
    audits: dict[str, QueryAudit] = field(default_factory=dict)
    results: dict[str, FlagResult] = field(default_factory=dict)

    def take(self, kind: str, value: bytes) -> None:
        """Take in one record."""
        if kind == "Suspect":
            suspect = Suspect.from_bytes(value)
            self.suspects[suspect.review_key] = suspect
        elif kind == "QueryAudit":
            audit = QueryAudit.from_bytes(value)
            self.audits[audit.audit_id] = audit
        elif kind == "FlagResult":
            result = FlagResult.from_bytes(value)
            self.results[result.result_id] = result


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerProcess:
    """One running worker: where it answers, and where its log is."""

    process: EngineProcess
    port: int

    @property
    def url(self) -> str:
        """The root of its health pages."""
        return f"http://127.0.0.1:{self.port}"


def make_topics(brokers: str, *, partitions: int) -> None:
    """Create the topics as an operator would."""
    command = [
        sys.executable,
        "-m",
        "worker",
        "topics",
        "--create",
        "--kafka",
        brokers,
        "--partitions",
        str(partitions),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own arguments
    if done.returncode:
        raise StackError(f"the topics cannot be made: {done.stderr.strip()}", remedy="Read the log of Kafka")


@contextmanager
def workers(count: int, settings: Mapping[str, Any], folder: Path) -> Iterator[list[WorkerProcess]]:
    """Run workers with these settings; they end with the block, or with this process however it ends."""
    config = folder / "settings.yaml"
    config.write_text(yaml.safe_dump(dict(settings)), encoding="utf-8")
    started: list[WorkerProcess] = []
    try:
        for number, port in enumerate(_free_ports(count), start=1):
            command = [sys.executable, "-m", "worker", "run", "--config", str(config), "--health-port", str(port)]
            log = folder / f"worker-{number}.log"
            process = EngineProcess(f"worker {number}", command, log=log, folder=folder)
            started.append(WorkerProcess(process=process, port=port))
        yield started
    finally:
        stop_all(worker.process for worker in started)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


async def send_flags(brokers: str, flags: Sequence[FlaggedListing]) -> None:
    """Publish the flags, keyed by listing, and return when the broker has them."""
    from aiokafka import AIOKafkaProducer
    from aiokafka.errors import KafkaError

    producer = AIOKafkaProducer(bootstrap_servers=brokers, acks="all")
    try:
        await producer.start()
        for flag in flags:
            await producer.send_and_wait(FLAGS, value=flag.to_bytes(), key=flag.listing.id.encode())
    except KafkaError as error:
        raise BrokerUnavailableError(f"Kafka at {brokers} does not take flags: {error}") from error
    finally:
        await producer.stop()


@asynccontextmanager
async def inbox(brokers: str) -> AsyncIterator["Reader"]:
    """Read suspects and audit from the start of their topics."""
    from aiokafka import AIOKafkaConsumer

    consumer = AIOKafkaConsumer(
        SUSPECTS, AUDIT, bootstrap_servers=brokers, auto_offset_reset="earliest", enable_auto_commit=False
    )
    try:
        await consumer.start()
        yield Reader(consumer, Inbox())
    finally:
        await consumer.stop()


class Reader:
    """Fills an inbox from a consumer."""

    def __init__(self, consumer: Any, box: Inbox) -> None:
        self._consumer = consumer
        self.box = box

    async def read(self, wait_s: float) -> None:
        """Take in what has arrived, waiting up to `wait_s` for something."""
        for messages in (await self._consumer.getmany(timeout_ms=int(wait_s * 1000))).values():
            for message in messages:
                kind = dict(message.headers).get("type", b"").decode()
                self.box.take(kind, message.value)
