"""A folder that keeps what was asked and found, so that a second build only runs what is new.

Each table is a folder of Parquet files that are only ever added, each named by its content and moved into place when it
is whole: a build that was killed loses at most the piece in hand.
"""

import hashlib
import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar, cast

from qexplorer.errors import ConfigError, StorageError

FORMAT = 2
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexRow:
    """An index and how many listings it had when it was last searched."""

    index: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagRow:
    """A known flag of an index; `known` are the spans of others that stand beside it in a prompt."""

    index: str
    flag_id: str
    listing_id: str
    policy: str
    kind: str
    locale: str
    title: str
    description: str
    normalised: str
    known: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRow:
    """An executed search: `key` identifies index and body, `ids` are the listings found, best first."""

    key: str
    index: str
    query: str
    total: int
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListingRow:
    """A listing that a search has found."""

    index: str
    listing_id: str
    version: str
    normalised: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyRow:
    """What a model wrote for a flag; `asker` names model, adapter, prompt and sampling."""

    index: str
    flag_id: str
    asker: str
    source: str
    text: str
    finished: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedRow:
    """How likely a listing is wanted, and by whose judgement: a later row takes the place of an earlier one."""

    index: str
    listing_id: str
    wanted: float
    judge: str


class Store:
    """The tables of a folder. Raises ConfigError when the folder holds another version's store or something else."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        mark = folder / "store.json"
        try:
            if mark.exists():
                found = json.loads(mark.read_text()).get("format")
                if found != FORMAT:
                    raise ConfigError(
                        f"{folder} is a store of format {found}; this version reads {FORMAT}",
                        remedy="Build a new store in another folder",
                    )
                return
            # A first build that was killed may have left its mark unfinished.
            if folder.exists() and {path.name for path in folder.iterdir()} - {"store.json.part"}:
                raise ConfigError(f"{folder} holds other files", remedy="Name a new folder, or that of a store")
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(mark, json.dumps({"format": FORMAT}).encode())
        except (OSError, ValueError) as error:
            raise StorageError(f"the store {folder} cannot be opened: {error}", remedy="Check the folder") from error

    @property
    def folder(self) -> Path:
        """Where it is."""
        return self._folder

    def claim(self, index: str, how: Mapping[str, Any]) -> None:
        """Keep how an index is searched, its fields and filters; raises ConfigError where it was searched otherwise.

        What was found then would be taken for what is found now, for a search that the store has is not run again.
        """
        path = self._folder / "indices.json"
        try:
            held = json.loads(path.read_bytes()) if path.exists() else {}
        except (OSError, ValueError) as error:
            raise StorageError(f"{path} cannot be read: {error}", remedy="Build a new store") from error
        if index not in held:
            write_whole(path, json.dumps({**held, index: how}, indent=1).encode())
        elif held[index] != how:
            raise ConfigError(
                f"{self._folder} holds searches of the index {index} with other fields or filters",
                remedy="Build a new store in another folder",
            )

    def add(self, rows: Sequence[Any]) -> None:
        """Add rows of one type."""
        if rows:
            write_table(self._table(type(rows[0])), [asdict(row) for row in rows], named_by_content=True)

    def read(self, kind: type[T]) -> list[T]:
        """Return all rows of a type, those of the same file in order."""
        names = [field.name for field in fields(cast("Any", kind))]
        return [
            kind(**{name: _plain(row[name]) for name in names})
            for path in sorted(self._table(kind).glob("*.parquet"), key=_age)
            for row in read_table(path)
        ]

    def forget(self, listing_ids: Collection[str]) -> int:
        """Remove listings, their flags and what a model wrote or is to learn for these; return how many rows are gone.

        The searches stay, without the listings that they had found: whose words a query was is not kept.
        """
        gone = {row.flag_id for row in self.read(FlagRow) if row.listing_id in listing_ids}
        removed = 0
        # The flags last: where it is cut off, they still tell whose the other rows are.
        for path in sorted(self._folder.glob("**/*.parquet"), key=lambda path: path.parent.name == "flag"):
            rows = list(read_table(path))
            kept = [_without(row, listing_ids) for row in rows if not _is_of(row, listing_ids, gone)]
            if kept == rows:
                continue
            removed += len(rows) - len(kept)
            if path.parent == self._folder:
                # What is learnt from, which has a name of its own.
                write_table(path, kept)
                continue
            if kept:
                age = path.stat().st_mtime_ns
                # A later row takes the place of an earlier one, so the piece keeps its age.
                os.utime(write_table(path.parent, kept, named_by_content=True), ns=(age, age))
            path.unlink()
        return removed

    def _table(self, kind: type) -> Path:
        return self._folder / kind.__name__.removesuffix("Row").lower()


def triage_of(store: Store, index: str) -> Path:
    """Return where the store keeps the triage that judges an index."""
    return store.folder / "triage" / f"{index}.safetensors"


def write_table(path: Path, rows: Iterable[Mapping[str, Any]], *, named_by_content: bool = False) -> Path:
    """Write rows as Parquet, whole or not at all; into a folder under a name made of the content where asked."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist([dict(row) for row in rows])
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    data = sink.getvalue().to_pybytes()
    if named_by_content:
        path = path / f"{hashlib.sha256(data).hexdigest()[:24]}.parquet"
    write_whole(path, data)
    return path


def read_table(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a Parquet file. Raises ConfigError for one that cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        yield from pq.read_table(path).to_pylist()
    except (OSError, pa.ArrowInvalid) as error:
        raise ConfigError(f"{path} cannot be read: {error}", remedy="Build it again") from error


def write_whole(path: Path, data: bytes) -> None:
    """Write a file under another name and move it into place, so that nobody ever sees half of it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        part.write_bytes(data)
        part.replace(path)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}", remedy="Free the disk or name another") from error


def _is_of(row: Mapping[str, Any], listing_ids: Collection[str], flag_ids: Collection[str]) -> bool:
    return row.get("listing_id") in listing_ids or row.get("flag_id") in flag_ids


def _without(row: dict[str, Any], listing_ids: Collection[str]) -> dict[str, Any]:
    return {**row, "ids": [name for name in row["ids"] if name not in listing_ids]} if "ids" in row else row


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _age(path: Path) -> tuple[int, str]:
    return path.stat().st_mtime_ns, path.name
