import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from qexplorer.errors import StackError
from qexplorer.stack.process import EngineProcess, PortTakenError, Start, retry_when_taken, stop_all


@pytest.fixture
def start(tmp_path: Path) -> Start:
    return Start(data=tmp_path, logs=tmp_path, on_progress=lambda _text: None, cancelled=threading.Event())


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[EngineProcess]:
    process = python("print('up', flush=True); import time; time.sleep(600)", tmp_path)
    yield process
    process.stop()


def python(code: str, folder: Path) -> EngineProcess:
    return EngineProcess("Engine", [sys.executable, "-c", code], log=folder / "engine.log", folder=folder)


def test_ready_when_it_says_so(sleeper: EngineProcess, start: Start) -> None:
    """The wait ends once the engine's output shows what is looked for."""
    sleeper.await_ready(start, lambda: "up" in sleeper.output())
    assert psutil.Process(sleeper.guard_pid).children()


def test_an_early_end_shows_the_last_lines(tmp_path: Path, start: Start) -> None:
    """An engine that ends silently with status 0 is an error that shows its last lines and its log's path."""
    process = python("[print('line', n) for n in range(100)]", tmp_path)
    with pytest.raises(StackError, match=r"Engine ended while it started[\s\S]*line 99") as caught:
        process.await_ready(start, lambda: False)
    assert "line 80" not in caught.value.message
    assert str(tmp_path / "engine.log") in caught.value.remedy


def test_a_start_that_is_called_off_leaves_nothing(sleeper: EngineProcess, start: Start) -> None:
    """Cancelling a start raises, and the engine is gone by then."""
    family = [psutil.Process(sleeper.guard_pid)]
    start.cancelled.set()
    with pytest.raises(StackError, match="called off"):
        sleeper.await_ready(start, lambda: False)
    assert psutil.wait_procs(family, timeout=10)[1] == []


def test_a_killed_guard_does_not_leave_the_engine(sleeper: EngineProcess, start: Start) -> None:
    """Stopping an engine whose guard was killed kills the engine itself."""
    sleeper.await_ready(start, lambda: "up" in sleeper.output())
    guard = psutil.Process(sleeper.guard_pid)
    (engine,) = guard.children()
    guard.kill()
    stop_all([sleeper])
    assert psutil.wait_procs([engine], timeout=10)[1] == []


def test_a_taken_port_is_tried_again(tmp_path: Path, start: Start) -> None:
    """An engine that finds its port taken is started again with another attempt number."""
    attempts: list[int] = []

    def try_once(attempt: int) -> str:
        attempts.append(attempt)
        if attempt < 2:
            process = python("print('java.net.BindException: Address already in use')", tmp_path)
            process.await_ready(start, lambda: False)
        return "started"

    assert retry_when_taken("Engine", start, try_once) == "started"
    assert attempts == [0, 1, 2]


BOUND = "[o.o.t.TransportService   ] publish_address {127.0.0.1:42051}"
SERVES = "[o.o.h.AbstractHttpServerTransport] publish_address {127.0.0.1:9211}"


@pytest.mark.parametrize(
    ("lines", "error"),
    [
        pytest.param([BOUND, "Closed all nodes."], PortTakenError, id="closed before it serves"),
        pytest.param([BOUND, SERVES, "Closed all nodes."], StackError, id="closed while it serves"),
        pytest.param(["Closed all nodes."], StackError, id="closed before any port"),
        pytest.param([BOUND], StackError, id="ended otherwise"),
    ],
)
def test_a_search_node_that_ends_without_a_word_found_its_port_taken(
    lines: list[str], error: type[StackError], tmp_path: Path, start: Start
) -> None:
    """It says nothing of a bind, so what it did not get to tells."""
    with pytest.raises(StackError) as caught:
        python(f"[print(line) for line in {lines}]", tmp_path).await_ready(start, lambda: False)
    assert type(caught.value) is error


def test_a_port_that_stays_taken_is_an_error(start: Start) -> None:
    """After the last try the error about the port comes through."""

    def try_once(attempt: int) -> str:
        raise PortTakenError(f"taken {attempt}")

    with pytest.raises(PortTakenError, match="taken 3"):
        retry_when_taken("Engine", start, try_once)


def test_variables_of_other_java_programs_do_not_reach_the_engine(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """JAVA_TOOL_OPTIONS of this process is not the engine's."""
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Xmx1m")
    process = python("import os; print(os.environ.get('JAVA_TOOL_OPTIONS', 'unset'))", tmp_path)
    process.await_ready(start, lambda: bool(process.output()))
    process.stop()
    assert process.output().strip() == "unset"
