"""Taking a part of the flags through the worker again, beside production and without touching it.

A replay has a group, a memory and an output of its own, and ends by itself. Several processes with the same name share
the partitions; one that was cut off goes on where it stopped.
"""

import asyncio
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import orjson
import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition

from qexplorer.clock import SystemClock
from qexplorer.errors import ConfigError, StorageError
from qexplorer.limiter import SearchLimiter
from qexplorer.metrics import Metrics
from qexplorer.search.backend import Document, WriteMode
from qexplorer.search.client import OpenSearchClient
from qexplorer.settings import Settings
from worker.app import Pipeline
from worker.dead_letters import LETTER
from worker.handler import Handler
from worker.health import Pulse
from worker.kafka import KafkaPublisher, Publisher, Record, client_options, translated
from worker.limits import no_limits
from worker.reading import Place, bounds_of, open_reader
from worker.release import Release, Releases
from worker.topics import partitions_of, wanted
from worker.wiring import Memory, checked, explorers, handler_of, inference_of, spare_collector

log = structlog.get_logger()

FOREVER = timedelta(days=36_500)
COMMIT_EVERY_S = 1.0
Ends = Mapping[TopicPartition, tuple[int, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What to replay, with what, and where to put it.

    `out` is a file of JSON lines, or `topic:NAME`; `index` takes the place of every policy's index, as an alias of a
    snapshot; `rate` is in flags a second and process.
    """

    run: str
    out: str
    start: Place | None = None
    end: Place | None = None
    index: str = ""
    prompt: str = ""
    rate: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What a process of a replay did."""

    flags: int
    seconds: float
    dead_letters: int


def suffix_of(run: str) -> str:
    """Return what the indices of a run end with. Raises ConfigError for a name that cannot be one."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", run):
        raise ConfigError(f"{run} cannot name a run", remedy="Use small letters, digits, dots and dashes")
    return f"-replay-{run}"


class ReplaySearch(OpenSearchClient):
    """OpenSearch for a replay: it searches everywhere and writes to the run's own indices alone."""

    def __init__(self, settings: Settings, suffix: str) -> None:
        super().__init__(settings.search)
        self._suffix = suffix

    async def request(self, method: str, path: str, body: Any = None, params: Mapping[str, str] | None = None) -> Any:
        """Send a request that reads, or one that writes to an index of the run."""
        index, _, action = path.strip("/").partition("/")
        reads = method == "GET" or path == "/_msearch" or action in {"_search", "_count", "_mget"}
        if not reads and not index.endswith(self._suffix):
            raise ConfigError(f"a replay may not write to {path}", remedy="This is a bug: report it")
        return await super().request(method, path, body, params)


class TopicOutput:
    """Puts the records into one topic, under their keys."""

    def __init__(self, publisher: Publisher, topic: str) -> None:
        self._publisher = publisher
        self._topic = topic

    async def publish(self, records: Sequence[Record]) -> None:
        """Return once the brokers have the records."""
        await self._publisher.publish(
            [Record(self._topic, record.key, record.value, record.headers) for record in records]
        )


class FileOutput:
    """Appends the records to a file as JSON lines; several processes may share it.

    What a cut-off process repeats has the same key: a reader keeps the last. A line that it has half written stays
    alone, since the next writer begins a new one.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._whole = False

    async def publish(self, records: Sequence[Record]) -> None:
        """Return once the lines are on the disk. Raises StorageError, which is waited for like every outage."""
        lines = b"".join(_line(record) for record in records)
        try:
            await asyncio.to_thread(self._append, lines)
        except OSError as error:
            raise StorageError(f"cannot write {self._path}: {error.strerror}", remedy="Free the disk") from error

    def _append(self, lines: bytes) -> None:
        with self._path.open("ab", buffering=0) as file:
            left = lines if self._whole else b"\n" + lines
            self._whole = False
            while left:
                left = left[file.write(left) or 0 :]
            self._whole = True


def _line(record: Record) -> bytes:
    headers = dict(record.headers)
    key = (record.key or b"").decode()
    if LETTER in headers:
        return orjson.dumps({"type": "DeadLetter", "key": key, "record": orjson.Fragment(headers[LETTER])}) + b"\n"
    kind = headers.get("type", b"").decode()
    return orjson.dumps({"type": kind, "key": key, "record": orjson.Fragment(record.value or b"null")}) + b"\n"


async def run_replay(settings: Settings, replay: Replay, tell: Callable[[str], None]) -> Done:
    """Replay until the bounds are reached.

    Raises ConfigError for an output or an index of production's, and when the run was started with other bounds.
    """
    suffix = suffix_of(replay.run)
    topic = replay.out.removeprefix("topic:") if replay.out.startswith("topic:") else ""
    _refuse_production(settings, topic)
    settings = settings.model_copy(
        update={"worker": settings.worker.model_copy(update={"run_id": replay.run, "dry_run_topic": ""})}
    )
    clock = SystemClock()
    metrics = Metrics(clock)
    limiter = SearchLimiter(settings.search.max_qps, clock)
    async with AsyncExitStack() as stack:
        search = ReplaySearch(settings, suffix)
        search.overloaded = limiter.back_off
        memory = Memory.of(search, settings, suffix)
        release = _for_replay(
            Releases(settings, explorers(search, memory, settings, clock=clock, limiter=limiter), replay.prompt).read(),
            replay.index,
        )
        output: Publisher
        if topic:
            await partitions_of(settings.kafka, [topic])
            output = TopicOutput(await stack.enter_async_context(KafkaPublisher(settings.kafka)), topic)
        else:
            output = FileOutput(Path(replay.out))
        await stack.enter_async_context(search)
        await checked(release, search)
        await memory.ensure(search)
        ends = await _bounds(settings, replay, search, memory.indices[1])
        inference = await stack.enter_async_context(inference_of(release, Pulse(settings.worker.heartbeat_timeout_s)))
        handler = handler_of(settings, memory, output, inference, release, limits=no_limits(), metrics=metrics)
        reader = await stack.enter_async_context(Reader(settings, replay, ends))
        spare_collector()
        flags, seconds = await _run(reader, handler, settings, replay.rate, tell)
        return Done(flags=flags, seconds=seconds, dead_letters=int(_total(metrics)))


def _refuse_production(settings: Settings, topic: str) -> None:
    if topic and topic in wanted(settings):
        raise ConfigError(f"{topic} is a topic of production", remedy="Replay to a topic or a file of its own")


def _for_replay(release: Release, index: str) -> Release:
    """Return the release without what only makes sense live: the age of flags, and the reviewers' cap."""
    changed: dict[str, Any] = {"max_flag_age": FOREVER, "cap_per_hour": None, **({"index": index} if index else {})}
    policies = tuple(policy.model_copy(update=changed) for policy in release.policies.policies)
    return replace(release, policies=release.policies.model_copy(update={"policies": policies}))


async def _bounds(settings: Settings, replay: Replay, search: OpenSearchClient, index: str) -> Ends:
    """Return from where to where, by partition: the first process of a run decides, and the others keep to it."""
    found: dict[TopicPartition, tuple[int, int]] = {}
    async with open_reader(settings.kafka) as consumer:
        for topic in settings.kafka.topics.flags:
            found |= await bounds_of(settings.kafka, consumer, topic, replay.start, replay.end)
    asked = {"from": str(replay.start), "to": str(replay.end), "index": replay.index}
    source = {**asked, "bounds": [[place.topic, place.partition, *found[place]] for place in sorted(found)]}
    await search.write(index, [Document(id="replay", source=source)], WriteMode.CREATE)
    kept = (await search.get(index, ["replay"]))["replay"].source
    if {name: kept[name] for name in asked} != asked:
        begun = f"from {kept['from']} to {kept['to']}, index {kept['index'] or 'of the policies'}"
        raise ConfigError(
            f"the run {replay.run} was begun {begun}", remedy="Give the same to go on, or another name for another run"
        )
    return {TopicPartition(topic, number): (start, end) for topic, number, start, end in kept["bounds"]}


class Reader(ConsumerRebalanceListener):  # type: ignore[misc]  # the library has no types
    """Reads this process's share of the partitions up to their ends, and commits what has been delivered."""

    def __init__(self, settings: Settings, replay: Replay, ends: Ends) -> None:
        self._kafka = settings.kafka
        self._group = f"{settings.kafka.group}-replay-{replay.run}"
        self._ends = ends
        self._done: dict[TopicPartition, int] = {}
        self._consumer: Any = None
        self.generation = 0
        self.settle: Callable[[], Any] | None = None

    async def __aenter__(self) -> Self:
        async with translated(self._kafka):
            self._consumer = AIOKafkaConsumer(
                **client_options(self._kafka),
                group_id=self._group,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
            )
            await self._consumer.start()
            self._consumer.subscribe(topics=list(self._kafka.topics.flags), listener=self)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.commit()
        await self._consumer.stop()

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Finish and commit before others get them."""
        if revoked and self.settle is not None:
            await self.settle()
            await self.commit()

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Go on where the run stopped, or begin where it begins."""
        self.generation += 1
        self._done.clear()
        for place in assigned:
            start, _ = self._ends.get(place, (0, 0))
            committed = await self._consumer.committed(place)
            self._consumer.seek(place, start if committed is None else max(start, committed))

    async def batch(self, size: int, wait_s: float) -> list[Any] | None:
        """Return the next messages of this process's share, an empty list while there are none, None at its end."""
        got = await self._consumer.getmany(timeout_ms=int(wait_s * 1000), max_records=size)
        messages = [
            message
            for place, batch in got.items()
            for message in batch
            if message.offset < self._ends.get(place, (0, 0))[1]
        ]
        return messages or (None if await self._at_the_end() else [])

    async def _at_the_end(self) -> bool:
        if places := self._consumer.assignment():
            ends = {place: self._ends.get(place, (0, 0))[1] for place in places}
            return not [place for place in places if await self._consumer.position(place) < ends[place]]
        # Without a partition, as in a rebalance or beside enough others: stand by until the run as a whole is done.
        left = [place for place, (start, end) in self._ends.items() if start < end]
        return not [place for place in left if (await self._consumer.committed(place) or 0) < self._ends[place][1]]

    def delivered(self, messages: Sequence[Any], generation: int) -> int:
        """Note what is safe; return how many were not ours any more."""
        if generation != self.generation:
            return len(messages)
        for message in messages:
            self._done[TopicPartition(message.topic, message.partition)] = message.offset + 1
        return 0

    async def commit(self) -> None:
        """Let the group know what has been delivered."""
        if self._done:
            done, self._done = self._done, {}
            await self._consumer.commit(done)


@dataclass(frozen=True, slots=True)
class _Event:
    message: Any
    value: bytes | None


class _Batch:
    """A micro-batch of a replay."""

    def __init__(self, reader: Reader, messages: Sequence[Any]) -> None:
        self.events = [_Event(message, message.value) for message in messages]
        self._reader = reader
        self._generation = reader.generation

    def is_stale(self) -> bool:
        """Whether its partitions have been given out anew: it is read again."""
        return self._generation != self._reader.generation

    def ack(self) -> int:
        """Note that all of it is safe."""
        return self._reader.delivered([event.message for event in self.events], self._generation)


async def _run(
    reader: Reader, handler: Handler, settings: Settings, rate: float, tell: Callable[[str], None]
) -> tuple[int, float]:
    running = asyncio.Event()
    running.set()
    pipeline = Pipeline(handler, running)
    reader.settle = lambda: pipeline.settle(settings.worker.drain_timeout_s)
    finishing = asyncio.create_task(pipeline.finish_all())
    started = said = committed = time.monotonic()
    taken = 0
    try:
        while (messages := await reader.batch(settings.worker.batch_size, settings.worker.batch_wait_s)) is not None:
            if finishing.done():
                finishing.result()
            if messages:
                batch: Any = _Batch(reader, messages)
                await pipeline.submit(batch)
                taken += len(messages)
            now = time.monotonic()
            if rate and taken / rate > now - started:
                await asyncio.sleep(taken / rate - (now - started))
            if now - committed >= COMMIT_EVERY_S:
                await reader.commit()
                committed = now
            if now - said >= 10:
                tell(f"{pipeline.flags} flags, {pipeline.flags / (now - started):.1f}/s")
                said = now
        while pipeline.in_hand:
            await pipeline.settle(1.0)
            if finishing.done():
                finishing.result()
        await reader.commit()
    finally:
        finishing.cancel()
    return pipeline.flags, time.monotonic() - started


def _total(metrics: Metrics) -> float:
    return sum(
        sample.value
        for family in metrics.dead_letters.collect()
        for sample in family.samples
        if sample.name.endswith("_total")
    )
