"""Documents of ours in memory: for runs that keep nothing, and for tests."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from qexplorer.errors import SearchUnavailableError
from qexplorer.search.backend import ALL, Document, Matching, Rows, Values, WriteMode


class MemoryStore:
    """Keeps documents in memory with the conflict rules of the real store. `down` makes every call fail."""

    def __init__(self) -> None:
        self._documents: dict[str, dict[str, Document]] = {}
        self._writes = 0
        self.down = False

    async def get(self, index: str, ids: Sequence[str]) -> dict[str, Document]:
        """Return the documents that exist, by id."""
        kept = self._index(index)
        return {name: kept[name] for name in ids if name in kept}

    async def write(self, index: str, documents: Sequence[Document], mode: WriteMode) -> set[str]:
        """Write all and return the ids that were refused because of a conflict."""
        kept = self._index(index)
        conflicts: set[str] = set()
        for document in documents:
            before = kept.get(document.id)
            moved = document.seq_no >= 0 and (before is None or before.seq_no != document.seq_no)
            if (before is not None and mode is WriteMode.CREATE) or moved:
                conflicts.add(document.id)
                continue
            self._writes += 1
            kept[document.id] = Document(
                id=document.id, source=dict(document.source), seq_no=self._writes, primary_term=1
            )
        return conflicts

    async def find(
        self, index: str, field_name: str, values: Values, size: int, *, matching: Matching = ALL, best_by: str = ""
    ) -> list[Document]:
        """Return documents with any of the values in a keyword field, and all of `matching`, the best of them first."""
        kept = self._index(index).values()
        found = [doc for doc in kept if _shared(doc, field_name, values) and _matches(doc, matching)]
        if best_by:
            found.sort(key=lambda doc: -doc.source.get(best_by, 0.0))
        return found[:size]

    async def sharing(
        self, index: str, field_name: str, rows: Rows, size: int, *, least: int, matching: Matching
    ) -> list[list[Document]]:
        """Return for each row the documents that share at least `least` of its values, those that share most first."""
        documents = [doc for doc in self._index(index).values() if _matches(doc, matching)]
        found = []
        for row in rows:
            shared = [(_shared(doc, field_name, row), doc) for doc in documents]
            best = sorted((each for each in shared if each[0] >= least), key=lambda each: -each[0])
            found.append([doc for _, doc in best[:size]])
        return found

    async def count_since(self, index: str, matching: Matching, since: datetime) -> int:
        """Return how many documents have these values and an `at` from then on."""
        return sum(
            _matches(doc, matching) and datetime.fromisoformat(doc.source["at"]) >= since
            for doc in self._index(index).values()
        )

    def _index(self, index: str) -> dict[str, Document]:
        if self.down:
            raise SearchUnavailableError("the memory store is down")
        return self._documents.setdefault(index, {})


def _matches(document: Document, matching: Matching) -> bool:
    return all(document.source.get(name) == value for name, value in matching.items())


def _shared(document: Document, field_name: str, values: Sequence[str]) -> int:
    return len(set(values).intersection(_values(document.source.get(field_name))))


def _values(value: Any) -> Iterable[str]:
    if value is None:
        return ()
    return value if isinstance(value, (list, tuple)) else (value,)
