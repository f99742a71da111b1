"""One broker or one search node: it can be ended alone and started again on its own ports and data."""

import dataclasses
import os
import signal
import threading
from collections.abc import Callable, Sequence

from qexplorer.stack.process import EngineProcess, Start


class Node:
    """A member of a cluster. `name` tells it from its peers, `address` is where clients reach it."""

    def __init__(
        self,
        engine: str,
        name: str,
        command: list[str],
        *,
        start: Start,
        is_ready: Callable[[EngineProcess], bool],
        address: str = "",
    ) -> None:
        self.name = name
        self.address = address
        self._engine = engine
        self.command = command
        self._start = start
        self._is_ready = is_ready
        self._starts = 0
        self.launch()

    @property
    def pid(self) -> int:
        """Return the process id of the engine itself, a child of its guard."""
        import psutil

        (engine,) = psutil.Process(self.process.guard_pid).children()
        return int(engine.pid)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the engine alone; its guard ends with it."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """End the engine by SIGKILL and return when it is gone."""
        self.signal(signal.SIGKILL)
        self.process.stop()

    def launch(self) -> None:
        """Start the process and return at once; each start has a log of its own."""
        self._starts += 1
        suffix = "" if self._starts == 1 else f".{self._starts}"
        log = self._start.logs / f"{self.name}{suffix}.log"
        self.process = EngineProcess(self._engine, self.command, log=log, folder=self._start.data)

    def await_ready(self) -> None:
        """Return once it serves; raises StackError, with the process gone, where it does not."""
        self.process.await_ready(self._start, lambda: self._is_ready(self.process))

    def restart(self) -> None:
        """Start it again, ended or not, and return once it serves."""
        self.process.stop()
        # The first start's own signal to give up has been used.
        self._start = dataclasses.replace(self._start, cancelled=threading.Event())
        self.launch()
        self.await_ready()


def stop_nodes(nodes: Sequence[Node]) -> None:
    """End all `nodes`, side by side."""
    for node in nodes:
        node.process.ask_to_stop()
    for node in nodes:
        node.process.stop()


def await_all(nodes: Sequence[Node]) -> tuple[Node, ...]:
    """Return the nodes once all of them serve; where one does not, end all and raise its StackError."""
    complete = False
    try:
        for node in nodes:
            node.await_ready()
        complete = True
    finally:
        if not complete:
            stop_nodes(nodes)
    return tuple(nodes)
