"""Rows from files and pipes: JSONL, CSV and Parquet, also gzipped, with foreign column names mapped to ours."""

import codecs
import contextlib
import csv
import gzip
import hashlib
import io
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, cast

import orjson

from qexplorer.errors import BadInputError, ConfigError
from schemas import FlaggedListing, Listing, WireError

STDIN = Path("-")
LISTING_FIELDS = frozenset(Listing.model_fields)
FLAG_FIELDS = frozenset({"kind", "flag_id", "flagged_at"})
# Nothing reads these, and most files have a price that is a number: one of another form must not cost the row.
UNREAD = frozenset({"price", "images", "attributes"})
TEXTS = ("id", "version", "title", "description", "seller", "category", "locale")
MOST_CELL = 4_000_000
# Whole numbers below this are exact as floats.
EXACT = 2**53


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of an input: its number from 1, and its fields or the reason why it cannot be read."""

    number: int
    value: Mapping[str, Any] | None
    problem: str = ""


def read_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a file, or of standard input for `-`, in flat memory.

    The format follows the name: .jsonl, .ndjson, .csv, .parquet, and .gz behind the first three; standard input is
    JSONL. Raises ConfigError for a name that says none of these and for a file that cannot be read, BadInputError for
    one that is broken: of CSV with a quote that is not closed nobody can tell where the next row begins.
    """
    name = path.name.removesuffix(".gz")
    try:
        if path == STDIN:
            yield from _json_lines(sys.stdin.buffer)
        elif name.endswith((".jsonl", ".ndjson", ".json")):
            with _opened(path) as lines:
                yield from _json_lines(lines)
        elif name.endswith(".csv"):
            with _opened(path) as lines:
                yield from _csv_rows(path, lines)
        elif name.endswith(".parquet"):
            yield from _parquet_rows(path)
        else:
            raise ConfigError(f"{path} is of no known format", remedy="Name it .jsonl, .csv or .parquet, or .gz of it")
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise BadInputError(f"{path} is a broken gzip file: {error}", remedy="Copy it again") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}", remedy="Check the path") from None


def parse_fields(pairs: Iterable[str]) -> dict[str, str]:
    """Return our field → column of `--field title=text` options; raises ConfigError for any other form."""
    fields: dict[str, str] = {}
    for pair in pairs:
        field, _, column = pair.partition("=")
        if not column or field not in LISTING_FIELDS | FLAG_FIELDS:
            raise ConfigError(
                f"--field {pair} is not of the form field=column",
                remedy=f"The fields are {', '.join(sorted((LISTING_FIELDS | FLAG_FIELDS) - {'v'}))}",
            )
        fields[field] = column
    return fields


def to_listing(row: Mapping[str, Any], fields: Mapping[str, str]) -> Listing:
    """Return a row as a listing; columns that no field takes are ignored.

    Without a title the column `text` is one, and a version is made of the content where the row has none. A number
    where text is wanted is taken for its digits. Raises WireError that names each wrong field, or says that there is no
    text.
    """
    value = {name: row[name] for name in LISTING_FIELDS if row.get(name) is not None}
    value |= {field: row[column] for field, column in fields.items() if row.get(column) is not None}
    if not value.get("title") and row.get("text") is not None and "text" not in fields.values():
        value["title"] = row["text"]
    value |= {name: _as_text(value[name]) for name in TEXTS if name in value}
    value.setdefault("locale", str(row.get("lang") or ""))
    if "version" not in value:
        value["version"] = content_version(str(value.get("title", "")), str(value.get("description", "")))
    known = {name: item for name, item in value.items() if name in LISTING_FIELDS}
    try:
        listing = Listing.from_value(known)
    except WireError:
        listing = Listing.from_value({name: item for name, item in known.items() if name not in UNREAD})
    if not listing.text:
        raise WireError("no title, description or text: name the column that has it, --field title=COLUMN")
    return listing


def to_flag(row: Mapping[str, Any], fields: Mapping[str, str], policy_of: Callable[[str], str]) -> FlaggedListing:
    """Return a row as a flag: a flag record as it is, or a listing with a `kind`, flagged at its last update, else now.

    A `flag_id` is made of the listing's id where the row has none. `policy_of` names the policy of a kind. Raises
    WireError that names each wrong field.
    """
    if "flag_id" in row and "listing" in row:
        return FlaggedListing.from_value(dict(row))
    listing = to_listing(row, fields)
    kind = str(row.get(fields.get("kind", "kind")) or "")
    if not kind or not policy_of(kind):
        raise WireError(f"no policy takes the kind {kind}" if kind else "FlaggedListing: kind: Field required")
    flagged_at = listing.updated_at or row.get(fields.get("flagged_at", "flagged_at"))
    return FlaggedListing.from_value(
        {
            "flag_id": str(row.get(fields.get("flag_id", "flag_id")) or f"flag-{listing.id}"),
            "listing": listing.model_dump(),
            "kind": kind,
            "policy": policy_of(kind),
            "source": "file",
            "flagged_at": flagged_at or datetime.now(UTC),
        }
    )


def _as_text(value: object) -> object:
    # A column of whole numbers with gaps is one of floats to most programs that write Parquet.
    if isinstance(value, float) and value.is_integer() and abs(value) < EXACT:
        value = int(value)
    return str(value) if isinstance(value, int) else value


def content_version(title: str, description: str) -> str:
    """Return a version that changes whenever the text does: 16 hex digits of its hash."""
    return hashlib.sha256(f"{title}\0{description}".encode()).hexdigest()[:16]


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    with path.open("rb") as raw:
        yield cast("BinaryIO", gzip.GzipFile(fileobj=raw)) if path.suffix == ".gz" else raw


def _json_lines(lines: Iterable[bytes]) -> Iterator[Row]:
    for number, line in enumerate(lines, start=1):
        text = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
        if not text.strip():
            continue
        try:
            value = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            yield Row(number=number, value=None, problem=f"not JSON: {error.msg}")
            continue
        if isinstance(value, dict):
            yield Row(number=number, value=value)
        else:
            yield Row(number=number, value=None, problem=f"a JSON {type(value).__name__}, not an object")


def _csv_rows(path: Path, lines: BinaryIO) -> Iterator[Row]:
    csv.field_size_limit(MOST_CELL)
    number = 1
    try:
        with io.TextIOWrapper(lines, encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
            for number, row in enumerate(csv.DictReader(text, strict=True), start=2):
                if None in row:
                    yield Row(number=number, value=None, problem="more cells than the header has")
                elif not _is_text(row.values()):
                    yield Row(number=number, value=None, problem="not UTF-8")
                else:
                    yield Row(number=number, value={name: cell for name, cell in row.items() if cell not in {None, ""}})
    except csv.Error as error:
        raise BadInputError(
            f"{path} is broken CSV after row {number}: {error}",
            remedy="Close each quote, double those within a cell",
        ) from None


def _is_text(cells: Iterable[str | None]) -> bool:
    """Whether all bytes of the cells were UTF-8: those of another encoding stand there as lone surrogates."""
    try:
        "".join(filter(None, cells)).encode()
    except UnicodeEncodeError:
        return False
    return True


def _parquet_rows(path: Path) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        for batch in pq.ParquetFile(path).iter_batches(batch_size=1024):
            for row in batch.to_pylist():
                number += 1
                yield Row(number=number, value=row)
    except pa.ArrowInvalid as error:
        raise BadInputError(f"{path} is no Parquet file: {error}", remedy="Write it again") from None
    except (ValueError, OverflowError, KeyError) as error:
        # Text that is not UTF-8, a date behind the year 9999, a time zone that nobody knows.
        raise BadInputError(
            f"{path} holds what cannot be read, behind row {number}: {error}", remedy="Write it again"
        ) from None
