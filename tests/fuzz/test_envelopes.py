"""Batches that only Kafka's own format makes hostile: codecs, header names, sizes, and what they grow to."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from qexplorer.demo.workers import WorkerProcess, workers
from qexplorer.stack import Endpoints
from tests.integration.site import Site, flag

MEGABYTE = 2**20
# Writes a header whose name is no UTF-8: the pure Python encoder of the client asks the name for its bytes.
BAD_HEADER = """
import asyncio, sys
from aiokafka import AIOKafkaProducer
class Name(str):
    def encode(self, *_): return bytes([255, 254])
async def main():
    async with AIOKafkaProducer(bootstrap_servers=sys.argv[1]) as producer:
        await producer.send_and_wait(sys.argv[2], b"poison", partition=0, headers=[(Name("x"), b"1")])
asyncio.run(main())
"""


@pytest.fixture
async def site(engines: Endpoints, tmp_path: Path) -> Site:
    made = Site(engines, tmp_path, {"kind": "scripted"})
    made.settings["worker"] |= {"dead_letters_in_a_row": 10**6, "dead_letter_share": 1.0}
    await made.prepare(partitions=1)
    return made


async def put(site: Site, values: Sequence[bytes], **options: Any) -> None:
    """Send the values as one batch where they fit."""
    producer = AIOKafkaProducer(
        bootstrap_servers=site.brokers, max_request_size=2**30, max_batch_size=2**30, linger_ms=500, **options
    )
    await producer.start()
    try:
        sent = [await producer.send(site.topics["flags"], value, partition=0) for value in values]
        await asyncio.gather(*sent)
    finally:
        await producer.stop()


async def set_topic(site: Site, **configs: str) -> None:
    """Change settings of the topic of flags."""
    admin = AIOKafkaAdminClient(bootstrap_servers=site.brokers)
    await admin.start()
    try:
        names = {name.replace("_", "."): value for name, value in configs.items()}
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, site.topics["flags"], names)])
    finally:
        await admin.close()


class Peak:
    """The most memory that a worker's main process has had, in MB."""

    def __init__(self, worker: WorkerProcess) -> None:
        self.megabytes = 0
        self._worker = worker

    async def watch(self) -> None:
        """Look often: what is unpacked is soon gone again."""
        while self._worker.process.is_running:
            for child in psutil.Process(self._worker.process.guard_pid).children():
                self.megabytes = max(self.megabytes, child.memory_info().rss // MEGABYTE)
            await asyncio.sleep(0.02)


async def survived(site: Site, letters: int) -> int:
    """Run a worker until the flags before and after are answered and the rest is set aside; return its peak in MB."""
    with workers(1, site.settings, site.folder) as (worker,):
        peak = Peak(worker)
        watching = asyncio.create_task(peak.watch())
        async with site.reading() as seen:
            wanted = {"flag-seed0", "flag-seed1"}
            await seen.until(
                lambda: (
                    not worker.process.is_running
                    or (len(seen.letters) >= letters and wanted <= {result.flag_id for result in seen.results})
                ),
                within_s=30,
            )
        assert worker.process.is_running, worker.process.output()[-2000:]
        watching.cancel()
        assert len(seen.letters) == letters
    return peak.megabytes


async def between_flags(site: Site, values: Sequence[bytes], **options: Any) -> None:
    await put(site, [flag(0)])
    await put(site, values, **options)
    await put(site, [flag(1)])


@pytest.mark.parametrize("codec", ["gzip", "lz4", "snappy", "zstd"])
async def test_every_codec_of_kafka_is_read(site: Site, codec: str) -> None:
    """Producers choose the codec; one that cannot be read stops a partition, and each worker that gets it."""
    await set_topic(site, compression_type=codec)
    await between_flags(site, [b"poison"])
    await survived(site, 1)


async def test_a_header_name_that_is_no_utf_8_is_read(site: Site) -> None:
    """Kafka takes any bytes for the name of a header, its client does not: the message is set aside like its like."""
    await put(site, [flag(0)])
    command = [sys.executable, "-c", BAD_HEADER, site.brokers, site.topics["flags"]]
    subprocess.run(command, check=True, timeout=60, env={**os.environ, "AIOKAFKA_NO_EXTENSIONS": "1"})  # noqa: S603, ASYNC221 - our own
    await put(site, [flag(1)])
    await survived(site, 1)


async def test_a_batch_that_is_damaged_on_the_disk_is_set_aside(site: Site, engines: Endpoints) -> None:
    """The worker asks for it once more, since the line may be at fault, and goes on behind it."""
    await between_flags(site, [b"marked for damage"])
    (segment,) = engines.data.rglob(f"{site.topics['flags']}-0/00000000000000000000.log")
    place = segment.read_bytes().index(b"marked for damage")
    with segment.open("r+b") as log:
        log.seek(place)
        log.write(b"M")
    await survived(site, 1)


async def test_a_message_of_the_size_that_kafka_takes(site: Site) -> None:
    """A message that fills the broker's limit and does not compress becomes a dead letter, headers and all."""
    await between_flags(site, [os.urandom(MEGABYTE - 500)])
    await survived(site, 1)


async def test_a_message_that_was_small_when_compressed(site: Site) -> None:
    """Kafka's limit is for what is compressed: 9 MB of blanks are 9 KB, and their dead letter says so without them."""
    await between_flags(site, [b" " * 9 * MEGABYTE], compression_type="gzip")
    await survived(site, 1)


async def test_a_batch_that_grows_a_thousandfold(site: Site) -> None:
    """A batch of 50 KB that unpacks to 50 MB is read message by message; memory holds it twice, and comes back."""
    await between_flags(site, [b" " * MEGABYTE] * 50, compression_type="gzip")
    assert await survived(site, 50) < 400


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
async def test_a_batch_that_grows_without_bound(site: Site, codec: str) -> None:
    """Most of a gigabyte never comes to be: it is one dead letter."""
    await between_flags(site, [b" " * 700 * MEGABYTE], compression_type=codec)
    assert await survived(site, 1) < 600
