"""What the supervisor of a detached stack leaves for later commands: a file, and who is alive."""

import contextlib
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qexplorer.errors import StackError
from qexplorer.stack.java import INSTALL_REMEDY

if TYPE_CHECKING:
    import psutil

# A clock that is set moves every start time a little; a process id is not used again that soon.
_SAME_START_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeState:
    """One broker or search node of a detached stack."""

    engine: str  # "Kafka" or "OpenSearch"
    name: str
    address: str
    guard_pid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StackState:
    """A detached stack: its supervisor, its endpoints and its folders."""

    pid: int
    started: float  # the supervisor's start, in seconds since the epoch: with `pid` it names one process
    kafka: str | None
    opensearch: str | None
    kafka_version: str
    opensearch_version: str
    logs: str
    data: str
    throwaway: bool  # whether `data` goes with the stack
    nodes: tuple[NodeState, ...] = ()
    access: str | None = None  # the folder of the settings files with the logins, where they are asked for


def state_folder(cache: Path) -> Path:
    """Return the folder of the supervisor's own files."""
    return cache / "stack"


def write_state(cache: Path, state: StackState) -> None:
    """Replace the state file in one step."""
    path = state_folder(cache) / "state.json"
    scratch = path.with_suffix(".new")
    scratch.write_text(json.dumps(asdict(state), indent=2), encoding="utf-8")
    scratch.replace(path)


def read_state(cache: Path) -> StackState | None:
    """Return what the last supervisor wrote, alive or not; None where it went in order."""
    path = state_folder(cache) / "state.json"
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
        nodes = tuple(NodeState(**node) for node in read.pop("nodes", ()))
        return StackState(**read, nodes=nodes)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, AttributeError) as error:
        raise StackError(f"{path} cannot be read", remedy=f"Delete {path}") from error


def remove_state(cache: Path, state: StackState | None) -> None:
    """Forget a stack that is gone, and throw its data away where they were not to be kept."""
    if state and state.throwaway:
        shutil.rmtree(state.data, ignore_errors=True)
    (state_folder(cache) / "state.json").unlink(missing_ok=True)


def import_psutil() -> None:
    """Raise StackError where psutil, part of the embedded extra, is not installed."""
    try:
        import psutil as _psutil  # noqa: F401 - only to see that it is there
    except ImportError as error:
        raise StackError("The package psutil is missing", remedy=INSTALL_REMEDY) from error


def supervisor_of(state: StackState) -> "psutil.Process | None":
    """Return the supervisor's process; None where it is gone, even if its number now names another one."""
    import_psutil()
    import psutil

    with contextlib.suppress(psutil.Error):
        process = psutil.Process(state.pid)
        same = abs(process.create_time() - state.started) < _SAME_START_SECONDS
        if same and process.status() != psutil.STATUS_ZOMBIE:
            return process
    return None
