import signal
import subprocess
import sys

import psutil
import pytest

from qexplorer.stack import guard

SLEEPER = "import time; print('up', flush=True); time.sleep(600)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEPER
# An owner that starts a guarded sleeper, tells its guard's pid, and waits.
OWNER = """
import subprocess, sys
guard = subprocess.Popen(
    [sys.executable, sys.argv[1], "5", sys.executable, "-c", sys.argv[2]],
    stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
)
guard.stdout.readline()
print(guard.pid, flush=True)
sys.stdin.read()
"""


def guarded(code: str, grace: str = "5") -> subprocess.Popen[str]:
    return subprocess.Popen(  # noqa: S603 - our own argument list
        [sys.executable, guard.__file__, grace, sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )


def test_the_command_ends_with_the_pipe() -> None:
    """Closing the pipe asks the command to stop, and the guard ends with the command's status."""
    with guarded(SLEEPER) as process:
        assert process.stdout is not None
        process.stdout.readline()
        _out, _err = process.communicate()  # closes standard input
        assert process.returncode == 128 + signal.SIGTERM


def test_a_command_that_ignores_the_request_is_killed() -> None:
    """After the grace time the guard kills the whole group, itself included."""
    with guarded(STUBBORN, grace="0.1") as process:
        assert process.stdout is not None
        process.stdout.readline()
        (child,) = psutil.Process(process.pid).children()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert psutil.wait_procs([child], timeout=10)[1] == []


@pytest.mark.parametrize("status", [0, 3])
def test_the_status_of_the_command_is_the_guards(status: int) -> None:
    """A command that ends by itself ends the guard with the same status."""
    with guarded(f"raise SystemExit({status})") as process:
        process.wait(30)
        assert process.returncode == status


def test_a_signal_to_the_guard_reaches_the_command() -> None:
    """SIGTERM to the guard alone ends the command too, rather than leave it behind."""
    with guarded(SLEEPER) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.terminate()
        assert process.wait(30) == 128 + signal.SIGTERM


def test_the_command_ends_when_the_owner_is_killed() -> None:
    """An owner killed by SIGKILL takes the guard and the command with it."""
    with subprocess.Popen(  # noqa: S603 - our own argument list
        [sys.executable, "-c", OWNER, guard.__file__, SLEEPER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as owner:
        assert owner.stdout is not None
        guard_process = psutil.Process(int(owner.stdout.readline()))
        family = [guard_process, *guard_process.children()]
        assert len(family) == 2
        owner.kill()
        assert psutil.wait_procs(family, timeout=30)[1] == []
