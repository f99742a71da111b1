"""The job with the worker's own consumer, batches, pipeline and producer: `python ours.py BROKERS IN OUT`."""

import asyncio
import sys
from collections.abc import Sequence
from typing import Any

from qexplorer.settings import KafkaSettings, Settings, Topics, WorkerSettings
from worker.app import Pipeline, create_app
from worker.kafka import KafkaPublisher, Record
from worker.wiring import spare_collector
from worker.work import Message

SIZE = 64


class Copy:
    """A handler that finds nothing to do but to send each message on."""

    def __init__(self, publisher: KafkaPublisher, target: str) -> None:
        self._publisher = publisher
        self._target = target

    async def read(self, messages: Sequence[Message]) -> Sequence[Message]:
        """Hand them on."""
        return messages

    generate = propose = search = read

    async def deliver(self, messages: Sequence[Message]) -> None:
        """Send each and wait for all."""
        await self._publisher.publish([Record(self._target, message.key, message.value) for message in messages])


async def main(brokers: str, source: str, target: str) -> None:
    """Run for ever."""
    kafka = KafkaSettings(brokers=brokers, group=f"ours-{target}", topics=Topics(flags=(source,)))
    settings = Settings(kafka=kafka, worker=WorkerSettings(batch_size=SIZE, batch_wait_s=0.2))
    running, ended = asyncio.Event(), asyncio.Event()
    running.set()
    async with KafkaPublisher(kafka) as publisher:
        handler: Any = Copy(publisher, target)
        pipeline = Pipeline(handler, running)
        app: Any = create_app(settings, pipeline, ended)
        app.finalize()
        spare_collector()
        await app.start()
        await pipeline.finish_all()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
