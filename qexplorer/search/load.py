"""Fill an index of ours from rows: in bulk, resumable, with a line for each row that is refused."""

import asyncio
import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from qexplorer.clock import Clock
from qexplorer.errors import SearchUnavailableError, StorageError
from qexplorer.normalise import normalise
from qexplorer.redact import contact_hash, contacts
from qexplorer.rows import Row, to_listing
from qexplorer.search.backend import Document, WriteMode
from qexplorer.search.client import OpenSearchClient
from qexplorer.search.mapping import listings_body
from schemas import Listing, WireError

CHUNK = 500
ATTEMPTS = 8
MOST_TEXT = 20_000
MOST_CHARACTERS = 2_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """How many rows went into the index, were refused, and had been loaded by an earlier run."""

    loaded: int
    refused: int
    skipped: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A file that remembers up to which row an input has been loaded."""

    path: Path

    @classmethod
    def of(
        cls, folder: Path, source: Path, url: str, index: str, *, fields: Mapping[str, str], contact_key: bytes
    ) -> "Checkpoint":
        """Return the checkpoint of an input in its present state for one index, read with these fields and this key."""
        state = source.stat()
        key = hashlib.sha256(contact_key).hexdigest()
        identity = (
            f"{source.resolve()}\0{state.st_size}\0{state.st_mtime_ns}\0{url}\0{index}\0{sorted(fields.items())}\0{key}"
        )
        return cls(path=folder / "loads" / f"{hashlib.sha256(identity.encode()).hexdigest()[:24]}.json")

    def read(self, made: str) -> int:
        """Return the number of the last row that is safe in the index; 0 without an earlier run.

        `made` identifies the index itself: one that was deleted and made anew has none of the rows.
        """
        try:
            held = json.loads(self.path.read_text())
            return int(held["row"]) if held["made"] == made else 0
        except (OSError, ValueError, KeyError):
            return 0

    def write(self, row: int, made: str) -> None:
        """Remember a row."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            part = self.path.with_suffix(".part")
            part.write_text(json.dumps({"row": row, "made": made}))
            part.replace(self.path)
        except OSError as error:
            raise StorageError(
                f"cannot write {self.path}: {error.strerror}", remedy="Free the disk or set QEXPLORER_CACHE"
            ) from error

    def clear(self) -> None:
        """Forget: the next load starts from the first row."""
        self.path.unlink(missing_ok=True)


def document(listing: Listing, contact_key: bytes) -> Document:
    """Return a listing as it is indexed: its fields, the normal form of its text, hashes of its contacts."""
    text = listing.text[:MOST_TEXT]
    hashed = [contact_hash(contact, contact_key) for contact in contacts(text)] if contact_key else []
    source: dict[str, Any] = listing.model_dump(mode="json", exclude={"v"}, exclude_none=True)
    source["updated_at"] = (listing.updated_at or datetime.now(UTC)).isoformat()
    return Document(id=listing.id, source={**source, "normalised": normalise(text), "contacts": hashed})


async def load(
    client: OpenSearchClient,
    index: str,
    rows: Iterator[Row],
    *,
    convert: Callable[[Row], Document | str],
    clock: Clock,
    rejects: TextIO | None = None,
    checkpoint: Checkpoint | None = None,
    on_rows: Callable[[int], None] = lambda _: None,
) -> Loaded:
    """Load rows into the index, making it where it is missing; `convert` says why it refuses a row.

    Loading a row twice leaves one listing, so a load that was cut off goes on from its checkpoint. Raises
    SearchUnavailableError when OpenSearch stays out of reach for about two minutes.
    """
    await client.ensure_index(index, listings_body())
    identity = await _identity(client, index) if checkpoint else ""
    start = checkpoint.read(identity) if checkpoint else 0
    loaded = refused = skipped = 0
    for chunk in _chunked(rows):
        documents: list[Document] = []
        for row in chunk:
            if row.number <= start:
                skipped += 1
                continue
            made = convert(row)
            if isinstance(made, Document):
                documents.append(made)
            else:
                refused += 1
                if rejects is not None:
                    rejects.write(json.dumps({"row": row.number, "problem": made}, ensure_ascii=False) + "\n")
        await _write(client, index, documents, clock)
        loaded += len(documents)
        if checkpoint is not None and chunk[-1].number > start:
            checkpoint.write(chunk[-1].number, identity)
        on_rows(len(chunk))
    await client.request("POST", f"/{index}/_refresh")
    return Loaded(loaded=loaded, refused=refused, skipped=skipped)


async def load_listings(
    client: OpenSearchClient,
    index: str,
    listings: Sequence[Listing],
    *,
    clock: Clock,
    on_rows: Callable[[int], None] = lambda _: None,
) -> None:
    """Load listings, without contacts, into an index; one that holds as many already is left as it is."""
    await client.ensure_index(index, listings_body())
    await client.request("POST", f"/{index}/_refresh")
    if int((await client.request("GET", f"/{index}/_count"))["count"]) == len(listings):
        on_rows(len(listings))
        return
    rows = (Row(number=number, value={}) for number in range(1, len(listings) + 1))
    await load(
        client,
        index,
        rows,
        convert=lambda row: document(listings[row.number - 1], b""),
        clock=clock,
        on_rows=on_rows,
    )


def convert_row(row: Row, *, fields: Mapping[str, str], contact_key: bytes) -> Document | str:
    """Return a row as it is indexed, or why it is refused."""
    if row.value is None:
        return row.problem
    try:
        listing = to_listing(row.value, fields)
    except WireError as error:
        return str(error)
    if len(listing.text) > MOST_CHARACTERS:
        return f"its text has {len(listing.text)} characters, more than {MOST_CHARACTERS}"
    return document(listing, contact_key)


async def _identity(client: OpenSearchClient, index: str) -> str:
    """Return what tells an index, or those of an alias, from later ones of the same name."""
    held = await client.request("GET", f"/{index}/_settings")
    return " ".join(sorted(each["settings"]["index"]["uuid"] for each in held.values()))


async def _write(client: OpenSearchClient, index: str, documents: list[Document], clock: Clock) -> None:
    for attempt in itertools.count(1):
        try:
            await client.write(index, documents, WriteMode.REPLACE)
        except SearchUnavailableError:
            if attempt == ATTEMPTS:
                raise
            await clock.sleep(min(30.0, 0.5 * 2**attempt))
        else:
            return
        await asyncio.sleep(0)


def _chunked(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while chunk := list(itertools.islice(rows, CHUNK)):
        yield chunk
