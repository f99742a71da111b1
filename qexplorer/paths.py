"""Where QExplorer keeps what it can fetch or build again."""

import os
from pathlib import Path

from qexplorer.errors import ConfigError


def cache_dir() -> Path:
    """Return the user's cache folder for QExplorer; it may not exist yet.

    `$QEXPLORER_CACHE` as it is, else `qexplorer` under `$XDG_CACHE_HOME`, else under `~/.cache`. Raises ConfigError for
    a user who has no home folder, as in a container that runs under a number.
    """
    own = os.environ.get("QEXPLORER_CACHE")
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        if own:
            return Path(own).expanduser().absolute()
        return (Path(base) if base else Path.home() / ".cache") / "qexplorer"
    except RuntimeError:
        raise ConfigError("this user has no home folder", remedy="Name a folder as QEXPLORER_CACHE") from None
