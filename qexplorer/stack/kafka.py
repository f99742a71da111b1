"""Start Kafka brokers that are their own controllers (KRaft), on free ports of the loopback address."""

import asyncio
import base64
import os
import re
import subprocess
import uuid
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from qexplorer.errors import StackError
from qexplorer.stack.access import ADMIN, MECHANISM, Access, scram, write_private
from qexplorer.stack.certificates import NODE
from qexplorer.stack.install import SPECS, installed_jars, read_lock
from qexplorer.stack.java import java_environment, java_path
from qexplorer.stack.node import Node, await_all
from qexplorer.stack.ports import free_ports
from qexplorer.stack.process import START_SECONDS, EngineProcess, Start, retry_when_taken

SPEC = SPECS / "kafka"
DEFAULT_HEAP_MB = 512
MAIN = "kafka.Kafka"
_STARTED = "Kafka Server started"
_PROPERTIES = """\
process.roles=broker,controller
node.id={node_id}
controller.quorum.voters={voters}
listeners={listener}://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners={listener}://127.0.0.1:{port}
listener.security.protocol.map={listener}:{listener},CONTROLLER:{controller}
controller.listener.names=CONTROLLER
inter.broker.listener.name={listener}
log.dirs={log_dir}
auto.create.topics.enable=false
offsets.topic.replication.factor={replicas}
offsets.topic.num.partitions=1
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={in_sync}
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor={replicas}
share.coordinator.state.topic.min.isr={in_sync}
default.replication.factor={replicas}
min.insync.replicas={in_sync}
group.initial.rebalance.delay.ms=0
log.cleaner.dedupe.buffer.size=4194304
"""
# Controllers know each other by certificate: users are not there yet when they start.
_SECURED = """\
sasl.enabled.mechanisms={mechanism}
sasl.mechanism.inter.broker.protocol={mechanism}
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=\
org.apache.kafka.common.security.scram.ScramLoginModule required username="{admin}" password="{password}";
ssl.keystore.type=PKCS12
ssl.keystore.location={key_store}
ssl.keystore.password={store_password}
ssl.key.password={store_password}
ssl.truststore.type=PEM
ssl.truststore.location={ca_file}
listener.name.controller.ssl.client.auth=required
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:{admin};User:{node}
"""


def version() -> str:
    """Return the version of Kafka in the lock file."""
    return next(jar.version for jar in read_lock(SPEC) if jar.artifact == "kafka_2.13")


def start_kafka(
    start: Start, *, cache: Path, heap_mb: int, nodes: int = 1, access: Access | None = None
) -> tuple[Node, ...]:
    """Start a Kafka of so many brokers; return them once consumer groups can join.

    With three or more, topics have three replicas of which two must be in step. With `access`, clients come
    by TLS, log in, and may do what they are given. Raises StackError with the last log lines where one does
    not start.
    """
    jars = installed_jars(SPEC, cache=cache, on_progress=start.on_progress)
    java = [str(java_path()), f"-Xmx{heap_mb}m", "-XX:+ExitOnOutOfMemoryError", "-XX:-UsePerfData"]
    java += [f"-Djava.io.tmpdir={start.data}", "-Dlog4j2.level=INFO", "-cp", ":".join(map(str, jars))]

    def try_once(_attempt: int) -> tuple[Node, ...]:
        ports = free_ports(2 * nodes)
        names = ["kafka"] if nodes == 1 else [f"kafka-{number}" for number in range(1, nodes + 1)]
        files = [
            _write_properties(start.data, name, number, ports[:nodes], ports[nodes:], access)
            for number, name in enumerate(names)
        ]
        users = _scram_users(access) if access else []
        cluster_id = _format_all(java, [start.data / name for name in names], files, users)
        start.on_progress(f"starting Kafka {version()}" + (f", {nodes} brokers" if nodes > 1 else ""))
        return await_all(
            [
                Node(
                    "Kafka",
                    name,
                    [*java, MAIN, str(properties)],
                    start=start,
                    is_ready=partial(_is_ready, port, cluster_id, access),
                    address=f"127.0.0.1:{port}",
                )
                for name, properties, port in zip(names, files, ports[:nodes], strict=True)
            ]
        )

    return retry_when_taken("Kafka", start, try_once)


def _write_properties(
    data: Path, name: str, number: int, ports: list[int], controller_ports: list[int], access: Access | None
) -> Path:
    voters = (f"{node_id}@127.0.0.1:{port}" for node_id, port in enumerate(controller_ports, start=1))
    text = _PROPERTIES.format(
        node_id=number + 1,
        listener="SASL_SSL" if access else "PLAINTEXT",
        controller="SSL" if access else "PLAINTEXT",
        voters=",".join(voters),
        port=ports[number],
        controller_port=controller_ports[number],
        # From the data folder, in which it runs: Kafka reads properties as Latin-1 and splits folders at commas.
        log_dir=name,
        replicas=min(3, len(ports)),
        in_sync=2 if len(ports) >= 3 else 1,
    )
    path = data / f"{name}.properties"
    if access:
        text += _secured(access, data)
    write_private(path, text)
    return path


def _secured(access: Access, data: Path) -> str:
    return _SECURED.format(
        mechanism=MECHANISM,
        admin=ADMIN,
        node=NODE,
        password=access.admin.get_secret_value(),
        store_password=access.store.get_secret_value(),
        key_store=os.path.relpath(access.key_store, data),
        ca_file=os.path.relpath(access.ca_file, data),
    )


def _scram_users(access: Access) -> list[str]:
    return [part for user, password in access.passwords().items() for part in ("--add-scram", scram(user, password))]


def _is_ready(port: int, cluster_id: str, access: Access | None, process: EngineProcess) -> bool:
    return _STARTED in process.output() and _serves(port, cluster_id, access)


def _format_all(java: list[str], folders: list[Path], files: list[Path], users: list[str]) -> str:
    """Return the cluster id of the data in `folders`; format those first that are new."""
    found = {name for name in map(_formatted, folders) if name}
    if len(found) > 1:
        raise StackError(
            f"The folders of the brokers in {folders[0].parent} belong to different clusters",
            remedy="Choose another data folder",
        )
    # Kafka's own form of a UUID; its command line would take a leading "-" for an option.
    new = "q" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")[1:]
    cluster_id = found.pop() if found else new
    with ThreadPoolExecutor(len(folders)) as pool:
        list(pool.map(partial(_format, java, cluster_id, users), folders, files))
    return cluster_id


def _formatted(folder: Path) -> str | None:
    """Return the cluster id of the data in `folder`; None where it is new."""
    described = folder / "meta.properties"
    if not described.exists():
        return None
    found = re.search(r"^cluster\.id=(.+)$", described.read_text(encoding="utf-8"), re.MULTILINE)
    if not found:
        raise StackError(f"{described} names no cluster", remedy=f"Delete {folder} to start empty")
    return found[1].strip()


def _format(java: list[str], cluster_id: str, users: list[str], folder: Path, properties: Path) -> None:
    if _formatted(folder):
        return
    done = subprocess.run(  # noqa: S603 - our own argument list
        [*java, "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(properties), *users],
        env=java_environment(),
        cwd=properties.parent,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )
    if done.returncode:
        raise StackError(
            f"Kafka cannot format {folder}: {done.stdout}{done.stderr}",
            remedy="Mend what it names, or choose another data folder",
        )


def _serves(port: int, cluster_id: str, access: Access | None = None) -> bool:
    """Say whether the broker at `port` gives out group coordinators; raise StackError if it is not ours."""
    found = asyncio.run(_cluster_id(port, access.kafka_client() if access else {}))
    if found and found != cluster_id:
        raise StackError(f"Another Kafka answers on port {port}", remedy="Start again")
    return found is not None


async def _cluster_id(port: int, options: dict[str, Any]) -> str | None:
    from aiokafka.admin import AIOKafkaAdminClient
    from aiokafka.errors import KafkaError

    admin = AIOKafkaAdminClient(bootstrap_servers=f"127.0.0.1:{port}", request_timeout_ms=5000, **options)
    try:
        await admin.start()
        cluster = await admin.describe_cluster()
        # The first request for a coordinator makes the offsets topic, so no consumer has to wait for it.
        await admin.find_coordinator("qexplorer-start")
    except (KafkaError, OSError, TimeoutError):
        return None
    finally:
        await admin.close()
    return str(cluster["cluster_id"])
