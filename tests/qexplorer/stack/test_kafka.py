import asyncio
import socket
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import UnknownTopicOrPartitionError

from qexplorer.errors import StackError
from qexplorer.stack import Endpoints, running
from qexplorer.stack.kafka import _formatted, _serves, version


async def test_a_group_reads_what_was_sent(engines: Endpoints) -> None:
    """A declared topic takes a message, and a consumer group gets it without waiting for a rebalance delay."""
    topic = "test-kafka-group"
    admin = AIOKafkaAdminClient(bootstrap_servers=engines.kafka)
    await admin.start()
    await admin.create_topics([NewTopic(topic, num_partitions=2, replication_factor=1)])
    await admin.close()
    async with AIOKafkaProducer(bootstrap_servers=engines.kafka) as producer:
        await producer.send_and_wait(topic, b"hello")
    async with AIOKafkaConsumer(
        topic, bootstrap_servers=engines.kafka, group_id="test-kafka", auto_offset_reset="earliest"
    ) as consumer:
        message = await asyncio.wait_for(consumer.getone(), 30)
    assert message.value == b"hello"


async def test_topics_are_not_made_by_asking(engines: Endpoints) -> None:
    """A topic that nobody declared does not exist, so that a misspelt name is seen."""
    async with AIOKafkaProducer(bootstrap_servers=engines.kafka, request_timeout_ms=1000) as producer:
        with pytest.raises(UnknownTopicOrPartitionError):
            await producer.partitions_for("test-kafka-undeclared")


def test_another_brokers_answer_is_not_taken_for_ours(engines: Endpoints) -> None:
    """A broker of another cluster on our port is an error, and a port without a broker is not ready."""
    assert engines.kafka is not None
    port = int(engines.kafka.rpartition(":")[2])
    with pytest.raises(StackError, match="Another Kafka"):
        _serves(port, "q-of-another-cluster")
    with socket.create_server(("127.0.0.1", 0)) as server:
        free = server.getsockname()[1]
    assert not _serves(free, "q-of-ours")


def test_the_version_is_the_locked_one() -> None:
    """The version that is shown comes from the lock file."""
    assert version().startswith("4.")


def test_the_data_folder_may_have_any_name(tmp_path: Path) -> None:
    """Topics lie in it and nowhere beside it, whatever its letters are, and are there at the next start."""
    folder = tmp_path / "données, \\ 数据"
    found = set()
    for _ in range(2):
        with running(opensearch=False, data=folder):
            found.add(_formatted(folder / "kafka"))
    assert len(found) == 1
    assert found != {None}
    assert list(tmp_path.iterdir()) == [folder]
