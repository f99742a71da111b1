"""The topics that the worker needs: looked at, or created where they are missing."""

from collections.abc import Mapping
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from qexplorer.errors import ConfigError
from qexplorer.settings import KafkaSettings, Settings
from worker.kafka import client_options, translated

TWO_MEBIBYTES = str(2 * 1024 * 1024)


def wanted(settings: Settings) -> dict[str, Mapping[str, str]]:
    """Return topic → its settings. Dead letters hold a whole message and more; suspects are kept by their key."""
    topics = settings.kafka.topics
    return {
        topics.flags: {},
        topics.suspects: {"cleanup.policy": "compact,delete", "retention.ms": str(90 * 86_400_000)},
        topics.audit: {},
        topics.dead_letters: {"max.message.bytes": TWO_MEBIBYTES},
        topics.control: {"cleanup.policy": "compact"},
        **({settings.worker.dry_run_topic: {}} if settings.worker.dry_run_topic else {}),
    }


async def create_topics(settings: Settings, *, partitions: int, replication: int) -> dict[str, bool]:
    """Create the missing topics; return topic → whether it was created."""
    async with translated(settings.kafka):
        admin = await _admin(settings.kafka)
        try:
            present = set(await admin.list_topics())
            missing = {name: config for name, config in wanted(settings).items() if name not in present}
            new = [
                NewTopic(
                    name=name,
                    num_partitions=1 if name == settings.kafka.topics.control else partitions,
                    replication_factor=replication,
                    topic_configs=dict(config),
                )
                for name, config in missing.items()
            ]
            if new:
                await admin.create_topics(new)
        finally:
            await admin.close()
    return {name: name in missing for name in wanted(settings)}


async def check_topics(settings: Settings) -> dict[str, int]:
    """Return topic → its number of partitions. Raises ConfigError that names the missing ones."""
    async with translated(settings.kafka):
        admin = await _admin(settings.kafka)
        try:
            present = set(await admin.list_topics())
            missing = sorted(set(wanted(settings)) - present)
            if missing:
                raise ConfigError(
                    f"missing at {settings.kafka.brokers}: the topic {', '.join(missing)}",
                    remedy="Create it, or run: python -m worker topics --create",
                )
            described = await admin.describe_topics(sorted(wanted(settings)))
        finally:
            await admin.close()
    return {topic["topic"]: len(topic["partitions"]) for topic in described}


async def group_lag(settings: Settings) -> dict[int, tuple[int, int]]:
    """Return partition → (committed offset, end offset) of the worker's group on the topic of flags."""
    from aiokafka import AIOKafkaConsumer, TopicPartition

    topic = settings.kafka.topics.flags
    places = [TopicPartition(topic, number) for number in range((await check_topics(settings))[topic])]
    async with translated(settings.kafka):
        consumer: Any = AIOKafkaConsumer(
            **client_options(settings.kafka), group_id=settings.kafka.group, enable_auto_commit=False
        )
        try:
            await consumer.start()
            ends = await consumer.end_offsets(places)
            starts = await consumer.beginning_offsets(places)
            lag: dict[int, tuple[int, int]] = {}
            for place in places:
                committed = await consumer.committed(place)
                lag[place.partition] = (starts[place] if committed is None else committed, ends[place])
            return lag
        finally:
            await consumer.stop()


async def _admin(kafka: KafkaSettings) -> Any:
    admin: Any = AIOKafkaAdminClient(**client_options(kafka))
    try:
        await admin.start()
    except BaseException:
        await admin.close()
        raise
    return admin
