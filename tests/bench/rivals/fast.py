"""The job with faststream: `python fast.py BROKERS IN OUT`."""

import asyncio
import sys

from faststream import AckPolicy, FastStream
from faststream.kafka import KafkaBroker

SIZE = 64
BROKERS, SOURCE, TARGET = sys.argv[1:]

broker = KafkaBroker(BROKERS, acks="all", enable_idempotence=True, linger_ms=5, logger=None)


@broker.subscriber(  # type: ignore[untyped-decorator]  # the library is not installed beside mypy
    SOURCE, batch=True, max_records=SIZE, group_id=f"fast-{TARGET}", auto_offset_reset="earliest",
    ack_policy=AckPolicy.NACK_ON_ERROR,
)  # fmt: skip
async def job(messages: list[bytes]) -> None:
    """Send each item of a batch and wait for all; the library commits afterwards."""
    await asyncio.gather(*(broker.publish(message, TARGET) for message in messages))


if __name__ == "__main__":
    asyncio.run(FastStream(broker, logger=None).run())
