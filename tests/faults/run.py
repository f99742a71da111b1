"""One schedule on real engines: send, break, mend, wait, and judge."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import orjson
import psutil
import yaml
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from qexplorer.search.backend import WriteMode
from qexplorer.search.client import OpenSearchClient
from qexplorer.search.load import document
from qexplorer.search.mapping import listings_body
from qexplorer.settings import SearchSettings
from qexplorer.stack import Endpoints
from qexplorer.stack.process import EngineProcess, stop_all
from qexplorer.testing import a_flag, a_listing
from tests.faults.checker import AFTERMATH_S, DRAIN_S, Came, Fault, History, Sent, Verdict, judge
from tests.faults.proxies import SearchProxy, TcpProxy
from tests.faults.schedule import FLAGS, POISON_EVERY, SECONDS, Blow, Schedule

ROOT = Path(__file__).parents[2]
PARTITIONS = 8
PARTS = ("flags", "suspects", "audit", "dead_letters", "control")
# Beyond this the run is over, and what has no answer is lost.
GIVE_UP_S = 90.0
# Through a long outage of the search the workers' memory is looked at so often.
WEIGHED_S = 30.0


@dataclass(slots=True)
class Fleet:
    """The worker processes of a run, and the file that tells them how to break.

    As on Kubernetes, a worker that has ended by itself is started again; `exits` counts those.
    """

    folder: Path
    unsafe: bool
    broken: dict[str, Any] = field(default_factory=dict)
    workers: list[EngineProcess] = field(default_factory=list)
    started: int = 0
    exits: int = 0

    def start(self) -> EngineProcess:
        """Start one more worker."""
        self.started += 1
        command = [
            "/usr/bin/env", f"FAULTS_FILE={self.folder / 'faults.json'}", f"FAULTS_UNSAFE={int(self.unsafe)}",
            f"PYTHONPATH={ROOT}", sys.executable, "-m", "tests.faults.worker", "run",
            "--config", str(self.folder / "settings.yaml"), "--health-port", "0",
        ]  # fmt: skip
        log = self.folder / f"worker-{self.started}.log"
        process = EngineProcess(f"worker {self.started}", command, log=log, folder=self.folder)
        self.workers.append(process)
        return process

    async def supervise(self) -> None:
        """Start again, for ever, what has ended by itself."""
        while True:
            await asyncio.sleep(0.5)
            for worker in [worker for worker in self.workers if not worker.is_running]:
                self.workers.remove(worker)
                self.exits += 1
                self.start()
                await asyncio.to_thread(worker.stop)

    async def until_joined(self) -> None:
        """Wait until every worker has partitions."""
        async with asyncio.timeout(60):
            while not all('"event": "assigned"' in worker.output() for worker in self.workers):  # noqa: ASYNC110 - a log
                await asyncio.sleep(0.1)

    def take_out(self, which: int) -> EngineProcess:
        """Return a worker that is about to end: it is not started again by itself."""
        worker = self.workers[which % len(self.workers)]
        self.workers.remove(worker)
        return worker

    def tell(self, **broken: Any) -> None:
        """Rewrite the file in one step."""
        self.broken |= broken
        part = self.folder / "faults.part"
        part.write_text(json.dumps(self.broken))
        part.replace(self.folder / "faults.json")

    def pids(self, worker: EngineProcess) -> list[int]:
        """Return the worker's own process id, then that of its inference process where it has one."""
        with contextlib.suppress(psutil.Error):
            for process in psutil.Process(worker.guard_pid).children():
                spawned = [child.pid for child in process.children() if "spawn_main" in " ".join(child.cmdline())]
                return [process.pid, *spawned]
        return []

    def signal(self, worker: EngineProcess, number: signal.Signals, which: int = 0) -> None:
        """Send a signal to the worker (0) or to its inference process (1); gone ones are passed over."""
        pids = self.pids(worker)
        if which < len(pids):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pids[which], number)

    def stop(self) -> None:
        """End all, side by side."""
        for worker in self.workers:
            self.signal(worker, signal.SIGCONT)
        stop_all(self.workers)


class Recorder:
    """Reads everything that comes out, from the real brokers, and remembers when the broker had it."""

    def __init__(self, brokers: str, topics: dict[str, str]) -> None:
        self.came: list[Came] = []
        self._topics = topics
        self._consumer: Any = AIOKafkaConsumer(
            topics["suspects"], topics["audit"], topics["dead_letters"],
            bootstrap_servers=brokers, auto_offset_reset="earliest", enable_auto_commit=False,
        )  # fmt: skip
        self.answered: set[str] = set()
        self.aside: set[tuple[int, int]] = set()

    async def __aenter__(self) -> Self:
        await self._consumer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._consumer.stop()

    async def read(self) -> None:
        """Take in what is there."""
        for messages in (await self._consumer.getmany(timeout_ms=200)).values():
            for message in messages:
                self._take(message)

    def _take(self, message: Any) -> None:
        headers = dict(message.headers)
        at = message.timestamp / 1000
        key = (message.key or b"").decode()
        if message.topic == self._topics["dead_letters"]:
            letter = orjson.loads(headers["qx-dead-letter"])
            place = (letter["position"]["partition"], letter["position"]["offset"])
            self.aside.add(place)
            reason = letter["reason"]
            self.came.append(Came(kind="DeadLetter", key=key, at=at, place=place, reason=reason))
            return
        kind = headers["type"].decode()
        record = orjson.loads(message.value)
        if kind == "FlagResult":
            self.answered.add(record["flag_id"])
            self.came.append(Came(kind=kind, key=key, at=at, flag=record["flag_id"]))
        elif kind == "Suspect":
            self.came.append(Came(kind=kind, key=key, at=at, listing=record["listing_id"]))


class Run:
    """One schedule at work."""

    def __init__(
        self,
        schedule: Schedule,
        engines: Endpoints,
        folder: Path,
        *,
        unsafe: bool = False,
        give_up_s: float = GIVE_UP_S,
    ) -> None:
        self.schedule = schedule
        self._give_up_s = give_up_s
        self._engines = engines
        self._folder = folder
        self._name = uuid4().hex[:10]
        self._topics = {part: f"{part}-{self._name}" for part in PARTS}
        self.fleet = Fleet(folder=folder, unsafe=unsafe)
        self.history = History()
        self.megabytes: list[float] = []
        self._search: SearchProxy | None = None
        self._lines: list[TcpProxy] = []
        self._down: set[str] = set()

    async def verdict(self) -> Verdict:
        """Run it and judge it."""
        async with self._prepared() as recorder:
            supervising = asyncio.create_task(self.fleet.supervise())
            reading = asyncio.create_task(self._read(recorder))
            try:
                await self.fleet.until_joined()
                await asyncio.gather(self._send(), self._break())
                self.history.healed = time.time()
                await self._drain(recorder)
                # What was answered twice may still be on its way.
                await asyncio.sleep(1.0)
            finally:
                for task in (supervising, reading):
                    task.cancel()
                await asyncio.gather(supervising, reading, return_exceptions=True)
                await asyncio.to_thread(self.fleet.stop)
            self.history.came = recorder.came
        return judge(self.history)

    @asynccontextmanager
    async def _prepared(self) -> AsyncIterator[Recorder]:
        async with AsyncExitStack() as stack:
            self._search = await stack.enter_async_context(SearchProxy(str(self._engines.opensearch)))
            ports: dict[str, int] = {}
            for broker in self._engines.brokers:
                port = int(broker.address.rpartition(":")[2])
                line = await stack.enter_async_context(TcpProxy(port))
                self._lines.append(line)
                ports[str(port)] = line.port
            self.fleet.tell(ports=ports, model="", producer=False)
            await self._write_settings()
            for _ in range(self.schedule.workers):
                self.fleet.start()
            yield await stack.enter_async_context(Recorder(str(self._engines.kafka), self._topics))

    async def _write_settings(self) -> None:
        index = f"listings-{self._name}"
        assert self._search is not None
        policy = {"id": "drugs", "kinds": ["drugs"], "index": index, "candidates": 0, "max_flag_age": "P9999D"}
        (self._folder / "policies.yaml").write_text(yaml.safe_dump({"version": 1, "policies": [policy]}))
        settings = {
            "kafka": {"brokers": self._engines.kafka, "group": f"group-{self._name}", "topics": self._topics},
            "search": {
                "url": self._search.url,
                "discoveries": f"discoveries-{self._name}",
                "bank": f"bank-{self._name}",
                "timeout_s": 4.0,
            },
            "worker": {"batch_size": self.schedule.batch_size, "batch_wait_s": 0.2, "run_id": self._name},
            "explore": {"generate_timeout_s": 2.0, "claim_timeout_s": 20.0},
            "engines": {"default": {"kind": "scripted"}},
            "policies": str(self._folder / "policies.yaml"),
        }
        (self._folder / "settings.yaml").write_text(yaml.safe_dump(settings))
        replicas = min(3, len(self._engines.brokers))
        await asyncio.to_thread(self._make_topics, replicas)
        async with OpenSearchClient(SearchSettings(url=str(self._engines.opensearch))) as client:
            body = listings_body(replicas=min(1, len(self._engines.search_nodes) - 1))
            await client.ensure_index(index, body)
            now = datetime.now(UTC)
            rows = [a_listing(f"sib{n}", f"zaza{n}x lean{n}x fresh", updated_at=now) for n in range(FLAGS)]
            await client.write(index, [document(row, b"") for row in rows], WriteMode.REPLACE)
            await client.request("POST", f"/{index}/_refresh")

    def _make_topics(self, replicas: int) -> None:
        command = [
            sys.executable, "-m", "worker", "topics", "--create", "--partitions", str(PARTITIONS),
            "--replication", str(replicas), "--config", str(self._folder / "settings.yaml"),
        ]  # fmt: skip
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603 - our own
        assert done.returncode == 0, done.stderr

    async def _send(self) -> None:
        """Send the flags over the length of the schedule, straight to the brokers; each is known to be stored."""
        producer = AIOKafkaProducer(
            bootstrap_servers=self._engines.kafka, acks="all", enable_idempotence=True, request_timeout_ms=60_000
        )
        await producer.start()
        began = time.monotonic()
        try:
            for number in range(FLAGS):
                await asyncio.sleep(max(0.0, began + SECONDS * number / FLAGS - time.monotonic()))
                poison = number % POISON_EVERY == POISON_EVERY - 1
                name = f"flag-seed{number}"
                value = (
                    b"poison %d" % number
                    if poison
                    else a_flag(
                        f"seed{number}", f"zaza{number}x lean{number}x today", flagged_at=datetime.now(UTC)
                    ).to_bytes()
                )
                stored = await producer.send_and_wait(self._topics["flags"], value=value, key=str(number).encode())
                self.history.sent.append(
                    Sent(
                        flag=name,
                        partition=stored.partition,
                        offset=stored.offset,
                        sibling=f"sib{number}",
                        poison=poison,
                    )
                )
        finally:
            await producer.stop()

    async def _read(self, recorder: Recorder) -> None:
        while True:
            await recorder.read()

    async def _drain(self, recorder: Recorder) -> None:
        """Wait until everything is answered, or for as long as a loss must be believed."""
        flags = {sent.flag for sent in self.history.sent if not sent.poison}
        poison = {(sent.partition, sent.offset) for sent in self.history.sent if sent.poison}
        until = time.monotonic() + self._give_up_s
        while time.monotonic() < until and not (  # noqa: ASYNC110 - another task reads
            flags <= recorder.answered and poison <= recorder.aside
        ):
            await asyncio.sleep(0.1)
        self.history.drained = time.time()

    async def _break(self) -> None:
        """Strike each blow at its time; blows may overlap."""
        began = time.monotonic()

        async def strike(blow: Blow) -> None:
            await asyncio.sleep(max(0.0, began + blow.at - time.monotonic()))
            start = time.time()
            await self._strike(blow)
            self.history.faults.append(Fault(kind=blow.kind, start=start, end=time.time()))

        await asyncio.gather(*(strike(blow) for blow in self.schedule.blows))

    def _weigh(self) -> None:
        """Remember what the workers' own processes hold in memory."""
        pids = [pids[0] for worker in self.fleet.workers if (pids := self.fleet.pids(worker))]
        self.megabytes.append(sum(psutil.Process(pid).memory_info().rss for pid in pids) / 2**20)

    async def _strike(self, blow: Blow) -> None:
        kind = blow.kind
        if blow.lasts > WEIGHED_S and kind.startswith("search ") and self._search is not None:
            self._search.mode = kind.removeprefix("search ")
            for _ in range(int(blow.lasts / WEIGHED_S)):
                await asyncio.sleep(WEIGHED_S)
                self._weigh()
            self._search.mode = ""
        elif kind.startswith("search ") and self._search is not None:
            self._search.mode = kind.removeprefix("search ")
            await asyncio.sleep(blow.lasts)
            self._search.mode = ""
        elif kind.startswith("model "):
            self.fleet.tell(
                model=kind.removeprefix("model ").removesuffix(" of memory").replace("out", "out of memory")
            )
            await asyncio.sleep(blow.lasts)
            self.fleet.tell(model="")
        elif kind == "producer errors":
            self.fleet.tell(producer=True)
            await asyncio.sleep(blow.lasts)
            self.fleet.tell(producer=False)
        elif kind == "cut network":
            for line in self._lines:
                line.cut()
            await asyncio.sleep(blow.lasts)
            for line in self._lines:
                line.heal()
        elif kind in {"kill broker", "kill leader", "kill search node"}:
            await self._kill_node(blow)
        else:
            await self._strike_worker(blow)

    async def _kill_node(self, blow: Blow) -> None:
        nodes = self._engines.search_nodes if blow.kind == "kill search node" else self._engines.brokers
        # The proxy before OpenSearch leads to the first node.
        first = 1 if blow.kind == "kill search node" else 0
        node = nodes[first + blow.which % (len(nodes) - first)]
        if node.name in self._down:
            return  # another blow has it down already
        self._down.add(node.name)
        await asyncio.to_thread(node.kill)
        await asyncio.sleep(blow.lasts)
        await asyncio.to_thread(node.restart)
        self._down.remove(node.name)

    async def _strike_worker(self, blow: Blow) -> None:
        fleet = self.fleet
        if not fleet.workers:
            return  # all have just been struck
        if blow.kind == "add worker":
            added = fleet.start()
            await asyncio.sleep(blow.lasts)
            # Another blow may have ended it already.
            fleet.workers = [worker for worker in fleet.workers if worker is not added]
            await asyncio.to_thread(added.stop)
        elif blow.kind == "kill inference":
            fleet.signal(fleet.workers[blow.which % len(fleet.workers)], signal.SIGKILL, 1)
        elif blow.kind == "stop worker":
            victim = fleet.workers[blow.which % len(fleet.workers)]
            fleet.signal(victim, signal.SIGSTOP)
            await asyncio.sleep(blow.lasts)
            fleet.signal(victim, signal.SIGCONT)
        else:
            victim = fleet.take_out(blow.which)
            fleet.signal(victim, signal.SIGKILL if blow.kind == "kill worker" else signal.SIGTERM)
            await asyncio.sleep(blow.lasts)
            fleet.start()
            await asyncio.to_thread(victim.stop)


assert AFTERMATH_S < DRAIN_S, "a fault is over when the drain must be"
