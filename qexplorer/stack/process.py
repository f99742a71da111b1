"""One engine as a child process under a guard, its output in a log file."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from qexplorer.errors import StackError
from qexplorer.stack import guard
from qexplorer.stack.java import java_environment

START_SECONDS = 180.0
GRACE_SECONDS = 10.0
_POLL_SECONDS = 0.1
_TAIL_LINES = 15
_PORT_TRIES = 4

EngineT = TypeVar("EngineT")


class PortTakenError(StackError):
    """Another program took the port between our look and the engine's bind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What every engine's start is given: where to put its files, whom to tell, and when to give up."""

    data: Path
    logs: Path
    on_progress: Callable[[str], None]
    cancelled: threading.Event

    def pause(self) -> None:
        """Wait a moment; raise StackError where the start was called off."""
        if self.cancelled.wait(_POLL_SECONDS):
            raise StackError("The start was called off", remedy="Start again")


class EngineProcess:
    """A running engine; it ends with `stop`, and with this process however that ends."""

    def __init__(self, name: str, command: list[str], *, log: Path, folder: Path) -> None:
        self.name = name
        self.log = log
        with log.open("wb") as output:
            self._guard = subprocess.Popen(  # noqa: S603 - our own argument list
                [sys.executable, "-I", "-S", guard.__file__, str(GRACE_SECONDS), *command],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env=java_environment(),
                # A session of its own: the terminal's Ctrl-C reaches us alone, and the group is the guard's.
                start_new_session=True,
            )

    @property
    def guard_pid(self) -> int:
        """Return the process id of the guard, which is the parent of the engine."""
        return self._guard.pid

    @property
    def is_running(self) -> bool:
        """Tell whether it has not ended yet."""
        return self._guard.poll() is None

    def output(self) -> str:
        """Return what the engine has written so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def await_ready(self, start: Start, is_ready: Callable[[], bool]) -> None:
        """Return once `is_ready`.

        Raises StackError with the last log lines where the engine ends or is late; it is gone by then.
        """
        deadline = time.monotonic() + START_SECONDS
        ready = False
        try:
            while not is_ready():
                if self._guard.poll() is not None:
                    raise self._failure("ended while it started")
                if time.monotonic() > deadline:
                    raise self._failure(f"was not ready after {START_SECONDS:.0f} seconds")
                start.pause()
            ready = True
        finally:
            if not ready:
                self.stop()

    def _failure(self, what: str) -> StackError:
        output = self.output()
        taken = "Address already in use" in output or "BindHttpException" in output or _is_unbound(output)
        tail = "\n".join(output.splitlines()[-_TAIL_LINES:])
        return (PortTakenError if taken else StackError)(
            f"{self.name} {what}. The last lines of its log:\n{tail}\n", remedy=f"Read {self.log}"
        )

    def ask_to_stop(self) -> None:
        """Let the guard know that the engine is to end; return at once."""
        if self._guard.stdin:
            self._guard.stdin.close()

    def stop(self) -> None:
        """End the engine and return when it is gone: kindly first, by force after GRACE_SECONDS."""
        self.ask_to_stop()
        try:
            status = self._guard.wait(GRACE_SECONDS + 5)
        except subprocess.TimeoutExpired:
            status = -signal.SIGKILL
        if status == -signal.SIGKILL:  # the guard cannot have ended the engine
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._guard.pid, signal.SIGKILL)
            self._guard.wait()


def _is_unbound(output: str) -> bool:
    """Say whether OpenSearch closed itself between its two ports: it ends without a word where the second is taken.

    Whoever took that one may have left by the time that somebody looks.
    """
    return "Closed all nodes." in output and "TransportService" in output and "HttpServerTransport" not in output


def stop_all(processes: Iterable[EngineProcess]) -> None:
    """End all `processes`, side by side."""
    processes = list(processes)
    for process in processes:
        process.ask_to_stop()
    for process in processes:
        process.stop()


def retry_when_taken(name: str, start: Start, try_once: Callable[[int], EngineT]) -> EngineT:
    """Return `try_once(0)`, or its next tries with 1, 2 … where another program took the port meanwhile."""
    for attempt in range(_PORT_TRIES - 1):
        try:
            return try_once(attempt)
        except PortTakenError:
            start.on_progress(f"another program took the port of {name}, trying the next one")
    return try_once(_PORT_TRIES - 1)
