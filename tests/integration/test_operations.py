"""What an operator does beside a running fleet, each command as it is typed, on real Kafka and OpenSearch."""

import gzip
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from qexplorer.demo.workers import WorkerProcess, workers
from qexplorer.registry import Registry, Version
from qexplorer.search.backend import Document, WriteMode
from qexplorer.search.client import OpenSearchClient
from qexplorer.settings import SearchSettings
from qexplorer.stack import Endpoints
from qexplorer.testing import a_flag, a_listing
from tests.integration.site import Site, flag, status_of

LIMIT = 10


@pytest.fixture
async def site(engines: Endpoints, tmp_path: Path) -> Site:
    made = Site(engines, tmp_path, {"kind": "scripted"})
    await made.prepare()
    return made


async def metric(worker: WorkerProcess, line: str) -> float:
    async with aiohttp.ClientSession() as http, http.get(f"{worker.url}/metrics") as answer:
        found = [row for row in (await answer.text()).splitlines() if row.startswith(line)]
    return float(found[0].rpartition(" ")[2]) if found else 0.0


async def test_a_paused_fleet_answers_nothing_until_it_is_resumed(site: Site) -> None:
    """The order holds for workers that start after it, and `status` says who gave it and why."""
    site.command("pause", "--reason", "reindexing")
    await site.send(flag(0))
    async with site.reading() as seen:
        with workers(1, site.settings, site.folder) as (worker,):
            found = await status_of(worker, lambda status: status["ready"] and len(status["partitions"]) == 4)
            assert found["paused"]
            assert found["live"]
            assert await metric(worker, "qexplorer_paused") == 1
            said = site.command("status")
            assert "paused since" in said
            assert "reindexing" in said
            assert seen.results == []
            site.command("resume")
            await seen.until_answered({"flag-seed0"})
    assert "running since" in site.command("status")


async def test_too_many_dead_letters_stop_the_fleet_across_restarts(site: Site) -> None:
    """A flood of poison costs the limit and what was in hand; a restart takes no more; an order lets it go on."""
    site.settings["worker"]["dead_letters_in_a_row"] = LIMIT
    await site.send(*(b"poison %d" % number for number in range(200)))
    async with site.reading() as seen:
        with workers(1, site.settings, site.folder) as (worker,):
            found = await status_of(worker, lambda status: status["paused"] and not status["in_hand"])
            assert found["order"]["issued_by"] == "worker:dead-letters"
            assert await metric(worker, "qexplorer_tripped") == 1
            await seen.until(lambda: len(seen.letters) == found["flags"])
        assert LIMIT <= len(seen.letters) <= LIMIT + 5 * site.settings["worker"]["batch_size"]
        before = len(seen.letters)
        site.settings["worker"]["dead_letters_in_a_row"] = 1000
        site.settings["worker"]["dead_letter_share"] = 1.0
        with workers(1, site.settings, site.folder) as (worker,):
            await status_of(worker, lambda status: status["paused"] and len(status["partitions"]) == 4)
            await seen.read()
            assert len(seen.letters) == before
            site.command("resume", "--reason", "the producer is mended")
            await seen.until(lambda: len(seen.letters) >= 200)
    assert sorted(seen.letters) == sorted(b"poison %d" % number for number in range(200))


async def test_policies_are_taken_live_and_bad_ones_refused(site: Site) -> None:
    """A kind that no policy took is taken after an edit; a broken edit changes nothing and is counted."""
    async with site.reading() as seen:
        with workers(1, site.settings, site.folder) as (worker,):
            before = await status_of(worker, lambda status: len(status["partitions"]) == 4)
            site.spoil_policies()
            await status_of(worker, lambda _: "change refused" in worker.process.output())
            assert await metric(worker, 'qexplorer_reloads_total{result="refused"}') == 1
            site.set_kinds("drugs", "vapes")
            await status_of(worker, lambda status: status["policies"] != before["policies"])
            await site.send(
                a_flag("seed0", "zaza0x lean0x today", kind="vapes", flagged_at=datetime.now(UTC)).to_bytes()
            )
            await seen.until_answered({"flag-seed0"})
    assert seen.letters == []
    assert [suspect.listing_id for suspect in seen.suspects] == ["sib0"]


async def test_a_promoted_version_answers_without_a_restart_and_a_rollback_too(site: Site) -> None:
    """Every record says which release answered; the inference process stays the same."""
    registry = Registry(site.folder / "models")
    for name in ("one", "two"):
        registry.add(Version(name=name, model=name, prompt="default", created_at=datetime.now(UTC)))
    registry.promote("one")
    site.settings["models"] = str(site.folder / "models")
    async with site.reading() as seen:
        with workers(1, site.settings, site.folder) as (worker,):
            started = await status_of(worker, lambda status: len(status["partitions"]) == 4)
            await site.send(flag(0))
            await seen.until_answered({"flag-seed0"})
            registry.promote("two")
            await status_of(worker, lambda status: status["release"] == "two")
            assert await metric(worker, 'qexplorer_release_info{adapter="",model="two"') == 1
            await site.send(flag(1))
            await seen.until_answered({"flag-seed1"})
            registry.rollback()
            ended = await status_of(worker, lambda status: status["release"] == "one")
            await site.send(flag(2))
            await seen.until_answered({"flag-seed2"})
    assert started["inference_pid"] == ended["inference_pid"]
    assert [result.versions.release for result in seen.results] == ["one", "two", "one"]


async def test_dead_letters_are_listed_shown_sent_again_once_and_thrown_away(site: Site) -> None:
    """A redrive is capped, noted and not repeated; what fails again counts its attempts."""
    event = orjson.loads(flag(0))
    event["kind"] = "vapes"
    event["listing"]["title"] = "zaza0x lean0x call 212-555-0147"
    await site.send(b"not json", b"neither", orjson.dumps(event))
    unreadable = ("--reason", "unreadable")
    async with site.reading() as seen:
        with workers(1, site.settings, site.folder) as (worker,):
            await seen.until_answered(set(), letters=3)
            listed = site.command("dlq", "list")
            assert "3 dead letters: unknown_policy 1, unreadable 2" in listed
            (one,) = [line.split()[0] for line in listed.splitlines() if "unknown_policy  " in line]
            shown = site.command("dlq", "show", one)
            assert "no policy drugs takes the kind vapes" in shown
            assert "212-555" not in shown
            site.set_kinds("drugs", "vapes")
            await status_of(worker, lambda _: worker.process.output().count('"event": "release"') == 2)
            assert "1 sent again, 0 left" in site.command("dlq", "redrive", "--reason", "unknown_policy")
            await seen.until_answered({"flag-seed0"})
            assert "0 sent again, 0 left" in site.command("dlq", "redrive", "--reason", "unknown_policy")
            assert "1 sent again, 1 left" in site.command("dlq", "redrive", *unreadable, "--limit", "1")
            await seen.until(lambda: len(seen.letters) == 4)
            assert "attempt 2" in site.command("dlq", "list", *unreadable)
            assert "2 sent again, 0 left" in site.command("dlq", "redrive", *unreadable)
            await seen.until(lambda: len(seen.letters) == 6)
            said = site.command("dlq", "redrive", *unreadable)
            assert "1 letters have failed 3 times" in said
            assert "1 sent again" in said
            await seen.until(lambda: len(seen.letters) == 7)
    assert "redriven" in site.command("dlq", "list", "--reason", "unknown_policy")
    assert "name letters or a filter" in site.worker("dlq", "purge").stderr
    assert "6 thrown away" in site.command("dlq", "purge", *unreadable)
    assert "1 dead letters: unknown_policy 1" in site.command("dlq", "list")
    await site.letter_of("flags-v1")
    said = site.command("dlq", "redrive")
    assert "those from flags-v1 are left alone" in said
    assert "0 sent again, 0 left" in said


async def test_what_a_bad_version_published_is_taken_back_once(site: Site) -> None:
    """Reviewers get a retraction for each suspect of that version; another version may publish it again."""
    since = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
    await site.send(flag(0), flag(1))
    async with site.reading() as seen:
        with workers(1, site.settings, site.folder):
            await seen.until_answered({"flag-seed0", "flag-seed1"})
            retract = ("suspects", "retract", "--since", since, "--version")
            assert "0 suspects taken back" in site.command(*retract, "other")
            assert "2 suspects taken back, of 2" in site.command(*retract, "scripted")
            await seen.until(lambda: len(seen.retracted) == 2)
            assert "0 suspects taken back, of 2" in site.command(*retract, "scripted")
            first = [suspect.review_key for suspect in seen.suspects]
            assert sorted(seen.retracted) == sorted(first)
            # The same listing is found again by another flag with other words, once the memory shows what it wrote.
            async with OpenSearchClient(SearchSettings(url=site.url)) as client:
                await client.request("POST", f"/{site.settings['search']['discoveries']}/_refresh")
            again = a_flag("other", "fresh zaza0x", flagged_at=datetime.now(UTC))
            await site.send(again.to_bytes())
            await seen.until(lambda: len(seen.suspects) == 3)
    assert seen.suspects[-1].review_key in first


async def test_what_a_bad_version_has_found_and_not_published_is_not_published(site: Site) -> None:
    """What its cap of the hour has held back is taken back, too: it would come an hour after the retraction."""
    site.policy["cap_per_hour"] = 1
    site.set_kinds("drugs")
    since = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
    await site.send(flag(0), flag(1))
    async with site.reading() as seen:
        with workers(1, site.settings, site.folder):
            await seen.until_answered({"flag-seed0", "flag-seed1"})
        async with OpenSearchClient(SearchSettings(url=site.url)) as client:
            await client.request("POST", f"/{site.settings['search']['discoveries']}/_refresh")
        said = site.command("suspects", "retract", "--since", since, "--version", "scripted")
        assert "1 suspects taken back, of 1 that scripted had published since; 1 more will not be published" in said


async def test_a_seller_is_forgotten_everywhere(site: Site, engines: Endpoints) -> None:
    """After `forget` no topic, index or file that is ours has the seller, the listing or its words in a last record."""
    # Words of the title and of the description find the same listing: both are the seller's.
    listing = a_listing("secret", "covertword", description="zaza0x lean0x")
    secret = a_flag("secret", listing=listing, flagged_at=datetime.now(UTC))
    broken = {"flag_id": 7, "listing": {"seller": "seller-secret"}}
    # A withdrawn flag leaves nothing but its result: only the topic of flags tells whose it was.
    other = a_listing("secret2", seller="seller-secret")
    withdrawn = a_flag("secret2", listing=other, withdrawn_at=datetime.now(UTC))
    await site.send(secret.to_bytes(), flag(1), orjson.dumps(broken), withdrawn.to_bytes())
    found = site.folder / "replay.jsonl.gz"
    with gzip.open(found, "wb") as file:
        file.write(b'{"seed": {"listing_id": "secret"}}\n{"seed": {"listing_id": "seed1"}}\n')
    async with site.reading() as seen:
        with workers(1, site.settings, site.folder):
            await seen.until_answered({"flag-secret", "flag-secret2", "flag-seed1"}, letters=1)
    assert [bool(suspect.also_found_by) for suspect in seen.suspects if suspect.seed.listing_id == "secret"] == [True]
    memory = site.settings["search"]["discoveries"]
    async with OpenSearchClient(SearchSettings(url=str(engines.opensearch))) as client:
        # What its flag has found and nobody has been shown yet goes as well, and no more than that.
        claims = [
            Document(id=f"claim{n}", source={"owner": "flag-secret", "state": ("pending", "published")[n % 2]})
            for n in range(2 * 1_100)
        ]
        await client.write(memory, claims, WriteMode.REPLACE)
    shadow = await copied(site)
    # The policy searches another index by now; what it asked the old one for is in the bank all the same.
    site.policy["index"] = "moved"
    site.set_kinds("drugs")
    assert "suspects: 0 suspects removed" not in site.command("forget", "--seller", "seller-sib1", "--topic", shadow)
    said = site.command("forget", "--seller", "seller-secret", "--file", str(found), "--topic", shadow)
    assert "1 lines removed" in said
    assert "0 suspects removed, 0 rewritten" in site.command("forget", "--seller", "nobody")
    assert "the topic typo" in site.worker("forget", "--seller", "nobody", "--topic", "typo").stderr
    assert "the listings were: secret, secret2" in said
    assert f"not reached: {site.topics['flags']} belongs to the platform; it drops old messages after 168 hours" in said
    topics = {**site.topics, "shadow": shadow}
    last = {part: await last_records(site, topics[part]) for part in ("suspects", "audit", "dead_letters", "shadow")}
    for part, values in last.items():
        for value in values:
            for word in (b"secret", b"covertword", b"seller-sib1"):
                assert word not in value, (part, value)
    remaining = [value for value in last["suspects"] if b'"forgotten"' in value]
    blank = (b'"text":"forgotten"', b'"also_found_by":[]', b'"highlights":{}', b'"trace_id":""')
    assert [all(part in value for part in blank) for value in remaining] == [True]
    async with OpenSearchClient(SearchSettings(url=str(engines.opensearch))) as client:
        for index in (site.settings["search"]["discoveries"], site.settings["search"]["bank"]):
            await client.request("POST", f"/{index}/_refresh")
            answer = await client.request("POST", f"/{index}/_search", {"size": 5000})
            kept = orjson.dumps([hit["_source"] for hit in answer["hits"]["hits"]])
            assert b"covertword" not in kept
            assert b"seller-secret" not in kept
            assert b"flag-secret" not in kept
            assert b"seller-sib1" not in kept
        ours = {"query": {"ids": {"values": [claim.id for claim in claims]}}}
        left = await client.request("POST", f"/{memory}/_count", ours)
        assert left["count"] == 1_100
    with gzip.open(found) as lines:
        assert lines.read() == b'{"seed": {"listing_id": "seed1"}}\n'


async def copied(site: Site) -> str:
    """Return a topic with all that came out, as a replay to a topic leaves it."""
    topic = f"shadow-{site.topics['suspects']}"
    site.command("topics", "--create", "--dry-run", topic)
    consumer: Any = AIOKafkaConsumer(
        *(site.topics[part] for part in ("suspects", "audit", "dead_letters")),
        bootstrap_servers=site.brokers,
        auto_offset_reset="earliest",
    )
    producer: Any = AIOKafkaProducer(bootstrap_servers=site.brokers)
    await consumer.start()
    await producer.start()
    while got := await consumer.getmany(timeout_ms=1500):
        for message in (message for messages in got.values() for message in messages):
            await producer.send_and_wait(topic, key=message.key, value=message.value, headers=list(message.headers))
    await producer.stop()
    await consumer.stop()
    return topic


async def last_records(site: Site, topic: str) -> list[bytes]:
    """Return what compaction would leave of a topic: value and headers of the last record of each key."""
    consumer: Any = AIOKafkaConsumer(topic, bootstrap_servers=site.brokers, auto_offset_reset="earliest")
    await consumer.start()
    last: dict[bytes, bytes] = {}
    while got := await consumer.getmany(timeout_ms=1500):
        for message in (message for messages in got.values() for message in messages):
            headers = b"".join(value for _, value in message.headers)
            last[message.key] = b"" if message.value is None else message.value + headers
    await consumer.stop()
    return list(last.values())
