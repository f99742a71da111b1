"""A results folder: rows (Parquet) and what they were made with (JSON), written as a whole or not at all."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from qexplorer.errors import BadInputError, ConfigError, StorageError

FORMAT = "qexplorer-evaluation-2"
ROWS, SEEDS, META = "rows.parquet", "seeds.parquet", "results.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One method on one group of seeds at one load. Searches, hits, tokens and ms are means a seed.

    `finds_half` and `finds` are those after half and all of `reviews`; `curve` those after each review. `campaigns`
    are those in the pool, `campaigns_most` all that were there to be found. Looked at seed by seed, finds are means a
    seed, with their precision and the share of the campaigns that could be found. `seeds_hash` tells the group's seeds
    (`hash_of`).
    """

    corpus: str
    digest: str
    part: str
    protocol: str
    triage: bool
    method: str
    load: int
    group: int
    seeds_hash: str
    seeds: int
    reviews: int
    reviewed: int
    finds_half: float
    finds: float
    campaigns: float
    campaigns_most: int
    searches: float
    hits: float
    zero_results: float
    copies: float
    distinct: float
    words: float
    breadth: float
    tokens: float
    model_ms: float
    search_ms: float
    replies: int
    unparseable: int
    kinds: str
    curve: list[int]
    precision: float = 0.0
    share: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedRow:
    """One seed of such a row: what was searched for it and what came of it."""

    corpus: str
    protocol: str
    triage: bool
    method: str
    load: int
    group: int
    listing: str
    kind: str
    text: str
    finds: float
    searches: int
    hits: int
    queries: list[str]
    totals: list[int]
    found: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """All rows of one evaluation with its configuration, versions and the openings of test parts."""

    rows: tuple[Row, ...]
    seeds: tuple[SeedRow, ...]
    meta: Mapping[str, Any] = field(default_factory=dict)

    def methods(self) -> list[str]:
        """Return the methods in the order in which they ran."""
        return list(dict.fromkeys(row.method for row in self.rows))


def hash_of(seeds: Iterable[str]) -> str:
    """Return 16 hex digits that follow the ids of a group's seeds and their order."""
    return hashlib.sha256("\0".join(seeds).encode()).hexdigest()[:16]


def require_new(folder: Path) -> None:
    """Raise ConfigError when the folder exists: results, and the openings that they record, are never overwritten."""
    if folder.exists():
        raise ConfigError(f"{folder} exists already", remedy="Choose another folder for the results")


def write_results(results: Results, folder: Path, *, pages: Mapping[str, str] | None = None) -> None:
    """Write a results folder with some pages; it appears as a whole.

    Raises StorageError when the disk does not take it.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    require_new(folder)
    part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    try:
        part.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist([asdict(row) for row in results.rows]), part / ROWS)
        pq.write_table(pa.Table.from_pylist([asdict(row) for row in results.seeds]), part / SEEDS)
        meta = {"format": FORMAT, **results.meta}
        (part / META).write_text(json.dumps(meta, indent=2, ensure_ascii=False, default=str) + "\n", encoding="utf-8")
        for name, text in (pages or {}).items():
            (part / name).write_text(text, encoding="utf-8")
        part.replace(folder)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        raise StorageError(f"cannot write {folder}: {error.strerror}", remedy="Free the disk") from error


def read_results(folder: Path) -> Results:
    """Read a results folder; raises BadInputError when it is none, or one of another version."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        meta = json.loads((folder / META).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise BadInputError(
            f"{folder} holds no results", remedy="Give a folder that qexplorer evaluate wrote"
        ) from None
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        found = meta.get("format") if isinstance(meta, dict) else None
        raise BadInputError(f"{folder} is of the format {found} and not {FORMAT}", remedy="Evaluate again")
    try:
        rows = tuple(Row(**row) for row in pq.read_table(folder / ROWS).to_pylist())
        seeds = tuple(SeedRow(**row) for row in pq.read_table(folder / SEEDS).to_pylist())
    except (OSError, TypeError, pa.ArrowException) as error:
        raise BadInputError(f"{folder} is broken: {str(error)[:200]}", remedy="Evaluate again") from None
    return Results(rows=rows, seeds=seeds, meta=meta)


def pick(rows: Sequence[Row], **values: object) -> list[Row]:
    """Return the rows with these values, in order of corpus and group."""
    kept = [row for row in rows if all(getattr(row, name) == value for name, value in values.items())]
    return sorted(kept, key=lambda row: (row.corpus, row.group))
