"""Run a command that must not outlive whoever started this guard.

Usage: guard.py GRACE COMMAND...   with standard input a pipe whose write end only the owner holds.

The pipe is the one signal: it closes when the owner closes it, and also when the owner dies in any way,
SIGKILL included. The guard then asks the command to stop, and after GRACE seconds kills its whole process
group. It is run by path, not as a module, so that it starts fast and stays small.
"""

import os
import signal
import subprocess
import sys
import threading
from types import FrameType


def main(grace: float, command: list[str]) -> int:
    """Run `command` until it ends or standard input does; return its exit status as a shell would."""
    children: list[subprocess.Popen[bytes]] = []

    def stop(_signum: int, _frame: FrameType | None) -> None:
        for child in children:
            child.terminate()

    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, stop)
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)  # noqa: S603 - our own argument list
    children.append(child)
    threading.Thread(target=_stop_at_end_of_input, args=(child, grace), daemon=True).start()
    status = child.wait()
    return status if status >= 0 else 128 - status


def _stop_at_end_of_input(child: subprocess.Popen[bytes], grace: float) -> None:
    while os.read(0, 64):
        pass
    child.terminate()
    try:
        child.wait(grace)
    except subprocess.TimeoutExpired:
        os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
