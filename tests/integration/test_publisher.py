"""Records as they stand in a real Kafka after a publication."""

import random
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from qexplorer.errors import BadInputError
from qexplorer.settings import KafkaSettings
from qexplorer.stack import Endpoints
from worker.kafka import BATCH_BYTES, MOST_BYTES, KafkaPublisher, Record

PARTITIONS = 3


@pytest.fixture
async def topics(engines: Endpoints) -> list[str]:
    """Two new topics, of which the second takes messages of 100 KB at the most."""
    names = [f"out-{uuid4().hex[:8]}" for _ in range(2)]
    admin: Any = AIOKafkaAdminClient(bootstrap_servers=engines.kafka)
    await admin.start()
    try:
        small = {"max.message.bytes": "100000"}
        await admin.create_topics(
            [NewTopic(names[0], PARTITIONS, 1), NewTopic(names[1], PARTITIONS, 1, topic_configs=small)]
        )
    finally:
        await admin.close()
    return names


@pytest.fixture
async def publisher(engines: Endpoints) -> AsyncIterator[KafkaPublisher]:
    async with KafkaPublisher(KafkaSettings(brokers=str(engines.kafka))) as publisher:
        yield publisher


async def read(engines: Endpoints, topic: str, count: int) -> list[Any]:
    consumer: Any = AIOKafkaConsumer(topic, bootstrap_servers=engines.kafka, auto_offset_reset="earliest")
    await consumer.start()
    try:
        return [await anext(consumer) for _ in range(count)]
    finally:
        await consumer.stop()


async def test_all_is_stored_in_the_order_of_each_key(
    engines: Endpoints, topics: list[str], publisher: KafkaPublisher
) -> None:
    """Several batches' worth, among them one record that is larger than a batch, to two topics at once."""
    records = [
        Record(topics[n % 2], b"key%d" % (n % 5), b"%d" % n + b"." * (BATCH_BYTES // 40), (("n", b"%d" % n),))
        for n in range(200)
    ]
    records[70] = Record(topics[0], b"key0", b"70" + bytes(range(256)) * 300, (("n", b"70"),))
    records += [Record(topics[0], b"key0", None), Record(topics[0], None, b"without a key")]
    await publisher.publish(records)
    for topic, count in ((topics[0], 102), (topics[1], 100)):
        seen = await read(engines, topic, count)
        for key in {record.key for record in records}:
            wanted = [(r.value, r.headers) for r in records if (r.topic, r.key) == (topic, key)]
            assert [(message.value, message.headers) for message in seen if message.key == key] == wanted


async def test_a_key_goes_where_other_producers_send_it(
    engines: Endpoints, topics: list[str], publisher: KafkaPublisher
) -> None:
    """A later record, or a removal by somebody else, must meet the first in its partition."""
    keys = [b"key%d" % n for n in range(20)]
    await publisher.publish([Record(topics[0], key, b"ours") for key in keys])
    async with AIOKafkaProducer(bootstrap_servers=engines.kafka) as theirs:
        for key in keys:
            await theirs.send_and_wait(topics[0], b"theirs", key=key)
    places: dict[bytes, set[int]] = {}
    for message in await read(engines, topics[0], 2 * len(keys)):
        places.setdefault(message.key, set()).add(message.partition)
    assert all(len(each) == 1 for each in places.values())
    assert len(set.union(*places.values())) == PARTITIONS


async def test_a_record_that_no_retry_makes_smaller_is_bad_input(topics: list[str], publisher: KafkaPublisher) -> None:
    """By our own limit, and by the topic's; what comes after it is stored."""
    noise = random.Random(1).randbytes(200_000)
    for record in (Record(topics[0], b"k", b"x" * (MOST_BYTES + 1)), Record(topics[1], b"k", noise)):
        with pytest.raises(BadInputError, match="larger than Kafka"):
            await publisher.publish([record])
    await publisher.publish([Record(topics[1], b"k", b"small")])
