"""The worker's topics on a real Kafka: how they are made, and which order in one of them holds."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from qexplorer.errors import ConfigError
from qexplorer.settings import KafkaSettings, Settings, Topics
from qexplorer.stack import Endpoints
from qexplorer.testing import ManualClock
from schemas import Command
from tests.integration.site import WITHIN_S
from worker.control import order, standing_order
from worker.topics import check_topics, create_topics, differing


@pytest.fixture
def settings(engines: Endpoints) -> Settings:
    """Return settings whose topics do not exist yet."""
    name = uuid4().hex[:8]
    topics = Topics(
        flags=(f"flags-{name}",), suspects=f"suspects-{name}", audit=f"audit-{name}", dead_letters=f"dead-{name}",
        control=f"control-{name}",
    )  # fmt: skip
    return Settings(kafka=KafkaSettings(brokers=str(engines.kafka), topics=topics))


async def test_what_kafka_refuses_is_not_said_to_be_created(settings: Settings) -> None:
    """More replicas than there are brokers: the error says so, and a second try creates them."""
    with pytest.raises(ConfigError, match=r"refused to create .*replication"):
        await create_topics(settings, partitions=1, replication=3)
    assert set((await create_topics(settings, partitions=1, replication=1)).values()) == {True}
    assert set((await create_topics(settings, partitions=1, replication=1)).values()) == {False}
    assert set(await check_topics(settings)) == set(await create_topics(settings, partitions=1, replication=1))


async def test_topics_that_somebody_made_otherwise_are_named(settings: Settings) -> None:
    """An order would end with its retention, and a large dead letter would not fit."""
    topics = settings.kafka.topics
    await create_topics(settings, partitions=1, replication=1)
    assert await differing(settings) == {}
    other = {
        "suspects": f"own-{topics.suspects}",
        "control": f"own-{topics.control}",
        "dead_letters": f"own-{topics.dead_letters}",
    }
    made = settings.model_copy(
        update={"kafka": settings.kafka.model_copy(update={"topics": topics.model_copy(update=other)})}
    )
    admin: Any = AIOKafkaAdminClient(bootstrap_servers=settings.kafka.brokers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, 1, 1) for name in other.values()])
    finally:
        await admin.close()
    async with asyncio.timeout(WITHIN_S):
        # A broker tells the settings of a topic a moment after it was made.
        while True:
            found = await differing(made)
            if len(found) == len(other):
                break
            await asyncio.sleep(0.2)
    assert set(found) == set(other.values())
    assert "without compact" in found[other["control"]][0]
    assert "below 2097152" in found[other["dead_letters"]][1]


async def test_the_last_order_holds_whatever_clocks_say(settings: Settings) -> None:
    """A worker whose clock is ahead has stopped the fleet; who resumes it then is obeyed by later workers."""
    await create_topics(settings, partitions=1, replication=1)
    producer: Any = AIOKafkaProducer(bootstrap_servers=settings.kafka.brokers)
    await producer.start()
    try:
        for command, at in ((Command.PAUSE, 2_000_000), (Command.RESUME, 1_000_000)):
            record = order(command, "why", ManualClock(), settings.kafka.topics.control)
            await producer.send_and_wait(record.topic, key=record.key, value=record.value, timestamp_ms=at)
    finally:
        await producer.stop()
    last = await standing_order(settings.kafka)
    assert last is not None
    assert last.command is Command.RESUME
