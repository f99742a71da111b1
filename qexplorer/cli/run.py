"""How every command ends: an error of ours is one clear line and its own exit code, never a traceback."""

import errno
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from qexplorer.errors import QExplorerError, StorageError

INTERRUPTED = 130


def run(app: Callable[[], object]) -> None:
    """Run a typer app; the exit codes stand in qexplorer/errors.py.

    `QEXPLORER_DEBUG=1` shows the traceback as well.
    """
    try:
        app()
    except QExplorerError as error:
        fail(error)
    except SystemExit as end:
        if isinstance(end.__context__, OSError) and end.__context__.errno == errno.EPIPE:
            # The reader of a pipe has gone, which typer makes a failure of: what nobody wants to read is none.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(0)
        raise
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES}:
            unexpected(error)
        where = f" at {error.filename}" if error.filename else ""
        fail(StorageError(f"cannot write{where}: {error.strerror}", remedy="Free the disk or choose another path"))
    except Exception as error:  # noqa: BLE001 - no traceback reaches a user who did not ask for it
        unexpected(error)


def unexpected(error: Exception) -> NoReturn:
    """Say that this is a bug, in one line, and end with exit code 1."""
    if os.environ.get("QEXPLORER_DEBUG") == "1":
        raise error
    sys.stderr.write(f"error: this should not happen: {type(error).__name__}: {error}\n")
    sys.stderr.write("  → Run it again with QEXPLORER_DEBUG=1 and report what it prints\n")
    sys.exit(1)


def fail(error: QExplorerError) -> NoReturn:
    """Print the error and end the process with its exit code."""
    if os.environ.get("QEXPLORER_DEBUG") == "1":
        raise error
    sys.stderr.write(f"error: {error.message}\n")
    if error.remedy:
        sys.stderr.write(f"  → {error.remedy}\n")
    sys.exit(error.exit_code)
