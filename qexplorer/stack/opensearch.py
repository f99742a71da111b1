"""Start one OpenSearch node on the loopback address."""

import http.client
import json
import random
import re
import uuid
from enum import StrEnum
from pathlib import Path
from typing import Any

from qexplorer.stack.install import SPECS, installed_jars
from qexplorer.stack.java import java_path
from qexplorer.stack.process import EngineProcess, Start, retry_when_taken

DEFAULT_HEAP_MB = 1024
MAIN = "org.codelibs.opensearch.runner.OpenSearchRunner"
# The runner looks for a free HTTP port from its base port + 1 up to 9299, whatever the settings say.
_FIRST_BASE, _LAST_BASE = 9200, 9290
_SETTINGS = """\
discovery.type: single-node
network.host: 127.0.0.1
# A disk that is nearly full would make every index read-only; the stack checks the space itself.
cluster.routing.allocation.disk.threshold_enabled: false
"""
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


def start_opensearch(
    start: Start, *, cache: Path, heap_mb: int, version: OpenSearchVersion
) -> tuple[EngineProcess, str]:
    """Start OpenSearch; return it with its address "http://127.0.0.1:PORT" once its health is known.

    Raises StackError with the last log lines where it does not start.
    """
    jars = installed_jars(SPECS / f"opensearch-{version}", cache=cache, on_progress=start.on_progress)
    folder = start.data / "opensearch"
    config = folder / "node_1" / "config"
    config.mkdir(parents=True, exist_ok=True)
    (config / "opensearch.yml").write_text(_SETTINGS, encoding="utf-8")
    (config / "log4j2.properties").write_text(_LOGGING, encoding="utf-8")
    java = [str(java_path()), f"-Xmx{heap_mb}m", "-XX:+ExitOnOutOfMemoryError", "-XX:-UsePerfData"]
    java += [f"-Djava.io.tmpdir={start.data}", "-Djava.locale.providers=CLDR,SPI"]
    java += ["-cp", ":".join(map(str, jars)), MAIN, "-basePath", str(folder), "-numOfNode", "1"]

    def try_once(attempt: int) -> tuple[EngineProcess, str]:
        # A name of this start alone, to know our server from another one on the same port.
        cluster = f"qexplorer-{uuid.uuid4().hex[:12]}"
        base = random.randint(_FIRST_BASE, _LAST_BASE) if attempt else _FIRST_BASE
        start.on_progress(f"starting OpenSearch {version}")
        told: set[str] = set()
        command = [*java, "-clusterName", cluster, "-baseHttpPort", str(base)]
        process = EngineProcess("OpenSearch", command, log=start.logs / "opensearch.log", folder=start.data)
        process.await_ready(start, lambda: _is_ready(process, cluster, start, told))
        port = _port(process)
        return process, f"http://127.0.0.1:{port}"

    return retry_when_taken("OpenSearch", start, try_once)


def _port(process: EngineProcess) -> int | None:
    """Return the HTTP port that the runner chose, once it has said so."""
    found = re.search(r"HTTP Port:\s+(\d+)", process.output())
    return int(found[1]) if found else None


def _is_ready(process: EngineProcess, cluster: str, start: Start, told: set[str]) -> bool:
    port = _port(process)
    health = get_json(port, "/_cluster/health") if port else None
    if not health or health.get("cluster_name") != cluster:
        # Another node's answer: the runner looked at the same moment as ours, and one of the two will fail.
        return False
    status = str(health["status"])
    if status not in told:
        told.add(status)
        start.on_progress(f"OpenSearch is {status}")
    return status in {"yellow", "green"}


def get_json(port: int, path: str, *, timeout: float = 5.0) -> dict[str, Any] | None:
    """Return the JSON object at `path` of the server on the loopback `port`; None where none answers.

    Goes past the proxy settings of the environment: the address is this machine.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", path)
        answer = json.loads(connection.getresponse().read())
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
    return answer if isinstance(answer, dict) else None
