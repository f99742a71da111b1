"""Look at a detached stack: each engine's process, memory and health."""

import contextlib
import socket
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qexplorer.stack.access import read_access
from qexplorer.stack.opensearch import get_json
from qexplorer.stack.state import NodeState, StackState

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


def engine_reports(state: StackState) -> list[EngineReport]:
    """Return how each node of the stack is, asked now."""
    return [_kafka(state, node) if node.engine == "Kafka" else _opensearch(state, node) for node in state.nodes]


def _kafka(state: StackState, node: NodeState) -> EngineReport:
    return _report(node, state.kafka_version, "up" if _accepts(node.address) else "silent")


def _opensearch(state: StackState, node: NodeState) -> EngineReport:
    port = int(node.address.rpartition(":")[2])
    access = read_access(Path(state.access)) if state.access else None
    answer = get_json(port, "/_cluster/health", access=access) or {}
    number = (get_json(port, "/", access=access) or {}).get("version", {}).get("number", state.opensearch_version)
    return _report(node, number, answer.get("status", "silent"))


def _report(node: NodeState, version: str, health: str) -> EngineReport:
    process = _engine_process(node.guard_pid)
    memory = process.memory_info().rss // 2**20 if process else 0
    return EngineReport(
        name=node.engine,
        version=version,
        address=node.address,
        pid=process.pid if process else None,
        memory_mb=memory,
        health=health if process else "gone",
    )


def _engine_process(guard_pid: int) -> "psutil.Process | None":
    """Return the Java process, the child of its guard."""
    import psutil

    with contextlib.suppress(psutil.Error):
        for child in psutil.Process(guard_pid).children():
            if child.status() != psutil.STATUS_ZOMBIE:
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
        "access": state.access if state else None,
        "engines": [asdict(report) for report in reports],
    }
