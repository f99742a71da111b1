"""Start one Kafka broker that is its own controller (KRaft), on free ports of the loopback address."""

import asyncio
import base64
import re
import socket
import subprocess
import uuid
from pathlib import Path

from qexplorer.errors import StackError
from qexplorer.stack.install import SPECS, installed_jars, read_lock
from qexplorer.stack.java import java_environment, java_path
from qexplorer.stack.process import START_SECONDS, EngineProcess, Start, retry_when_taken

SPEC = SPECS / "kafka"
DEFAULT_HEAP_MB = 512
MAIN = "kafka.Kafka"
_STARTED = "Kafka Server started"
_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={log_dir}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
log.cleaner.dedupe.buffer.size=4194304
"""


def version() -> str:
    """Return the version of Kafka in the lock file."""
    return next(jar.version for jar in read_lock(SPEC) if jar.artifact == "kafka_2.13")


def start_kafka(start: Start, *, cache: Path, heap_mb: int) -> tuple[EngineProcess, str]:
    """Start Kafka; return it with its address "127.0.0.1:PORT" once consumer groups can join.

    Raises StackError with the last log lines where it does not start.
    """
    jars = installed_jars(SPEC, cache=cache, on_progress=start.on_progress)
    java = [str(java_path()), f"-Xmx{heap_mb}m", "-XX:+ExitOnOutOfMemoryError", "-XX:-UsePerfData"]
    java += [f"-Djava.io.tmpdir={start.data}", "-Dlog4j2.level=INFO", "-cp", ":".join(map(str, jars))]

    def try_once(_attempt: int) -> tuple[EngineProcess, str]:
        port, controller_port = _free_ports()
        properties = start.data / "kafka.properties"
        properties.write_text(
            _PROPERTIES.format(port=port, controller_port=controller_port, log_dir=start.data / "kafka"),
            encoding="utf-8",
        )
        cluster_id = _format(java, start.data / "kafka", properties)
        start.on_progress(f"starting Kafka {version()}")
        command = [*java, MAIN, str(properties)]
        process = EngineProcess("Kafka", command, log=start.logs / "kafka.log", folder=start.data)
        process.await_ready(start, lambda: _STARTED in process.output() and _serves(port, cluster_id))
        return process, f"127.0.0.1:{port}"

    return retry_when_taken("Kafka", start, try_once)


def _free_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        return first.getsockname()[1], second.getsockname()[1]


def _format(java: list[str], folder: Path, properties: Path) -> str:
    """Return the cluster id of the data in `folder`; format the folder first where it is new."""
    described = folder / "meta.properties"
    if described.exists():
        found = re.search(r"^cluster\.id=(.+)$", described.read_text(encoding="utf-8"), re.MULTILINE)
        if not found:
            raise StackError(f"{described} names no cluster", remedy=f"Delete {folder} to start empty")
        return found[1].strip()
    # Kafka's own form of a UUID; its command line would take a leading "-" for an option.
    cluster_id = "q" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")[1:]
    done = subprocess.run(  # noqa: S603 - our own argument list
        [*java, "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(properties)],
        env=java_environment(),
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
    return cluster_id


def _serves(port: int, cluster_id: str) -> bool:
    """Say whether the broker at `port` gives out group coordinators; raise StackError if it is not ours."""
    found = asyncio.run(_cluster_id(port))
    if found and found != cluster_id:
        raise StackError(f"Another Kafka answers on port {port}", remedy="Start again")
    return found is not None


async def _cluster_id(port: int) -> str | None:
    from aiokafka.admin import AIOKafkaAdminClient
    from aiokafka.errors import KafkaError

    admin = AIOKafkaAdminClient(bootstrap_servers=f"127.0.0.1:{port}", request_timeout_ms=5000)
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
