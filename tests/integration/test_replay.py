"""A replay beside production, on real Kafka and OpenSearch, as an operator types it."""

import asyncio
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest
from aiokafka.admin import AIOKafkaAdminClient

from qexplorer.demo.workers import workers
from qexplorer.errors import ConfigError
from qexplorer.search.backend import Document, WriteMode
from qexplorer.search.client import OpenSearchClient
from qexplorer.settings import SearchSettings, Settings
from qexplorer.stack import Endpoints
from qexplorer.testing import a_flag
from tests.integration.site import FLAGS, NAMES, Site, flag
from worker.replay import ReplaySearch, suffix_of
from worker.runs import RunRecords


@pytest.fixture
async def site(engines: Endpoints, tmp_path: Path) -> Site:
    made = Site(engines, tmp_path, {"kind": "scripted"})
    await made.prepare()
    return made


def answered(path: Path) -> set[str]:
    return set(RunRecords.read(path).answered)


async def state(site: Site) -> list[object]:
    """Return all that production has: its documents and where its topics end."""
    from aiokafka import AIOKafkaConsumer, TopicPartition

    async with OpenSearchClient(SearchSettings(url=site.url)) as client:
        kept: list[object] = []
        for index in (site.settings["search"]["discoveries"], site.settings["search"]["bank"], site.index):
            await client.request("POST", f"/{index}/_refresh")
            answer = await client.request("POST", f"/{index}/_search", {"size": 1000, "sort": ["_doc"]})
            kept.append([(hit["_id"], hit["_source"]) for hit in answer["hits"]["hits"]])
    consumer = AIOKafkaConsumer(bootstrap_servers=site.brokers)
    await consumer.start()
    places = [TopicPartition(topic, number) for topic in site.topics.values() for number in range(4)]
    kept.append(await consumer.end_offsets([place for place in places if place.topic != site.topics["control"]]))
    await consumer.stop()
    return kept


async def test_a_replay_finds_the_same_again_and_leaves_production_alone(site: Site) -> None:
    """All flags of the range are answered with the run's id, and no topic or index of production changes."""
    await site.send(*(flag(number) for number in range(FLAGS)))
    async with site.reading() as seen:
        with workers(1, site.settings, site.folder):
            await seen.until_answered(NAMES)
    before = await state(site)
    out = site.folder / "again.jsonl"
    said = site.command("replay", "--run", "again", "--out", str(out))
    assert f"again: {FLAGS} flags" in said
    assert await state(site) == before
    run = RunRecords.read(out)
    assert set(run.answered) == NAMES
    lines = [orjson.loads(line) for line in out.read_bytes().splitlines() if line]
    assert {line["record"]["run_id"] for line in lines} == {"again"}
    found = {find.listing_id for finds in run.finds.values() for find in finds}
    assert found == {suspect.listing_id for suspect in seen.suspects}
    # The run is over: the same name finds nothing left, and another name compares with it.
    assert "again: 0 flags" in site.command("replay", "--run", "again", "--out", str(out))
    other = site.folder / "other.jsonl"
    compared = site.command("replay", "--run", "other", "--out", str(other), "--compare", str(out), "--model", "else")
    assert "not told apart" in compared
    folder = site.folder / "other-to-again"
    assert "<svg" in (folder / "report.html").read_text()
    assert (folder / "flags.csv").read_text().startswith("flag,other suspects,other finds")


async def test_a_part_is_replayed_by_offsets_and_by_time(site: Site) -> None:
    """Offsets count in each partition, from the first to before the last; a time takes what came since."""
    await site.send(*(flag(number) for number in range(20)))
    # Kafka knows milliseconds: the last flag may have that of `now`, so the time asked for is a later one.
    mark = (datetime.now(UTC) + timedelta(milliseconds=5)).isoformat()
    await asyncio.sleep(0.01)
    await site.send(flag(20), flag(21))
    first, late = site.folder / "first.jsonl", site.folder / "late.jsonl"
    said = site.command("replay", "--run", "first", "--out", str(first), "--from", "0", "--to", "1")
    assert "first: 4 flags" in said
    site.command("replay", "--run", "late", "--out", str(late), "--from", mark)
    assert answered(late) == {"flag-seed20", "flag-seed21"}
    refused = site.worker("replay", "--run", "late", "--out", str(late), "--from", "3")
    assert refused.returncode == 4
    assert "was begun from" in refused.stderr


async def under_way(site: Site, run: str, out: Path, *, rate: int) -> tuple[list[str], "subprocess.Popen[bytes]"]:
    """Start a replay, in a process group of its own, and return its command and process once it has written."""
    command = [
        sys.executable, "-m", "worker", "replay", "--run", run, "--out", str(out),
        "--config", str(site.folder / "topics.yaml"), "--rate", str(rate),
    ]  # fmt: skip
    process = subprocess.Popen(command, start_new_session=True)  # noqa: ASYNC220, S603 - our own arguments
    async with asyncio.timeout(60):
        while not written(out):  # noqa: ASYNC110 - a file of another process
            await asyncio.sleep(0.1)
    return command, process


def written(out: Path) -> bool:
    """Whether a replay has put something into its file."""
    return out.exists() and out.stat().st_size > 0


async def test_a_replay_that_was_killed_goes_on_and_several_share_the_work(site: Site) -> None:
    """After kill -9 two processes with the run's name finish it; every flag is there, none is missing."""
    await site.send(
        *(a_flag(f"x{n}", f"zaza{n % FLAGS}x lean", flagged_at=datetime.now(UTC)).to_bytes() for n in range(300))
    )
    out = site.folder / "shared.jsonl"
    command, first = await under_way(site, "shared", out, rate=40)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    command[-1] = "1000"
    both = [subprocess.Popen(command) for _ in range(2)]  # noqa: ASYNC220, S603 - our own arguments
    assert [await asyncio.to_thread(process.wait, 90) for process in both] == [0, 0]
    assert answered(out) == {f"flag-x{n}" for n in range(300)}


async def test_a_process_beyond_the_partitions_stands_by(engines: Endpoints, tmp_path: Path) -> None:
    """It has nothing to read and does not end: when the one that works is killed, it finishes the run."""
    site = Site(engines, tmp_path, {"kind": "scripted"})
    await site.prepare(partitions=1)
    now = datetime.now(UTC)
    await site.send(*(a_flag(f"x{n}", f"zaza{n % FLAGS}x lean", flagged_at=now).to_bytes() for n in range(100)))
    out = site.folder / "one.jsonl"
    command, first = await under_way(site, "one", out, rate=5)
    command[-1] = "1000"
    second = subprocess.Popen(command)  # noqa: ASYNC220, S603 - our own arguments
    group = f"{site.settings['kafka']['group']}-replay-one"
    await until_members(site.brokers, group, 2)
    # Whichever of the two has the partition, the one that is left finishes.
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    assert await asyncio.to_thread(second.wait, 90) == 0
    assert answered(out) == {f"flag-x{n}" for n in range(100)}


async def until_members(brokers: str, group: str, count: int) -> None:
    """Wait until a group has settled with so many members."""
    admin = AIOKafkaAdminClient(bootstrap_servers=brokers)
    await admin.start()
    try:
        async with asyncio.timeout(60):
            while True:
                found = (await admin.describe_consumer_groups([group]))[0].to_object()["groups"][0]
                if found["state"] == "Stable" and len(found["members"]) == count:
                    return
                await asyncio.sleep(0.2)
    finally:
        await admin.close()


async def test_production_is_refused(site: Site) -> None:
    """Neither a topic of production nor an index without the run's suffix can be written to."""
    for part in ("suspects", "audit", "flags"):
        ended = site.worker("replay", "--run", "bad", "--out", f"topic:{site.topics[part]}")
        assert ended.returncode == 4
        assert "is a topic of production" in ended.stderr
    assert site.worker("replay", "--run", "Bad Name", "--out", "x.jsonl").returncode == 4
    settings = Settings(search={"url": site.url})
    async with ReplaySearch(settings, suffix_of("r")) as search:
        with pytest.raises(ConfigError, match="may not write"):
            await search.write(site.index, [Document(id="x")], WriteMode.REPLACE)
        with pytest.raises(ConfigError, match="may not write"):
            await search.delete(f"{site.index}*", ["x"])
        with pytest.raises(ConfigError, match="may not write"):
            await search.ensure_index("anything", {})
        assert await search.count(site.index) == FLAGS


async def test_a_replay_to_a_topic_carries_the_records_as_they_are(site: Site) -> None:
    """Suspects, audit and results come under their own keys and types."""
    await site.send(flag(0), b"not json")
    dry = {**site.settings, "worker": {**site.settings["worker"], "dry_run_topic": f"out-{site.topics['flags']}"}}
    (site.folder / "topics.yaml").write_text(orjson.dumps(dry).decode())
    site.command("topics", "--create")
    (site.folder / "topics.yaml").write_text(orjson.dumps(site.settings).decode())
    target = dry["worker"]["dry_run_topic"]
    assert "1 set aside" in site.command("replay", "--run", "t", "--out", f"topic:{target}")
    site.topics["suspects"] = site.topics["audit"] = target
    from aiokafka import AIOKafkaConsumer

    consumer = AIOKafkaConsumer(target, bootstrap_servers=site.brokers, auto_offset_reset="earliest")
    await consumer.start()
    kinds: set[str] = set()
    async with asyncio.timeout(30):
        while not {"Suspect", "QueryAudit", "FlagResult", "letter"} <= kinds:
            for messages in (await consumer.getmany(timeout_ms=200)).values():
                for message in messages:
                    headers = dict(message.headers)
                    kinds.add("letter" if "qx-dead-letter" in headers else headers["type"].decode())
    await consumer.stop()
