"""The job as a plain aiokafka loop: `python plain.py BROKERS IN OUT`."""

import asyncio
import sys

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

SIZE = 64


async def main(brokers: str, source: str, target: str) -> None:
    """Take batches, send each item, wait for all, commit; for ever."""
    consumer = AIOKafkaConsumer(
        source, bootstrap_servers=brokers, group_id=f"plain-{target}", auto_offset_reset="earliest",
        enable_auto_commit=False, max_poll_records=SIZE,
    )  # fmt: skip
    producer = AIOKafkaProducer(bootstrap_servers=brokers, acks="all", enable_idempotence=True, linger_ms=5)
    await consumer.start()
    await producer.start()
    while True:
        for messages in (await consumer.getmany(timeout_ms=1000, max_records=SIZE)).values():
            sent = [await producer.send(target, value=message.value, key=message.key) for message in messages]
            for delivery in sent:
                await delivery
            await consumer.commit()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
