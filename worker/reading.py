"""Reading a part of a topic that is there now, from outside any group."""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from qexplorer.errors import BadInputError
from qexplorer.settings import KafkaSettings
from worker.kafka import client_options, translated
from worker.topics import partitions_of

IDLE_MS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a part of a topic begins or ends: an offset in every partition, or a time."""

    offset: int | None = None
    at: datetime | None = None

    @classmethod
    def parse(cls, text: str) -> "Place":
        """Read an offset (`1200`) or a time (`2026-01-31T04:00:00Z`). Raises BadInputError."""
        if text.isdigit():
            return cls(offset=int(text))
        try:
            at = datetime.fromisoformat(text)
        except ValueError:
            raise BadInputError(
                f"{text} is neither an offset nor a time", remedy="Write 1200, or 2026-01-31T04:00:00Z"
            ) from None
        return cls(at=at if at.tzinfo else at.astimezone())


Bounds = Mapping[TopicPartition, tuple[int, int]]


@asynccontextmanager
async def open_reader(kafka: KafkaSettings) -> AsyncIterator[Any]:
    """Open a consumer without a group."""
    async with translated(kafka):
        consumer: Any = AIOKafkaConsumer(
            **client_options(kafka), enable_auto_commit=False, auto_offset_reset="earliest", check_crcs=True
        )
        try:
            await consumer.start()
            yield consumer
        finally:
            await consumer.stop()


async def bounds_of(
    kafka: KafkaSettings, consumer: Any, topic: str, start: Place | None = None, end: Place | None = None
) -> Bounds:
    """Return partition → (first offset, offset behind the last) of what is there now between two places.

    Raises ConfigError when there is no such topic.
    """
    places = [TopicPartition(topic, number) for number in range((await partitions_of(kafka, [topic]))[topic])]
    firsts, lasts = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
    starts = await _offsets(consumer, places, start, firsts)
    ends = await _offsets(consumer, places, end, lasts)
    return {
        place: (max(firsts[place], starts[place]), max(firsts[place], min(lasts[place], ends[place])))
        for place in places
    }


async def _offsets(
    consumer: Any, places: Iterable[TopicPartition], place: Place | None, otherwise: Mapping[TopicPartition, int]
) -> Mapping[TopicPartition, int]:
    if place is None:
        return otherwise
    if place.offset is not None:
        return dict.fromkeys(places, place.offset)
    at = place.at
    found = await consumer.offsets_for_times({part: int(at.timestamp() * 1000) for part in places}) if at else {}
    # No message since then: the end, as it is now.
    ends = await consumer.end_offsets(list(places))
    return {part: found[part].offset if found.get(part) else ends[part] for part in places}


async def read_between(consumer: Any, bounds: Bounds) -> AsyncIterator[Any]:
    """Yield the messages within the bounds, in order within each partition, and end."""
    left = {place: end for place, (start, end) in bounds.items() if start < end}
    if not left:
        return
    consumer.assign(list(left))
    for place in left:
        consumer.seek(place, bounds[place][0])
    while left:
        batch = await consumer.getmany(*left, timeout_ms=IDLE_MS)
        for place, messages in batch.items():
            for message in messages:
                if message.offset < left[place]:
                    yield message
        for place in list(left):
            # Compaction leaves holes: what counts is how far we are, not what was read.
            if await consumer.position(place) >= left[place]:
                del left[place]


async def read_topic(
    kafka: KafkaSettings, topic: str, start: Place | None = None, end: Place | None = None
) -> AsyncIterator[Any]:
    """Yield what is in a topic now, between two places."""
    async with open_reader(kafka) as consumer:
        async for message in read_between(consumer, await bounds_of(kafka, consumer, topic, start, end)):
            yield message
