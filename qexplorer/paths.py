"""Where QExplorer keeps what it can fetch or build again."""

import os
from pathlib import Path


def cache_dir() -> Path:
    """Return the user's cache folder for QExplorer; it may not exist yet.

    `$QEXPLORER_CACHE` as it is, else `qexplorer` under `$XDG_CACHE_HOME`, else under `~/.cache`.
    """
    own = os.environ.get("QEXPLORER_CACHE")
    if own:
        return Path(own).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "qexplorer"
