"""The worker on real servers with TLS and users: the rights of k8s/access suffice, each refusal is one clear line."""

import asyncio
import copy
import json
import os
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAuthorizationFailedError
from pydantic import SecretStr

from qexplorer.demo.workers import workers
from qexplorer.errors import AccessError
from qexplorer.search.backend import Document, WriteMode
from qexplorer.settings import Settings
from qexplorer.stack import Node, running
from qexplorer.stack.access import ADMIN, WORKER
from qexplorer.stack.certificates import issue, make_authority
from tests.integration.secured import INDEX, OTHER, READ_ONLY, SecuredSite
from tests.integration.site import WITHIN_S, Seen, flag, pid_of

pytestmark = pytest.mark.engines

WRONG = "not-the-password"
# Time enough for both servers to start on a busy machine.
EXPIRES_S = 50
FLAGS, SUSPECTS, LETTERS = "flagged-listings", "suspect-items", "flagged-listings-dead-letters"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredSite]:
    with running(secured=True, kafka_heap_mb=256, opensearch_heap_mb=512) as endpoints:
        made = SecuredSite(endpoints, tmp_path_factory.mktemp("site"))
        asyncio.run(made.prepare())
        yield made
        assert made.leaks() == []


@pytest.fixture(scope="module")
def strangers_ca(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("stranger")
    make_authority(folder, SecretStr("of-a-stranger"))
    return str(folder / "ca.pem")


def worker(
    site: SecuredSite, *arguments: str, change: dict[str, Any] | None = None, variables: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command of the worker with its own login, and return how it ended; it must not have told a password."""
    settings = copy.deepcopy(site.settings)
    for section, value in (change or {}).items():
        settings[section] = {**settings[section], **value} if isinstance(value, dict) else value
    path = site.folder / "command.yaml"
    path.write_text(yaml.safe_dump(settings))
    ended = subprocess.run(  # noqa: S603 - our own arguments
        [sys.executable, "-m", "worker", *arguments, "--config", str(path)],
        env=os.environ | site.environment() | (variables or {}),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    site.told.append(ended.stdout + ended.stderr)
    return ended


def test_the_topics_are_seen(site: SecuredSite) -> None:
    """With the least rights the command finds all topics of the worker, and says nothing of settings it may not see."""
    ended = worker(site, "topics")
    assert ended.returncode == 0, ended.stderr
    assert len(ended.stdout.splitlines()) == 5
    assert "without compact" not in ended.stderr


async def test_a_flag_is_answered(site: SecuredSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the least rights a flag becomes a suspect, poison a dead letter, and the offsets are committed."""
    for name, value in site.environment().items():
        monkeypatch.setenv(name, value)
    options = {"bootstrap_servers": site.endpoints.kafka, **site.access.kafka_client(ADMIN)}
    async with AIOKafkaProducer(**options) as producer:
        for message in (flag(0), flag(1), b"not json"):
            await producer.send_and_wait(FLAGS, message)
    async with AIOKafkaConsumer(SUSPECTS, "query-audit", LETTERS, auto_offset_reset="earliest", **options) as consumer:
        seen = Seen(consumer, {"suspects": SUSPECTS, "dead_letters": LETTERS})
        with workers(1, site.settings, site.folder) as (process,):
            await seen.until_answered({"flag-seed0", "flag-seed1"}, letters=1)
            os.kill(pid_of(process), signal.SIGTERM)
            await asyncio.to_thread(process.process._guard.wait, 40)
            site.told.append(process.process.output())
    assert {suspect.listing_id for suspect in seen.suspects} == {"sib0", "sib1"}
    assert "total lag 0" in worker(site, "status").stdout


async def test_the_worker_may_do_nothing_else_in_kafka(site: SecuredSite) -> None:
    """Flags cannot be written, suspects not read, topics not made: the rights are no wider than they need be."""
    options = {"bootstrap_servers": site.endpoints.kafka, **site.access.kafka_client(WORKER)}
    async with AIOKafkaProducer(**options) as producer:
        with pytest.raises(TopicAuthorizationFailedError):
            await producer.send_and_wait(FLAGS, b"forged")
    admin = AIOKafkaAdminClient(**options)
    await admin.start()
    try:
        assert OTHER not in await admin.list_topics()
        answer = await admin.create_topics([NewTopic("of-the-workers", 1, 1)])
        assert [code for _topic, code, *_ in answer.topic_errors] == [TopicAuthorizationFailedError.errno]
    finally:
        await admin.close()
    consumer = AIOKafkaConsumer(SUSPECTS, auto_offset_reset="earliest", **options)
    await consumer.start()
    try:
        with pytest.raises(TopicAuthorizationFailedError):
            await asyncio.wait_for(consumer.getone(), WITHIN_S)
    finally:
        await consumer.stop()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", f"/{OTHER}/_search"),
        ("POST", f"/{INDEX}/_refresh"),
        ("DELETE", f"/{INDEX}"),
        ("DELETE", "/qexplorer-discoveries"),
        ("PUT", "/of-the-workers"),
        ("GET", "/_cluster/settings"),
        ("GET", "/_plugins/_security/api/internalusers"),
    ],
)
async def test_the_worker_may_do_nothing_else_in_opensearch(site: SecuredSite, method: str, path: str) -> None:
    """Other indices, the listings themselves and the cluster are out of its reach."""
    async with site.search(WORKER) as client:
        with pytest.raises(AccessError, match="refused a permission"):
            await client.request(method, path)


async def test_the_worker_cannot_change_a_listing(site: SecuredSite) -> None:
    """A write to the index of listings is refused."""
    async with site.search(WORKER) as client:
        with pytest.raises(Exception, match="no permissions"):
            await client.write(INDEX, [Document(id="sib0", source={"title": "changed"})], WriteMode.REPLACE)


@pytest.mark.parametrize(
    ("change", "variables", "names"),
    [
        pytest.param({"kafka": {"ca_file": "stranger"}}, {}, ("Kafka", "certificate", "kafka.ca_file"), id="kafka-ca"),
        pytest.param(
            {"search": {"ca_file": "stranger"}},
            {},
            ("https:", "certificate", "search.ca_file"),
            id="search-ca",
        ),
        pytest.param(
            {},
            {"QEXPLORER_KAFKA__PASSWORD": WRONG},
            ("Kafka", f"login of {WORKER}", "kafka.password"),
            id="kafka-login",
        ),
        pytest.param(
            {}, {"QEXPLORER_SEARCH__PASSWORD": WRONG}, ("https:", "login", "search.password"), id="search-login"
        ),
        pytest.param({"kafka": {"topics": {"suspects": OTHER}}}, {}, ("Kafka", OTHER, "rights"), id="kafka-topic"),
        pytest.param({"kafka": {"group": "another"}}, {}, ("Kafka", "another", "rights"), id="kafka-group"),
        pytest.param({"search": {"discoveries": OTHER}}, {}, ("https:", "permission", "role"), id="search-own-index"),
        pytest.param({"policies": "other"}, {}, ("https:", "permission", "role"), id="search-listings"),
    ],
)
def test_a_refusal_is_one_clear_line(
    site: SecuredSite, strangers_ca: str, change: dict[str, Any], variables: dict[str, str], names: tuple[str, ...]
) -> None:
    """What was refused is named with the remedy; the exit code is that of access; there is no traceback."""
    change = yaml.safe_load(yaml.safe_dump(change).replace("stranger", strangers_ca))
    if "policies" in change:
        policies = site.folder / "other.yaml"
        policies.write_text(site.policies.read_text().replace(INDEX, OTHER))
        change["policies"] = str(policies)
    ended = worker(site, "run", "--health-port", "0", change=change, variables=variables)
    assert_refused(ended, *names)


def assert_refused(ended: subprocess.CompletedProcess[str], *names: str) -> None:
    assert ended.returncode == AccessError.exit_code, ended.stderr
    lines = [line for line in ended.stderr.splitlines() if not line.startswith("{")]
    assert len(lines) == 2, ended.stderr
    assert lines[0].startswith("error: ")
    assert lines[1].startswith("  → ")
    assert all(name in ended.stderr for name in names), ended.stderr
    assert "Traceback" not in ended.stderr


def test_no_value_shows_a_password(site: SecuredSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings and endpoints can be printed."""
    for name, value in site.environment().items():
        monkeypatch.setenv(name, value)
    settings = Settings(**site.settings)
    assert settings.kafka.password == site.access.worker
    site.told += [repr(settings), str(settings), settings.model_dump_json(), repr(site.endpoints)]
    assert site.leaks() == []


async def test_a_right_to_write_that_is_missing_is_named_and_loses_nothing(
    site: SecuredSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that may not write suspects says which topic refused it; the flag is answered by one that may."""
    for name, value in site.environment().items():
        monkeypatch.setenv(name, value)
    options = {"bootstrap_servers": site.endpoints.kafka, **site.access.kafka_client(ADMIN)}
    denied = {**site.settings, "kafka": {**site.settings["kafka"], "topics": {"suspects": READ_ONLY}}}
    denied["worker"] = {**denied["worker"], "drain_timeout_s": 1}
    async with AIOKafkaProducer(**options) as producer:
        await producer.send_and_wait(FLAGS, flag(2))
    with workers(1, denied, site.folder) as (process,):
        async with asyncio.timeout(WITHIN_S):
            while True:
                lines = [line for line in process.process.output().splitlines() if READ_ONLY in line]
                if lines:
                    break
                await asyncio.sleep(0.2)
        site.told.append(process.process.output())
    said = json.loads(lines[0])
    assert "refused a permission" in said["error"]
    assert "rights" in said["remedy"]
    async with AIOKafkaConsumer(SUSPECTS, "query-audit", auto_offset_reset="earliest", **options) as consumer:
        seen = Seen(consumer, {"suspects": SUSPECTS, "dead_letters": LETTERS})
        with workers(1, site.settings, site.folder) as (process,):
            await seen.until_answered({"flag-seed2"})
            site.told.append(process.process.output())
    assert "sib2" in {suspect.listing_id for suspect in seen.suspects}


def let_certificates_expire(site: SecuredSite) -> None:
    """Start both servers again with certificates, of the right authority, that run out soon.

    Neither starts with one that has already run out.
    """
    store = issue(site.access.folder, "expiring", site.access.store, lasts_s=EXPIRES_S)
    data = site.endpoints.data
    properties, config = data / "kafka.properties", data / "opensearch" / "node_1" / "config"
    # Towards clients alone, for Kafka's parts would not take it from each other either.
    prefix, password = "listener.name.sasl_ssl.ssl", site.access.store.get_secret_value()
    lines = {"keystore.location": store, "keystore.type": "PKCS12", "keystore.password": password}
    lines["key.password"] = password
    with properties.open("a") as file:
        file.writelines(f"{prefix}.{name}={value}\n" for name, value in lines.items())
    (config / store.name).write_bytes(store.read_bytes())
    settings = config / "opensearch.yml"
    text = settings.read_text().replace("http.keystore_filepath: node.p12", f"http.keystore_filepath: {store.name}")
    settings.write_text(text)
    members = [*site.endpoints.brokers, *site.endpoints.search_nodes]
    for member in members:
        member.kill()
        member.launch()


async def until_expired(site: SecuredSite, node: Node) -> None:
    """Connect until the certificate of a server has run out."""
    host, _, port = node.address.removeprefix("https://").rpartition(":")
    async with asyncio.timeout(WITHIN_S):
        while True:
            assert node.process.is_running, node.process.output()[-3000:]
            try:
                _reader, writer = await asyncio.open_connection(host, int(port), ssl=site.access.tls())
            except ssl.SSLCertVerificationError as error:
                assert error.verify_message == "certificate has expired"  # noqa: PT017 - it is what is waited for
                return
            except OSError:
                pass
            else:
                writer.close()
            await asyncio.sleep(0.5)


async def test_an_expired_certificate_is_called_so(site: SecuredSite) -> None:
    """A server whose certificate has run out is not trusted any more, and the line says that it has expired."""
    # The last test here: it leaves the servers as they are, for starting them once more takes its time.
    await asyncio.to_thread(let_certificates_expire, site)
    (broker,), (node,) = site.endpoints.brokers, site.endpoints.search_nodes
    await until_expired(site, broker)
    assert_refused(await asyncio.to_thread(worker, site, "topics"), broker.address, "certificate has expired")
    await until_expired(site, node)
    async with site.search(WORKER) as client:
        with pytest.raises(AccessError, match=f"{node.address} was refused: certificate has expired"):
            await client.request("GET", "/")
