"""Micro-batches that are acknowledged only when they say so.

`Stream.take` acknowledges in a `finally`, so a failing agent would lose the batch. `noack_take` does not, but it
yields events although it is annotated as yielding values, and the stream's interface does not declare it: both casts
stand here.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import faust
import structlog
from aiokafka.errors import CorruptRecordException
from faust.transport.drivers.aiokafka import Consumer

log = structlog.get_logger()

FULL_S = 0.01
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
        super().__init__(*args, **kwargs)

    async def _wait_next_records(self, timeout: float) -> Any:  # noqa: ASYNC109 - as the library has it
        await self._seek_back()
        while self.flow_active and not self.should_stop and not self._get_active_partitions():
            await self.sleep(FULL_S)
        records, active = await super()._wait_next_records(timeout)
        self._left = {
            place: (batch[0].offset, batch[-1].offset + 1) for place, batch in (records or {}).items() if batch
        }
        return records, active

    def _to_message(self, tp: Any, record: Any) -> Any:
        if tp in self._left:
            self._left[tp] = (record.offset + 1, self._left[tp][1])
        return super()._to_message(tp, record)

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


async def batches(app: faust.App, stream: Any, size: int, wait_s: float) -> AsyncIterator[Batch]:
    """Yield micro-batches of the stream."""
    source = cast("AsyncIterator[Sequence[Any]]", stream.noack_take(size, within=wait_s))
    async for events in source:
        if events:
            yield Batch(events=events, app=app)
