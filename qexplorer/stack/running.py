"""Have Kafka and OpenSearch run for as long as a `with` block lasts."""

import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from qexplorer.errors import StackError
from qexplorer.paths import cache_dir
from qexplorer.stack import kafka as kafka_engine
from qexplorer.stack import opensearch as opensearch_engine
from qexplorer.stack.access import Access, make_access
from qexplorer.stack.disk import disk_errors, require_space
from qexplorer.stack.layout import Layout, keep_layout
from qexplorer.stack.node import Node, stop_nodes
from qexplorer.stack.opensearch import SECURED, OpenSearchVersion
from qexplorer.stack.process import Start

Started = tuple[Node, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """Where the engines are, or None for one not run.

    `kafka` is "127.0.0.1:PORT" of every broker, with commas; `opensearch` is "http://127.0.0.1:PORT" of the
    first node, or "https://…" with users. `brokers` and `search_nodes` are their members, to end and start
    again one by one; `access` is how to log in.
    """

    kafka: str | None
    opensearch: str | None
    logs: Path
    data: Path
    brokers: tuple[Node, ...] = ()
    search_nodes: tuple[Node, ...] = ()
    access: Access | None = None


def ignore_progress(_message: str) -> None:
    """Say nothing."""


@contextmanager
def running(  # noqa: PLR0913 - every argument is an option with a default
    *,
    kafka: bool = True,
    opensearch: bool = True,
    opensearch_version: OpenSearchVersion | None = None,
    data: Path | None = None,
    on_progress: Callable[[str], None] = ignore_progress,
    kafka_heap_mb: int = kafka_engine.DEFAULT_HEAP_MB,
    opensearch_heap_mb: int = opensearch_engine.DEFAULT_HEAP_MB,
    kafka_nodes: int = 1,
    opensearch_nodes: int = 1,
    secured: bool = False,
) -> Iterator[Endpoints]:
    """Start the engines side by side, yield their endpoints, and end them with the block or the process.

    With `secured`, clients come by TLS and log in: see Endpoints.access. `opensearch_version` is NEWEST unless
    given, and SECURED with users. `data` keeps topics and indices between runs; without it they go to a
    temporary folder, thrown away at the end. Raises StackError where an engine cannot be installed or started,
    and keeps its log then; StorageError where the disk is full or the folder cannot be written.
    """
    version = _version(opensearch_version, secured=secured and opensearch)
    layout = Layout(
        brokers=kafka_nodes if kafka else 0, search_nodes=opensearch_nodes if opensearch else 0, secured=secured
    )
    with _data_folder(data) as folder:
        with disk_errors(folder):
            keep_layout(folder, layout)
            access = make_access(folder / "access") if secured else None
        cache = cache_dir()
        starts: dict[str, Callable[[Start], Started]] = {}
        if kafka:
            starts["kafka"] = partial(
                kafka_engine.start_kafka, cache=cache, heap_mb=kafka_heap_mb, nodes=kafka_nodes, access=access
            )
        if opensearch:
            starts["opensearch"] = partial(
                opensearch_engine.start_opensearch,
                cache=cache,
                heap_mb=opensearch_heap_mb,
                version=version,
                nodes=opensearch_nodes,
                access=access,
            )
        started = _start_all(starts, folder, on_progress)
        brokers, search_nodes = started.get("kafka", ()), started.get("opensearch", ())
        try:
            endpoints = Endpoints(
                kafka=",".join(broker.address for broker in brokers) or None,
                opensearch=search_nodes[0].address if search_nodes else None,
                logs=folder / "logs",
                data=folder,
                brokers=brokers,
                search_nodes=search_nodes,
                access=access,
            )
            if access:
                access.write_settings(endpoints.kafka, endpoints.opensearch)
            yield endpoints
        finally:
            stop_nodes([*brokers, *search_nodes])


def _version(asked: OpenSearchVersion | None, *, secured: bool) -> OpenSearchVersion:
    if secured and asked not in {None, SECURED}:
        raise StackError(
            f"OpenSearch {asked} cannot be run with users here: its security plugin is not published as a jar",
            remedy=f"Use OpenSearch {SECURED}, or no users",
        )
    return asked or opensearch_engine.default_version(secured=secured)


@contextmanager
def _data_folder(data: Path | None) -> Iterator[Path]:
    with disk_errors(data or Path(tempfile.gettempdir())):
        folder = data.absolute() if data else Path(tempfile.mkdtemp(prefix="qexplorer-stack-"))
        (folder / "logs").mkdir(parents=True, exist_ok=True)
        require_space(folder)
    failed = False
    try:
        yield folder
    except StackError:
        failed = True
        raise
    finally:
        if not data:
            _throw_away(folder, keep_logs=failed)


def _throw_away(folder: Path, *, keep_logs: bool) -> None:
    for path in folder.iterdir():
        if path.is_file():
            path.unlink()
        elif path.name != "logs" or not keep_logs:
            shutil.rmtree(path, ignore_errors=True)
    if not keep_logs:
        folder.rmdir()


def _start_all(
    starts: dict[str, Callable[[Start], Started]], folder: Path, on_progress: Callable[[str], None]
) -> dict[str, Started]:
    cancelled = threading.Event()
    start = Start(data=folder, logs=folder / "logs", on_progress=on_progress, cancelled=cancelled)
    futures: dict[Future[Started], str] = {}
    complete = False
    try:
        with ThreadPoolExecutor(max(1, len(starts))) as pool, disk_errors(folder):
            futures = {pool.submit(run, start): name for name, run in starts.items()}
            try:
                results = {futures[future]: future.result() for future in as_completed(futures)}
            finally:  # one failed or Ctrl-C came: call the other off, or leaving the pool would wait for it
                cancelled.set()
        complete = True
    finally:
        if not complete:
            done = [future for future in futures if future.done() and not future.exception()]
            stop_nodes([node for future in done for node in future.result()])
    return results
