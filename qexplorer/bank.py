"""The query bank: every distinct query of a policy runs once, and later only over what is new since."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from qexplorer.search.backend import Document, DocumentStore, SearchKind, WriteMode


@dataclass(frozen=True, slots=True, kw_only=True)
class BankEntry:
    """A query that has run: when last, how often, its hits and suspects so far."""

    key: str
    policy: str
    normalised: str
    source: str
    last_run_at: datetime
    runs: int
    hits: int
    suspects: int


def bank_key(policy: str, index: str, kind: SearchKind, normalised: str) -> str:
    """Return the id of a query in the bank: the same words for the same policy and index are one query.

    The order of the words does not matter to a search for all of them, so it does not matter here.
    """
    words = normalised if kind is SearchKind.WHOLE_TEXT else " ".join(sorted(normalised.split()))
    return hashlib.sha256("\0".join((policy, index, kind.value, words)).encode()).hexdigest()[:32]


class QueryBank:
    """The bank in an index of its own, shared by all replicas.

    Two replicas that race for a query both run it: a wasted search, never a lost one.
    """

    def __init__(self, store: DocumentStore, index: str) -> None:
        self._store = store
        self._index = index
        self._announced: dict[str, BankEntry] = {}

    async def read(self, keys: Sequence[str]) -> dict[str, BankEntry]:
        """Return the entries that exist or are announced, by key."""
        if not keys:
            return {}
        found = await self._store.get(self._index, keys)
        entries = {key: _entry(document) for key, document in found.items()}
        return entries | {key: self._announced[key] for key in keys if key in self._announced}

    def announce(self, entries: Sequence[BankEntry]) -> None:
        """Let this process read entries that it is about to write."""
        self._announced |= {entry.key: entry for entry in entries}

    def withdraw(self, entries: Sequence[BankEntry]) -> None:
        """Forget announced entries, unless later ones have taken their place."""
        for entry in entries:
            if self._announced.get(entry.key) is entry:
                del self._announced[entry.key]

    async def write(self, entries: Sequence[BankEntry]) -> None:
        """Write the entries; the last writer wins."""
        if entries:
            documents = [Document(id=entry.key, source=_source(entry)) for entry in entries]
            await self._store.write(self._index, documents, WriteMode.REPLACE)


def due(entry: BankEntry, now: datetime, interval_s: float) -> bool:
    """Whether a query of the bank may run again, over what is new."""
    return now - entry.last_run_at >= timedelta(seconds=interval_s)


def _entry(document: Document) -> BankEntry:
    source: Mapping[str, object] = document.source
    return BankEntry(
        key=document.id,
        policy=str(source["policy"]),
        normalised=str(source["normalised"]),
        source=str(source["source"]),
        last_run_at=datetime.fromisoformat(str(source["last_run_at"])),
        runs=int(str(source["runs"])),
        hits=int(str(source["hits"])),
        suspects=int(str(source["suspects"])),
    )


def _source(entry: BankEntry) -> dict[str, object]:
    return {
        "policy": entry.policy,
        "normalised": entry.normalised[:1000],
        "source": entry.source,
        "last_run_at": entry.last_run_at.isoformat(),
        "runs": entry.runs,
        "hits": entry.hits,
        "suspects": entry.suspects,
    }
