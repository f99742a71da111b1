"""Own the engines of a detached stack: `python -m qexplorer.stack.supervisor OPTIONS`, started by `stack up`.

It says what it does on standard output, one JSON object a line, until the stack is ready: {"progress": text},
then {"ready": true} or {"error": class, "message": text, "remedy": text}. It ends on SIGTERM, and takes the
engines with it however it ends.
"""

import contextlib
import json
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from qexplorer.errors import QExplorerError, StackError
from qexplorer.paths import cache_dir
from qexplorer.stack import kafka
from qexplorer.stack.node import Node
from qexplorer.stack.opensearch import OpenSearchVersion, default_version
from qexplorer.stack.running import Endpoints, running
from qexplorer.stack.state import (
    NodeState,
    StackState,
    import_psutil,
    read_state,
    remove_state,
    state_folder,
    write_state,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StackOptions:
    """What `stack up` was asked for."""

    kafka: bool
    opensearch: bool
    opensearch_version: str | None  # None: the newest that can be run
    data: str | None
    kafka_heap_mb: int
    opensearch_heap_mb: int
    brokers: int = 1
    search_nodes: int = 1
    secured: bool = False

    def to_json(self) -> str:
        """Return the supervisor's command line argument."""
        return json.dumps(asdict(self))


def main(options: StackOptions) -> int:
    """Run the engines until SIGTERM; return the exit status."""
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, _end)
    try:
        with _only_one(cache_dir()):
            remove_state(cache_dir(), read_state(cache_dir()))  # of a supervisor that was killed
            _serve(options, cache_dir())
    except QExplorerError as error:
        _tell({"error": type(error).__name__, "message": error.message, "remedy": error.remedy})
        return error.exit_code
    return 0


def _end(_signum: int, _frame: FrameType | None) -> None:
    # A second signal must not cut the orderly end short.
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, signal.SIG_IGN)
    raise SystemExit(0)


def _serve(options: StackOptions, cache: Path) -> None:
    with running(
        kafka=options.kafka,
        opensearch=options.opensearch,
        opensearch_version=OpenSearchVersion(options.opensearch_version) if options.opensearch_version else None,
        data=Path(options.data) if options.data else None,
        on_progress=lambda text: _tell({"progress": text}),
        kafka_heap_mb=options.kafka_heap_mb,
        opensearch_heap_mb=options.opensearch_heap_mb,
        kafka_nodes=options.brokers,
        opensearch_nodes=options.search_nodes,
        secured=options.secured,
    ) as endpoints:
        state = _state(options, endpoints)
        try:
            write_state(cache, state)
            _tell({"ready": True})
            # `stack up` leaves now, and with it the reader of this pipe.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            while True:
                signal.pause()
        finally:
            remove_state(cache, None)


def _state(options: StackOptions, endpoints: Endpoints) -> StackState:
    import_psutil()
    import psutil

    return StackState(
        pid=os.getpid(),
        started=psutil.Process().create_time(),
        kafka=endpoints.kafka,
        opensearch=endpoints.opensearch,
        kafka_version=kafka.version(),
        opensearch_version=options.opensearch_version or default_version(secured=options.secured),
        logs=str(endpoints.logs),
        data=str(endpoints.data),
        throwaway=options.data is None,
        nodes=(*_nodes("Kafka", endpoints.brokers), *_nodes("OpenSearch", endpoints.search_nodes)),
        access=str(endpoints.access.folder) if endpoints.access else None,
    )


def _nodes(engine: str, nodes: tuple[Node, ...]) -> list[NodeState]:
    return [
        NodeState(engine=engine, name=node.name, address=node.address, guard_pid=node.process.guard_pid)
        for node in nodes
    ]


@contextlib.contextmanager
def _only_one(cache: Path) -> Iterator[None]:
    """Hold the lock that the kernel takes back when this process ends, in whatever way."""
    import fcntl

    with (state_folder(cache) / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StackError(
                "Another stack is starting or running", remedy="See it with: qexplorer stack status"
            ) from error
        yield


def _tell(message: dict[str, Any]) -> None:
    with contextlib.suppress(BrokenPipeError):  # whoever asked for the stack has gone; the stack has not
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(StackOptions(**json.loads(sys.argv[1]))))
