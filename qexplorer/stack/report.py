"""Look at a detached stack: each engine's process, memory and health."""

import contextlib
import socket
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from qexplorer.stack import kafka, opensearch
from qexplorer.stack.opensearch import get_json
from qexplorer.stack.state import StackState

if TYPE_CHECKING:
    import psutil


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineReport:
    """How one engine of a running stack is."""

    name: str
    version: str
    address: str
    pid: int | None
    memory_mb: int
    health: str  # "green", "yellow" or "red" for OpenSearch, "up" for Kafka, "gone" or "silent" for either

    @property
    def healthy(self) -> bool:
        """Say whether it can be worked with."""
        return self.health in {"up", "green", "yellow"}


def engine_reports(state: StackState, supervisor: "psutil.Process") -> list[EngineReport]:
    """Return how each engine of the stack is, asked now."""
    reports = []
    if state.kafka:
        process = _engine_process(supervisor, kafka.MAIN)
        health = "up" if process and _accepts(state.kafka) else "silent"
        reports.append(_report("Kafka", state.kafka_version, state.kafka, process, health))
    if state.opensearch:
        process = _engine_process(supervisor, opensearch.MAIN)
        port = int(state.opensearch.rpartition(":")[2])
        answer = get_json(port, "/_cluster/health") or {}
        number = (get_json(port, "/") or {}).get("version", {}).get("number", state.opensearch_version)
        health = answer.get("status", "silent")
        reports.append(_report("OpenSearch", number, state.opensearch, process, health))
    return reports


def _report(name: str, version: str, address: str, process: "psutil.Process | None", health: str) -> EngineReport:
    memory = process.memory_info().rss // 2**20 if process else 0
    return EngineReport(
        name=name,
        version=version,
        address=address,
        pid=process.pid if process else None,
        memory_mb=memory,
        health=health if process else "gone",
    )


def _engine_process(supervisor: "psutil.Process", main_class: str) -> "psutil.Process | None":
    """Return the Java process that runs `main_class`: a child of a guard, itself a child of the supervisor."""
    import psutil

    for guard in supervisor.children():
        with contextlib.suppress(psutil.Error):
            for child in guard.children():
                if main_class in child.cmdline():
                    return child
    return None


def _accepts(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=2).close()
    except OSError:
        return False
    return True


def to_json(state: StackState | None, reports: list[EngineReport], *, alive: bool) -> dict[str, Any]:
    """Return the status as one JSON object."""
    return {
        "running": alive,
        "pid": state.pid if state and alive else None,
        "logs": state.logs if state else None,
        "data": state.data if state else None,
        "engines": [asdict(report) for report in reports],
    }
