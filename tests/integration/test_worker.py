"""The worker as a process of its own, on real Kafka and real OpenSearch."""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import psutil
import pytest
import yaml

from qexplorer.demo.workers import workers
from qexplorer.search.client import OpenSearchClient
from qexplorer.settings import SearchSettings
from qexplorer.stack import Endpoints
from tests.integration.site import FLAGS, NAMES, WITHIN_S, Site, flag, pid_of, until_ready


@pytest.fixture
async def site(engines: Endpoints, tmp_path: Path) -> Site:
    made = Site(engines, tmp_path, {"kind": "scripted"})
    await made.prepare()
    return made


async def test_flags_become_suspects_and_poison_becomes_dead_letters(site: Site) -> None:
    """Every flag is answered, each sibling is published once, and broken messages are set aside with their bytes."""
    await site.send(*(flag(number) for number in range(FLAGS)), b"not json", b'{"flag_id": 1}')
    with workers(2, site.settings, site.folder) as processes:
        async with site.reading() as seen:
            await seen.until_answered(NAMES, letters=2)
            for worker in processes:
                await until_ready(worker)
            async with aiohttp.ClientSession() as http, http.get(f"{processes[0].url}/metrics") as answer:
                assert "qexplorer_flags_total" in await answer.text()
    assert {suspect.listing_id for suspect in seen.suspects} == {f"sib{number}" for number in range(FLAGS)}
    assert len(seen.suspects) == len({suspect.review_key for suspect in seen.suspects})
    assert sorted(seen.letters) == [b"not json", b'{"flag_id": 1}']


async def test_a_killed_worker_loses_nothing(site: Site) -> None:
    """After kill -9 in the middle of the work another worker answers the rest; no suspect is missing."""
    await site.send(*(flag(number) for number in range(FLAGS)))
    async with site.reading() as seen:
        with workers(1, site.settings, site.folder) as (first,):
            while not seen.results:
                assert first.process.is_running, first.process.output()
                await seen.read()
            os.kill(pid_of(first), signal.SIGKILL)
        with workers(1, site.settings, site.folder):
            await seen.until_answered(NAMES)
    assert {suspect.listing_id for suspect in seen.suspects} == {f"sib{number}" for number in range(FLAGS)}


async def test_sigterm_finishes_the_work_in_hand(site: Site) -> None:
    """A worker that is asked to stop ends with 0 and has acknowledged what it answered."""
    await site.send(*(flag(number) for number in range(FLAGS)))
    async with site.reading() as seen:
        with workers(1, site.settings, site.folder) as (worker,):
            await seen.until_answered(NAMES)
            process = psutil.Process(pid_of(worker))
            process.terminate()
            gone, alive = await asyncio.to_thread(psutil.wait_procs, [process], 40)
            assert gone
            assert not alive
            assert '"event": "drained"' in worker.process.output()
    status = site.worker("status")
    assert "total lag 0" in status.stdout


async def test_a_dry_run_leaves_production_as_it_is(site: Site, engines: Endpoints) -> None:
    """It has topics, a memory and a place among the flags of its own: production answers the same flags behind it."""
    dry = {**site.settings, "worker": {**site.settings["worker"], "dry_run_topic": f"shadow-{uuid4().hex[:8]}"}}
    (site.folder / "topics.yaml").write_text(yaml.safe_dump(dry))
    assert site.worker("topics", "--create").returncode == 0
    (site.folder / "topics.yaml").write_text(yaml.safe_dump(site.settings))
    await site.send(flag(0), *[b"not json"] * 60)
    shadow, production = dry["worker"]["dry_run_topic"], dict(site.topics)
    own = {"suspects": shadow, "audit": f"{shadow}-audit", "dead_letters": f"{shadow}-dead-letters"}
    site.topics.update(own)
    async with site.reading() as seen:
        with workers(1, dry, site.folder):
            await seen.until_answered({"flag-seed0"})
            await seen.until(lambda: len(seen.letters) == 60)
    assert [suspect.listing_id for suspect in seen.suspects] == ["sib0"]
    assert {result.run_id for result in seen.results} == {f"dry-{shadow}"}
    site.topics.update(production)
    assert "running: no order was ever given" in site.command("status")
    assert "total lag 61" in site.command("status")
    async with OpenSearchClient(SearchSettings(url=str(engines.opensearch))) as client:
        exists = await client.request("GET", "/_cat/indices", params={"format": "json"})
    names = {index["index"] for index in exists}
    assert site.settings["search"]["bank"] not in names
    assert any(name.startswith(site.settings["search"]["bank"] + "-dry-") for name in names)


@pytest.mark.parametrize(
    ("change", "code", "names"),
    [
        pytest.param({"kafka": {"brokers": "127.0.0.1:1"}}, 7, "127.0.0.1:1", id="dead broker"),
        pytest.param({"search": {"url": "http://127.0.0.1:1"}}, 6, "http://127.0.0.1:1", id="dead search"),
        pytest.param({"kafka": {"topics": {"flags": "nowhere"}}}, 4, "nowhere", id="missing topic"),
        pytest.param({"policies": "/nowhere.yaml"}, 4, "/nowhere.yaml", id="missing policies"),
        pytest.param({"triage": "/nowhere"}, 4, "/nowhere", id="missing triage"),
        pytest.param(
            {"engines": {"default": {"kind": "transformers", "model": "/no/model"}}}, 9, "/no/model", id="missing model"
        ),
        pytest.param({"worker": {"batch_size": 0}}, 4, "worker.batch_size", id="wrong setting"),
        pytest.param({"kafka": {"nonsense": 1}}, 4, "kafka.nonsense", id="unknown setting"),
    ],
)
async def test_a_start_that_cannot_work_is_one_clear_line(
    site: Site, change: dict[str, Any], code: int, names: str
) -> None:
    """The thing is named with a remedy, the exit code says of which kind it is, and there is no traceback."""
    settings = {**site.settings}
    for section, value in change.items():
        settings[section] = {**site.settings.get(section, {}), **value} if isinstance(value, dict) else value
    (site.folder / "topics.yaml").write_text(yaml.safe_dump(settings))
    ended = site.worker("run", "--health-port", "0")
    assert ended.returncode == code, ended.stderr
    assert names in ended.stderr
    assert "→" in ended.stderr
    assert "Traceback" not in ended.stderr


async def test_a_taken_port_is_named(site: Site) -> None:
    """Two workers cannot share a health port: the second says so."""
    with workers(1, site.settings, site.folder) as (first,):
        await until_ready(first)
        ended = site.worker("run", "--health-port", str(first.port))
    assert ended.returncode == 4
    assert f"the port {first.port} of 127.0.0.1 is taken" in ended.stderr


@pytest.mark.model
@pytest.mark.timeout(600)
async def test_the_packaged_model_finds_a_sibling(engines: Endpoints, tmp_path: Path) -> None:
    """The whole loop with the real small model: its queries or the listing's own words find what is like the flag."""
    site = Site(engines, tmp_path, {"kind": "transformers", "model": "packaged", "threads": 2})
    await site.prepare()
    await site.send(flag(0), flag(1))
    async with site.reading() as seen:
        with workers(1, site.settings, site.folder):
            # The first time the model is unpacked, on a machine that may be busy.
            await seen.until_answered({"flag-seed0", "flag-seed1"}, within_s=4 * WITHIN_S)
    assert {suspect.listing_id for suspect in seen.suspects} == {"sib0", "sib1"}, [r.reason for r in seen.results]
    (versions,) = {suspect.versions.model for suspect in seen.suspects}
    assert versions.startswith("smollm2-135m-instruct@")


async def test_sigterm_ends_a_worker_that_has_not_started_yet(site: Site) -> None:
    """Whatever it waits for: as the first process of a container the signal alone would not end it."""
    asked = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await reader.read()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    command = ("-m", "worker", "run", "--config", str(site.folder / "topics.yaml"), "--kafka", f"{host}:{port}")
    process = await asyncio.create_subprocess_exec(sys.executable, *command)
    try:
        async with asyncio.timeout(WITHIN_S):
            await asked.wait()
            process.terminate()
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
        server.close()
        await server.wait_closed()
