"""The topics that the worker needs: looked at, or created where they are missing."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    CoordinatorNotAvailableError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    for_code,
)
from aiokafka.protocol.metadata import MetadataRequest

from qexplorer.errors import AccessError, ConfigError
from qexplorer.settings import KafkaSettings, Settings, Topics
from worker.kafka import client_options, log_in, translated

KEPT_DAYS = 90
TWO_MEBIBYTES = str(2 * 1024 * 1024)


def wanted(settings: Settings) -> dict[str, Mapping[str, str]]:
    """Return topic → its settings.

    What the worker writes is kept by its key, so that a repeat takes the place of the first, and a record without a
    value removes it. Dead letters hold a whole message and more.
    """
    topics = settings.kafka.topics
    kept = {"cleanup.policy": "compact,delete", "retention.ms": str(KEPT_DAYS * 86_400_000)}
    dry_run = dry_run_topics(topics, settings.worker.dry_run_topic) if settings.worker.dry_run_topic else topics
    return {
        **{flags: {} for flags in topics.flags},
        topics.control: {"cleanup.policy": "compact"},
        **{name: kept for each in (topics, dry_run) for name in (each.suspects, each.audit)},
        **{each.dead_letters: {**kept, "max.message.bytes": TWO_MEBIBYTES} for each in (topics, dry_run)},
    }


def dry_run_topics(topics: Topics, name: str) -> Topics:
    """Return the topics of a dry run: flags and orders are production's, what it writes is its own."""
    own = {"suspects": name, "audit": f"{name}-audit", "dead_letters": f"{name}-dead-letters"}
    return topics.model_copy(update=own)


async def create_topics(settings: Settings, *, partitions: int, replication: int) -> dict[str, bool]:
    """Create the missing topics; return topic → whether it was created.

    Raises ConfigError, or AccessError, that says which ones Kafka refused and why.
    """
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
                _refuse(settings.kafka, (await admin.create_topics(new)).topic_errors)
        finally:
            await admin.close()
    return {name: name in missing for name in wanted(settings)}


def _refuse(kafka: KafkaSettings, answers: Sequence[tuple[Any, ...]]) -> None:
    """Raise what Kafka has answered for each topic, which the client does not look at."""
    refused = {name: (for_code(code), more) for name, code, *more in answers if code}
    refused = {name: why for name, why in refused.items() if why[0] is not TopicAlreadyExistsError}
    for name, (error, more) in refused.items():
        if issubclass(error, (TopicAuthorizationFailedError, ClusterAuthorizationFailedError)):
            raise error(name)
        why = next(iter(more), None) or error.__name__
        raise ConfigError(
            f"Kafka at {kafka.brokers} refused to create {', '.join(refused)}: {why}",
            remedy="Give --partitions and --replication that the brokers allow",
        )


async def check_topics(settings: Settings) -> dict[str, int]:
    """Return topic → its number of partitions, and see that the group may be joined, which Faust would wait for.

    Raises ConfigError that names the missing ones, AccessError for what is not allowed.
    """
    counts = await partitions_of(settings.kafka, wanted(settings))
    async with translated(settings.kafka):
        admin = await _admin(settings.kafka)
        try:
            await admin.find_coordinator(settings.kafka.group)
        except CoordinatorNotAvailableError:
            pass  # of a broker that has just started
        finally:
            await admin.close()
    return counts


async def partitions_of(kafka: KafkaSettings, names: Iterable[str]) -> dict[str, int]:
    """Return topic → its number of partitions.

    Raises ConfigError that names the missing ones, AccessError that names those that the user may not see.
    """
    async with translated(kafka):
        admin = await _admin(kafka)
        try:
            missing = sorted(set(names) - set(await admin.list_topics()))
            hidden = await _hidden(admin, missing)
            if hidden:
                raise AccessError(
                    f"Kafka at {kafka.brokers} lets {kafka.user or 'nobody'} not use the topic {', '.join(hidden)}",
                    remedy="Give the user the worker's rights, and check kafka.topics",
                )
            if missing:
                raise ConfigError(
                    f"missing at {kafka.brokers}: the topic {', '.join(missing)}",
                    remedy="Create it, or run: python -m worker topics --create",
                )
            described = await admin.describe_topics(sorted(names))
        finally:
            await admin.close()
    return {topic["topic"]: len(topic["partitions"]) for topic in described}


async def group_lag(settings: Settings) -> dict[tuple[str, int], tuple[int, int]]:
    """Return (topic, partition) → (committed offset, end offset) of the worker's group on the topics of flags."""
    from aiokafka import AIOKafkaConsumer, TopicPartition

    counts = await check_topics(settings)
    places = [TopicPartition(topic, n) for topic in settings.kafka.topics.flags for n in range(counts[topic])]
    async with translated(settings.kafka):
        consumer: Any = AIOKafkaConsumer(
            **client_options(settings.kafka), group_id=settings.kafka.group, enable_auto_commit=False
        )
        try:
            await consumer.start()
            ends = await consumer.end_offsets(places)
            starts = await consumer.beginning_offsets(places)
            lag: dict[tuple[str, int], tuple[int, int]] = {}
            for place in places:
                committed = await consumer.committed(place)
                lag[place.topic, place.partition] = (starts[place] if committed is None else committed, ends[place])
            return lag
        finally:
            await consumer.stop()


async def retention_of(kafka: KafkaSettings, names: Sequence[str]) -> dict[str, float | None]:
    """Return topic → after how many hours Kafka drops a message; None for never. What it does not tell is left out."""
    found: dict[str, float | None] = {}
    for name, config in (await _configs(kafka, names)).items():
        ms = int(config.get("retention.ms") or -1)
        found[name] = ms / 3_600_000 if ms >= 0 else None
    return found


async def differing(settings: Settings) -> dict[str, list[str]]:
    """Return topic → what of its settings would lose something: orders, repeats' order, or large dead letters.

    How long records are kept is the platform's to say.
    """
    found: dict[str, list[str]] = {}
    asked = wanted(settings)
    for name, config in (await _configs(settings.kafka, list(asked))).items():
        policy = set(str(config.get("cleanup.policy", "")).split(","))
        if "cleanup.policy" in asked[name] and "compact" not in policy:
            found.setdefault(name, []).append(f"cleanup.policy is {','.join(policy)}, without compact")
        least = int(asked[name].get("max.message.bytes", 0))
        if int(config.get("max.message.bytes") or least) < least:
            found.setdefault(name, []).append(f"max.message.bytes is {config['max.message.bytes']}, below {least}")
    return found


async def _configs(kafka: KafkaSettings, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    async with translated(kafka):
        admin = await _admin(kafka)
        try:
            asked = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
            answers = await admin.describe_configs(asked)
        finally:
            await admin.close()
    # (error code, error, type, name, entries): an error is of a topic that is missing, or whose settings are not shown.
    resources = (resource for answer in answers for resource in answer.resources if not resource[0])
    return {resource[3]: {entry[0]: entry[1] for entry in resource[4]} for resource in resources}


async def _hidden(admin: Any, names: Sequence[str]) -> list[str]:
    """Return those of the topics that Kafka keeps from this user, whether they exist or not."""
    if not names:
        return []
    # Asked like this, Kafka does not make the topic, whatever its own settings say.
    answer = await admin._send_request(MetadataRequest(list(names), allow_auto_topic_creation=False))  # noqa: SLF001 - describe_topics may create
    return [
        row["topic"] for row in answer.to_object()["topics"] if row["error_code"] == TopicAuthorizationFailedError.errno
    ]


async def _admin(kafka: KafkaSettings) -> Any:
    await log_in(kafka)
    admin: Any = AIOKafkaAdminClient(**client_options(kafka))
    try:
        await admin.start()
    except BaseException:
        await admin.close()
        raise
    return admin
