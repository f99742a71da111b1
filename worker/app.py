"""The Faust app: one agent that feeds the stages of the handler and acknowledges in order."""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import faust
import structlog

from qexplorer.settings import KafkaSettings, Settings
from worker.batches import Batch, KeptFlow, batches, consumer_of
from worker.envelopes import guard
from worker.handler import Handler
from worker.kafka import ssl_context
from worker.work import Found, Message, Prepared

log = structlog.get_logger()
T = TypeVar("T")
R = TypeVar("R")

# Faust pulls this many micro-batches ahead; bounded, since a listing may have a megabyte of text.
BATCHES_AHEAD = 2
# One for each stage.
IN_HAND = 5
FETCH_BYTES = 128 * 1024


class Pipeline:
    """Generates for one batch while the next is read, and those before it are searched and delivered, in order.

    All but generating waits for others most of its time, so side by side it takes little longer than one of them.
    """

    def __init__(self, handler: Handler, running: asyncio.Event) -> None:
        """Take batches while `running` is set."""
        self._handler = handler
        self._running = running
        self._room = asyncio.Semaphore(IN_HAND)
        # One batch is read ahead: more would be more to finish before a partition goes to somebody else.
        self._ahead = asyncio.Semaphore(2)
        self._read: asyncio.Queue[tuple[Batch, Prepared]] = asyncio.Queue()
        self._generated: asyncio.Queue[tuple[Batch, Prepared]] = asyncio.Queue()
        self._proposed: asyncio.Queue[tuple[Batch, Prepared]] = asyncio.Queue()
        self._found: asyncio.Queue[tuple[Batch, Found]] = asyncio.Queue()
        self._pending = 0
        self.flags = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self.draining = False

    @property
    def in_hand(self) -> int:
        """How many batches are between being taken and being acknowledged."""
        return self._pending

    async def submit(self, batch: Batch) -> None:
        """Run the first stage of a batch and hand it to the second; while draining, take nothing more."""
        await self._room.acquire()
        await self._ahead.acquire()
        if self.draining:
            # What is not taken stays unacknowledged and is read again by whoever gets the partition.
            await asyncio.Event().wait()
        await self._running.wait()
        if batch.is_stale():
            self._ahead.release()
            self._room.release()
            return
        self._pending += 1
        self._idle.clear()
        await self._read.put((batch, await self._handler.read([_message(event) for event in batch.events])))

    async def finish_all(self) -> None:
        """Run the later stages of batch after batch, for ever."""
        async with asyncio.TaskGroup() as stages:
            stages.create_task(_pass_on(self._read, self._generate, self._generated))
            stages.create_task(_pass_on(self._generated, self._handler.propose, self._proposed))
            stages.create_task(_pass_on(self._proposed, self._handler.search, self._found))
            stages.create_task(self._deliver_all())

    async def _generate(self, prepared: Prepared) -> Prepared:
        generated = await self._handler.generate(prepared)
        self._ahead.release()
        return generated

    async def _deliver_all(self) -> None:
        while True:
            batch, found = await self._found.get()
            await self._handler.deliver(found)
            stale = batch.ack()
            self.flags += len(batch.events)
            if stale:
                log.info("not acknowledged, the partition has moved", messages=stale)
            self._pending -= 1
            self._room.release()
            if not self._pending:
                self._idle.set()

    async def settle(self, timeout_s: float) -> None:
        """Wait until the work in hand is finished and acknowledged, before its partitions go to somebody else."""
        try:
            await asyncio.wait_for(self._idle.wait(), timeout_s)
        except TimeoutError:
            log.warning("partitions leave with work in hand: it is done again by whoever gets them")

    async def drain(self, timeout_s: float) -> bool:
        """Take nothing more and wait for the work in hand; return whether it was finished in time."""
        self.draining = True
        try:
            await asyncio.wait_for(self._idle.wait(), timeout_s)
        except TimeoutError:
            return False
        return True


async def _pass_on(
    source: asyncio.Queue[tuple[Batch, T]], stage: Callable[[T], Awaitable[R]], target: asyncio.Queue[tuple[Batch, R]]
) -> None:
    """Take batch after batch through a stage, for ever."""
    while True:
        batch, work = await source.get()
        await target.put((batch, await stage(work)))


def create_app(settings: Settings, pipeline: Pipeline, stopped: asyncio.Event) -> faust.App:
    """Return the app with its one agent.

    `stopped` is set when the stream ends, for nothing else would end the process.
    """
    guard()
    worker, kafka = settings.worker, settings.kafka
    app = faust.App(
        kafka.group,
        broker=[f"kafka://{broker.strip()}" for broker in kafka.brokers.split(",")],
        broker_credentials=_credentials(kafka),
        store="memory://",
        # Faust makes this folder though nothing goes into it; where the worker starts it may not write.
        datadir=Path(tempfile.gettempdir()) / f"faust-{kafka.group}",
        web_enabled=False,
        autodiscover=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        table_standby_replicas=0,
        consumer_auto_offset_reset="earliest",
        stream_wait_empty=False,
        stream_buffer_maxsize=worker.batch_size * BATCHES_AHEAD,
        broker_max_poll_records=worker.batch_size * BATCHES_AHEAD,
        # A partition is read to the end of what was fetched of it before another one: no more than this at once.
        consumer_max_fetch_size=FETCH_BYTES,
        # Heartbeats watch over a stuck worker; a long outage of the search is no reason to leave the group.
        broker_max_poll_interval=86_400.0,
        broker_commit_interval=1.0,
        # A killed worker keeps its partitions for this long. The loop is never blocked, so heartbeats keep up.
        broker_session_timeout=12.0,
        worker_redirect_stdouts=False,
    )
    app.flow_control = KeptFlow()
    transport: Any = app.transport
    transport.Consumer = consumer_of(kafka.topics.flags)
    topic = app.topic(
        *kafka.topics.flags,
        key_type=bytes,
        value_type=bytes,
        key_serializer="raw",
        value_serializer="raw",
        internal=False,
    )

    async def revoked(_: Any, revoked: Any, **__: Any) -> None:
        # Committing while the group waits for us is what keeps a rebalance from repeating the work in hand.
        await pipeline.settle(worker.drain_timeout_s)
        await app.consumer.commit()
        log.info("revoked", partitions=sorted(tp.partition for tp in revoked))

    app.on_partitions_revoked.connect(revoked, weak=False)

    async def explore(stream: Any) -> None:
        try:
            async for batch in batches(app, stream, worker.batch_size, worker.batch_wait_s):
                await pipeline.submit(batch)
        finally:
            stopped.set()

    app.agent(topic, name="explore", concurrency=1)(explore)
    return app


def _message(event: Any) -> Message:
    message = event.message
    headers = message.headers or ()
    pairs = headers.items() if isinstance(headers, dict) else headers
    return Message(
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        key=message.key,
        value=event.value,
        headers=tuple((str(name), value) for name, value in pairs),
        arrived=getattr(message, "time_in", None),
    )


def _credentials(kafka: KafkaSettings) -> Any:
    from faust.auth import SASLCredentials, SSLCredentials

    context = ssl_context(kafka) if kafka.security.endswith("SSL") else None
    if kafka.security.startswith("SASL"):
        return SASLCredentials(
            username=kafka.user,
            password=kafka.password.get_secret_value(),
            ssl_context=context,
            mechanism=kafka.sasl_mechanism,
        )
    return SSLCredentials(context=context) if context is not None else None
