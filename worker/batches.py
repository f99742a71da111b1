"""Micro-batches that are acknowledged only when they say so."""

import asyncio
import functools
import types
from collections.abc import AsyncGenerator, Generator, Sequence
from dataclasses import dataclass
from typing import Any

import faust
import structlog
from aiokafka.errors import CorruptRecordException
from faust.transport.drivers.aiokafka import Consumer
from mode.services import WaitResults
from mode.utils.queues import FlowControlEvent

log = structlog.get_logger()

# So long a full partition keeps the others from being read: then the fetches go on without it.
FULL_S = 0.1
LEAST_URGENT_EVERY = 4
UNREADABLE_S = 10.0


@dataclass(frozen=True, slots=True)
class Batch:
    """Messages in order of arrival, at most `batch_size`, at most `batch_wait_s` apart from the first."""

    events: Sequence[Any]
    app: faust.App

    def is_stale(self) -> bool:
        """Whether none of it belongs to this worker's assignment any more: it is read again by its new owner."""
        generation = self.app.consumer_generation_id
        return all(event.message.generation_id != generation for event in self.events)

    def ack(self) -> int:
        """Acknowledge in order what still belongs to this worker's assignment; return how many were not ours any more.

        Called once, after everything that the batch led to has been delivered.
        """
        generation = self.app.consumer_generation_id
        stale = 0
        for event in self.events:
            if event.message.generation_id == generation:
                event.ack()
            else:
                stale += 1
        return stale


class KeptFlow(FlowControlEvent):  # type: ignore[misc]  # the library's base has no types
    """Stops and resumes the flow of messages without emptying their queue.

    Faust empties it whenever the flow is resumed. Where two rebalances follow closely it is resumed twice, and what
    came in between would be gone without ever having been seen. What must not be answered is told by its generation.
    """

    def manage_queue(self, queue: Any) -> None:
        """Leave it alone."""


class PromptConsumer(Consumer):  # type: ignore[misc]  # the library's base has no types
    """Reads on as soon as there is room, urgent topics first, and loses nothing that it has read.

    Faust's own consumer sleeps for a second when the buffer of every partition is full, and a worker that empties its
    buffer sooner starves for the rest of it. It also reads a partition to the end of what was fetched of it before
    another one, so a flood in one topic would delay all others. `topics` are in order of urgency; now and then the
    least urgent come first, so that they are never starved.

    And it drops what it has fetched when a rebalance ends in that moment, and reads on behind it. For a partition in
    which nothing was ever committed the seek after a rebalance does not go back, so what was dropped would be committed
    without ever having been seen. What was fetched and not handed on is therefore read again. A fetch is also given a
    set of its own: Faust empties the one that it has handed to its thread, and an empty set means all partitions.
    """

    topics: tuple[str, ...] = ()
    _turn = 0
    _seeks = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Partition → the first offset that was fetched and not handed on, and the one behind the last.
        self._left: dict[Any, tuple[int, int]] = {}
        self._room = asyncio.Event()
        super().__init__(*args, **kwargs)

    def on_buffer_drop(self, tp: Any) -> None:
        """Read on: the buffer of a partition has room again."""
        super().on_buffer_drop(tp)
        self._room.set()

    async def _wait_next_records(self, timeout: float) -> Any:  # noqa: ASYNC109 - as the library has it
        await self._seek_back()
        while self.flow_active and not self.should_stop and self._buffered_partitions:
            self._room.clear()
            try:
                await asyncio.wait_for(self._room.wait(), FULL_S)
            except TimeoutError:
                if self._get_active_partitions():
                    break
        records, active = await super()._wait_next_records(timeout)
        self._left = {
            place: (batch[0].offset, batch[-1].offset + 1) for place, batch in (records or {}).items() if batch
        }
        return records, active

    def _to_message(self, tp: Any, record: Any) -> Any:
        if tp in self._left:
            self._left[tp] = (record.offset + 1, self._left[tp][1])
        return super()._to_message(tp, record)

    async def wait_first(self, *waits: Any, timeout: Any = None) -> Any:  # noqa: ASYNC109 - as the library has it
        """Hand on a message at once where nothing has to be waited for.

        Faust makes four tasks for each message, to hear when the flow is stopped while there is no room for it.
        """
        if len(waits) != 2 or timeout is not None or not asyncio.iscoroutine(waits[0]):
            return await super().wait_first(*waits, timeout=timeout)
        handing_on, stopped = waits
        try:
            waits_for = handing_on.send(None)
        except StopIteration as end:
            stopped.close()
            return WaitResults([handing_on], [end.value], stopped=False)
        except BaseException:
            stopped.close()
            raise
        return await super().wait_first(_awaited(handing_on, waits_for), stopped)

    async def perform_seek(self) -> None:
        """Go back to what is committed, as after a rebalance; where nothing is, this goes nowhere."""
        self._seeks += 1
        await super().perform_seek()

    async def _seek_back(self) -> None:
        left, self._left = self._left, {}
        seeks = self._seeks
        for place, (first, end) in left.items():
            # Elsewhere than behind the records: somebody has moved it since, and knew why.
            if (
                first < end
                and place in self.assignment()
                and await self.position(place) == end
                and seeks == self._seeks
            ):
                log.info("read again: a rebalance had dropped it", partition=place.partition, first=first, end=end)
                await self.seek(place, first)
        if seeks != self._seeks:
            # A rebalance came in between, and one of ours may have undone its seek.
            await self.perform_seek()

    async def _getmany(self, active_partitions: Any, timeout: float) -> Any:  # noqa: ASYNC109 - as the library has it
        if not active_partitions:
            return {}
        try:
            return await self._most_urgent(set(active_partitions), timeout)
        except CorruptRecordException as error:
            # The error names the partition; the others of the same answer wait with it.
            log.warning(
                "the flags cannot be read: the checksum of a batch is wrong, as by a broken disk or line",
                partitions=sorted(f"{place.topic}/{place.partition}" for place in active_partitions),
                error=f"{type(error).__name__}: {error}"[:200],
                remedy="If it stays: see the runbook for a partition that stands still",
            )
            await self.sleep(UNREADABLE_S)
            return {}

    async def _most_urgent(self, active_partitions: Any, timeout: float) -> Any:  # noqa: ASYNC109 - likewise
        self._turn += 1
        for topic in self.topics[::-1] if self._turn % LEAST_URGENT_EVERY == 0 else self.topics:
            places = {place for place in active_partitions if place.topic == topic}
            if len(places) < len(active_partitions) and places:
                records = await super()._getmany(places, 0.0)
                if records:
                    return records
        return await super()._getmany(active_partitions, timeout)


def consumer_of(topics: Sequence[str]) -> type[PromptConsumer]:
    """Return the consumer's class for topics in order of urgency."""
    return type("TopicsConsumer", (PromptConsumer,), {"topics": tuple(topics)})


async def batches(app: faust.App, stream: Any, size: int, wait_s: float) -> AsyncGenerator[Batch, None]:
    """Yield micro-batches of what the stream's channel receives, until that is closed.

    The stream itself is passed by. Its `take` acknowledges in a `finally`, so that a failing agent loses its batch, and
    any way through it costs a message more than all the rest of its way from Kafka and back.
    """
    queue = aiter(stream.channel).queue
    waiting: asyncio.Task[Any] | None = None
    try:
        while True:
            events = [await (waiting or queue.get())]
            waiting = None
            until = app.loop.time() + wait_s
            while len(events) < size:
                if not queue.empty():
                    events.append(queue.get_nowait())
                    continue
                # Kept for the next batch: one that is cancelled by a timeout might lose an event.
                waiting = asyncio.create_task(queue.get())
                done, _ = await asyncio.wait({waiting}, timeout=until - app.loop.time())
                if not done:
                    break
                events.append(waiting.result())
                waiting = None
            # Faust complains of a partition of which nothing comes in for minutes; else its stream would tell it so.
            for place in {event.message.tp for event in events}:
                app.monitor.stream_inbound_time[place] = app.monitor.time()
            if current := [event for event in events if event.message.generation_id == app.consumer_generation_id]:
                yield Batch(events=current, app=app)
    except StopAsyncIteration:
        # So the channel says that the worker ends; what was taken in and not yielded is read again.
        return
    finally:
        if waiting is not None:
            waiting.cancel()


@types.coroutine
def _rest(coroutine: Any, waits_for: Any) -> Generator[Any, Any, Any]:
    """Go on with a coroutine that has begun and waits for something."""
    while True:
        try:
            value = yield waits_for
        except BaseException as error:  # noqa: BLE001 - it is the coroutine's to handle
            step = functools.partial(coroutine.throw, error)
        else:
            step = functools.partial(coroutine.send, value)
        try:
            waits_for = step()
        except StopIteration as end:
            return end.value


async def _awaited(coroutine: Any, waits_for: Any) -> Any:
    return await _rest(coroutine, waits_for)
