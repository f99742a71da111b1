"""Start and end a stack that outlives the command which started it."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import qexplorer
from qexplorer import errors
from qexplorer.errors import StackError
from qexplorer.stack.disk import disk_errors
from qexplorer.stack.state import StackState, read_state, remove_state, state_folder, supervisor_of
from qexplorer.stack.supervisor import StackOptions

STOP_SECONDS = 40.0
_ERRORS = {error.__name__: error for error in (errors.StackError, errors.StorageError)}


def start_detached(options: StackOptions, cache: Path, on_progress: Callable[[str], None]) -> StackState:
    """Start a supervisor in a session of its own and return its stack once it is healthy.

    Raises StackError or StorageError as the supervisor does. Interrupted, it ends what it started.
    """
    folder = state_folder(cache)
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        log = (folder / "supervisor.log").open("wb")
    root = str(Path(qexplorer.__file__).parent.parent)
    paths = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    with log:
        supervisor = subprocess.Popen(  # noqa: S603 - our own argument list
            [sys.executable, "-m", "qexplorer.stack.supervisor", options.to_json()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=folder,
            env=os.environ | {"PYTHONPATH": paths},
            start_new_session=True,
        )
    state = None
    try:
        state = _await_ready(supervisor, cache, on_progress)
    finally:
        if not state:
            supervisor.terminate()
            supervisor.wait()
    return state


def _await_ready(supervisor: subprocess.Popen[bytes], cache: Path, on_progress: Callable[[str], None]) -> StackState:
    with supervisor.stdout or contextlib.nullcontext(()) as lines:
        messages = map(json.loads, lines)
        for message in messages:
            if "ready" in message:
                break
            if "error" in message:
                raise _ERRORS.get(message["error"], StackError)(message["message"], remedy=message["remedy"])
            on_progress(message["progress"])
        else:
            log = state_folder(cache) / "supervisor.log"
            raise StackError("The supervisor of the stack ended while it started", remedy=f"Read {log}")
    state = read_state(cache)
    if not state:
        raise StackError("The stack was taken down while it came up", remedy="Start it again")
    return state


def stop_detached(cache: Path) -> bool:
    """End the stack and return when it is gone; say whether there was one alive.

    What a killed supervisor left is cleared away too.
    """
    state = read_state(cache)
    supervisor = supervisor_of(state) if state else None
    if supervisor:
        import psutil

        try:
            supervisor.terminate()
            supervisor.wait(STOP_SECONDS)
        except psutil.NoSuchProcess:
            pass
        except psutil.TimeoutExpired as error:
            raise StackError(
                f"The stack's supervisor (process {supervisor.pid}) does not end",
                remedy=f"End it with: kill -9 {supervisor.pid}",
            ) from error
    if read_state(cache) == state:  # otherwise the next stack is already there
        remove_state(cache, state)
    return supervisor is not None
