"""Orders to the whole fleet, on a compacted topic: the last one holds, also for workers that start later."""

import asyncio
import getpass
import itertools
import socket
from collections.abc import Callable
from typing import Any, Self

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition

from qexplorer.clock import Clock
from qexplorer.settings import KafkaSettings
from schemas import Command, Control, WireError
from worker.kafka import Record, client_options, translated
from worker.topics import partitions_of

log = structlog.get_logger()

FLEET = b"fleet"
# Who has the fleet pause because of too many dead letters; anybody else is a person.
TRIPPED = "worker:dead-letters"


class Orders:
    """The last order, and whether it lets work go on. `running` is set while it does."""

    def __init__(self, changed: Callable[[], None] = lambda: None) -> None:
        self.last: Control | None = None
        self.running = asyncio.Event()
        self.running.set()
        self._changed = changed

    @property
    def tripped(self) -> bool:
        """Whether too many dead letters are why the fleet pauses."""
        return self.last is not None and self.last.command is Command.PAUSE and self.last.issued_by == TRIPPED

    def take(self, order: Control) -> None:
        """Obey an order."""
        self.last = order
        if order.command is Command.PAUSE:
            self.running.clear()
        else:
            self.running.set()
        log.warning("order", command=order.command.value, reason=order.reason, issued_by=order.issued_by)
        self._changed()


def order(command: Command, reason: str, clock: Clock, topic: str, issued_by: str = "") -> Record:
    """Return an order as it is sent; by default it is this user's on this machine."""
    control = Control(command=command, reason=reason, issued_by=issued_by or _myself(), at=clock.now())
    return Record(topic, FLEET, control.to_bytes(), (("type", b"Control"),))


class ControlTopic:
    """Reads the orders from their beginning, without a group: every worker gets all of them."""

    def __init__(self, kafka: KafkaSettings, orders: Orders) -> None:
        self._kafka = kafka
        self._orders = orders
        self._consumer: Any = None

    async def __aenter__(self) -> Self:
        topic = self._kafka.topics.control
        places = [TopicPartition(topic, n) for n in range((await partitions_of(self._kafka, [topic]))[topic])]
        async with translated(self._kafka):
            consumer: Any = AIOKafkaConsumer(**client_options(self._kafka), enable_auto_commit=False)
            self._consumer = consumer
            await consumer.start()
            consumer.assign(places)
            await consumer.seek_to_beginning(*places)
            ends = await consumer.end_offsets(places)
            # Nothing is consumed before the standing order is known.
            while any([await consumer.position(place) < ends[place] for place in places]):
                self._take(await consumer.getmany(timeout_ms=200))
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._consumer is not None:
            await self._consumer.stop()

    async def follow(self) -> None:
        """Take new orders for ever; the client reconnects by itself."""
        while True:
            self._take(await self._consumer.getmany(timeout_ms=1000))

    def _take(self, records: dict[Any, list[Any]]) -> None:
        # In the order of the topic: all orders have one key, so one partition, and clocks of machines differ.
        for record in itertools.chain.from_iterable(records.values()):
            if record.key != FLEET or not record.value:
                continue
            try:
                self._orders.take(Control.from_bytes(record.value))
            except WireError as error:
                log.warning("an order that cannot be read is left out", error=str(error), offset=record.offset)


async def standing_order(kafka: KafkaSettings) -> Control | None:
    """Return the order that holds now; None when there never was one."""
    orders = Orders()
    async with ControlTopic(kafka, orders):
        return orders.last


def _myself() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "unknown"
    return f"{user}@{socket.gethostname()}"
