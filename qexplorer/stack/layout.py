"""Remember in a data folder what kind of stack it belongs to, so that another kind does not start empty on it."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from qexplorer.errors import StackError

_FILE = "layout.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How many nodes each engine has (0: not run), and whether they ask for a login."""

    brokers: int = 0
    search_nodes: int = 0
    secured: bool = False


def keep_layout(folder: Path, wanted: Layout) -> None:
    """Write down the layout of a new folder; raise StackError where the folder has another one.

    An engine that is not run this time stays as it was.
    """
    kept = _kept(folder)
    if kept and (
        kept.secured != wanted.secured
        or _differs(kept.brokers, wanted.brokers)
        or _differs(kept.search_nodes, wanted.search_nodes)
    ):
        raise StackError(
            f"The data in {folder} are those of {_described(kept)}, not of {_described(wanted)}",
            remedy="Start it as it was, or choose another data folder",
        )
    layout = Layout(
        brokers=wanted.brokers or (kept.brokers if kept else 0),
        search_nodes=wanted.search_nodes or (kept.search_nodes if kept else 0),
        secured=wanted.secured,
    )
    (folder / _FILE).write_text(json.dumps(asdict(layout)), encoding="utf-8")


def _kept(folder: Path) -> Layout | None:
    path = folder / _FILE
    try:
        return Layout(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        # A folder from before there were several nodes.
        brokers, search_nodes = int((folder / "kafka").exists()), int((folder / "opensearch").exists())
        return Layout(brokers=brokers, search_nodes=search_nodes) if brokers or search_nodes else None
    except (ValueError, TypeError) as error:
        raise StackError(f"{path} cannot be read", remedy=f"Delete {path}") from error


def _differs(kept: int, wanted: int) -> bool:
    return bool(kept and wanted and kept != wanted)


def _described(layout: Layout) -> str:
    parts = [f"{layout.brokers} Kafka brokers" if layout.brokers else ""]
    parts.append(f"{layout.search_nodes} OpenSearch nodes" if layout.search_nodes else "")
    return " and ".join(filter(None, parts)) + (" with users" if layout.secured else " without users")
