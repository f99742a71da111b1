"""How the worker reaches Kafka: one set of options, one producer, errors translated."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Protocol, Self

from aiokafka import AIOKafkaProducer
from aiokafka import errors as foreign
from aiokafka.conn import collect_hosts, create_conn
from aiokafka.partitioner import DefaultPartitioner

from qexplorer.errors import AccessError, BadInputError, BrokerUnavailableError, ConfigError, StorageError
from qexplorer.settings import KafkaSettings
from worker.envelopes import guard

Header = tuple[str, bytes]

# Of a batch before compression; the limit of the brokers (1 MB unless set otherwise) is for it as a whole.
BATCH_BYTES = 64 * 1024
MOST_BYTES = 8 * 1024 * 1024


class Publisher(Protocol):
    """Delivers records to topics."""

    async def publish(self, records: Sequence["Record"]) -> None:
        """Return once every record is stored by the broker; raises BrokerUnavailableError otherwise."""


class Record:
    """A record to publish; the key decides the partition, and with it the order."""

    __slots__ = ("headers", "key", "topic", "value")

    def __init__(self, topic: str, key: bytes | None, value: bytes | None, headers: Sequence[Header] = ()) -> None:
        self.topic = topic
        self.key = key
        self.value = value
        self.headers = tuple(headers)

    def size(self) -> int:
        """Return its bytes, as Kafka counts them against a limit."""
        headers = sum(len(name.encode()) + len(data or b"") for name, data in self.headers)
        return len(self.key or b"") + len(self.value or b"") + headers


def client_options(kafka: KafkaSettings) -> dict[str, Any]:
    """Return what every aiokafka client needs to reach the brokers, and to read what they hold.

    Raises ConfigError when the authority's certificate cannot be read.
    """
    guard()
    options: dict[str, Any] = {"bootstrap_servers": kafka.brokers, "security_protocol": kafka.security}
    if kafka.security.endswith("SSL"):
        options["ssl_context"] = ssl_context(kafka)
    if kafka.security.startswith("SASL"):
        options |= {
            "sasl_mechanism": kafka.sasl_mechanism,
            "sasl_plain_username": kafka.user,
            "sasl_plain_password": kafka.password.get_secret_value(),
        }
    return options


def ssl_context(kafka: KafkaSettings) -> ssl.SSLContext:
    """Return a context that verifies the brokers."""
    try:
        return ssl.create_default_context(cafile=str(kafka.ca_file) if kafka.ca_file else None)
    except OSError as error:
        raise ConfigError(
            f"the certificate {kafka.ca_file} cannot be read: {error.strerror or error}",
            remedy="Give the PEM file of the authority as kafka.ca_file",
        ) from error


@asynccontextmanager
async def translated(kafka: KafkaSettings) -> AsyncIterator[None]:
    """Turn aiokafka's errors into ours: refused logins and rights, missing topics, brokers out of reach."""
    try:
        yield
    except (foreign.AuthenticationFailedError, foreign.SaslAuthenticationFailed) as error:
        raise AccessError(
            f"Kafka at {kafka.brokers} refused the login of {kafka.user or 'nobody'}",
            remedy="Check kafka.user, kafka.password and kafka.sasl_mechanism",
        ) from error
    except (
        foreign.TopicAuthorizationFailedError,
        foreign.GroupAuthorizationFailedError,
        foreign.ClusterAuthorizationFailedError,
    ) as error:
        raise AccessError(
            f"Kafka at {kafka.brokers} refused a permission: {error}", remedy="Give the user the worker's rights"
        ) from error
    except ssl.SSLCertVerificationError as error:
        raise AccessError(
            f"the certificate of Kafka at {kafka.brokers} was refused: {error.verify_message}",
            remedy="Name the authority that signed it as kafka.ca_file; one that has expired must be renewed",
        ) from error
    except foreign.UnknownTopicOrPartitionError as error:
        raise ConfigError(
            f"a topic is missing at {kafka.brokers}: {error}", remedy="Create it, or run: python -m worker topics"
        ) from error
    except foreign.MessageSizeTooLargeError as error:
        # No retry makes it smaller.
        raise BadInputError(f"a record is larger than Kafka at {kafka.brokers} takes") from error
    except foreign.KafkaStorageError as error:
        raise StorageError(f"a disk of Kafka at {kafka.brokers} is full or broken", remedy="Free it") from error
    except (foreign.KafkaError, OSError, TimeoutError) as error:
        raise BrokerUnavailableError(
            f"Kafka at {kafka.brokers} does not answer: {type(error).__name__}: {error}",
            remedy="Check that it runs and that kafka.brokers is right",
        ) from error


async def log_in(kafka: KafkaSettings) -> None:
    """Connect once, and raise what refuses a login or a certificate: aiokafka's clients only log that.

    A broker that is out of reach says nothing about either, so the next one is asked.
    """
    if kafka.security == "PLAINTEXT":
        return
    options = client_options(kafka)
    for host, port, _ in collect_hosts(options.pop("bootstrap_servers"), randomize=False):
        try:
            connection = await create_conn(host, port, request_timeout_ms=10_000, **options)
        except ssl.SSLCertVerificationError:
            raise
        except (OSError, TimeoutError, foreign.KafkaConnectionError):
            continue
        connection.close()
        return


class KafkaPublisher:
    """An aiokafka producer that waits for delivery by all in-sync replicas.

    The worker has its own beside Faust's: sending through Faust's topics costs three quarters of the throughput. And it
    packs Kafka's batches itself, one future for each instead of one for each record, which is most of the rest.
    """

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        self._producer: Any = None
        self._partition_of = DefaultPartitioner()

    async def __aenter__(self) -> Self:
        async with translated(self._kafka):
            self._producer = AIOKafkaProducer(
                **client_options(self._kafka),
                acks="all",
                enable_idempotence=True,
                compression_type="zstd",
                max_batch_size=BATCH_BYTES,
                max_request_size=MOST_BYTES,
                request_timeout_ms=20_000,
            )
            try:
                await self._producer.start()
            except BaseException:
                await self._producer.stop()
                raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._producer.stop()

    async def publish(self, records: Sequence[Record]) -> None:
        """Return once every record is stored by the broker; records of a key keep their order."""
        async with translated(self._kafka):
            open_batches: dict[tuple[str, int], Any] = {}
            deliveries: list[Any] = []
            partitions = {
                topic: sorted(await self._producer.partitions_for(topic))
                for topic in {record.topic for record in records}
            }
            if any(record.size() > MOST_BYTES for record in records):
                raise foreign.MessageSizeTooLargeError
            for record in records:
                everywhere = partitions[record.topic]
                place = record.topic, self._partition_of(record.key, everywhere, everywhere)
                batch = open_batches.get(place)
                if batch is None or not _added(batch, record):
                    if batch is not None:
                        deliveries.append(await self._send(batch, place))
                    # A batch takes its first record whatever its size.
                    batch = open_batches[place] = self._producer.create_batch()
                    _added(batch, record)
            deliveries += [await self._send(batch, place) for place, batch in open_batches.items()]
            await asyncio.gather(*deliveries)

    async def _send(self, batch: Any, place: tuple[str, int]) -> Any:
        # Nobody adds to it any more: it does not have to linger.
        batch.close()
        return await self._producer.send_batch(batch, place[0], partition=place[1])


def _added(batch: Any, record: Record) -> bool:
    return bool(batch.append(timestamp=None, key=record.key, value=record.value, headers=list(record.headers)))


async def publish_once(kafka: KafkaSettings, records: Sequence[Record]) -> None:
    """Deliver a command's few records with a producer of their own."""
    async with KafkaPublisher(kafka) as publisher:
        await publisher.publish(records)
