"""The two seams to OpenSearch: searching listings, and keeping documents of our own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Protocol


class SearchKind(StrEnum):
    """How the words of a request are matched."""

    WORDS = "words"
    WHOLE_TEXT = "whole_text"
    CONTACT = "contact"


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRequest:
    """One search over one index of listings.

    `text` are the raw words and `normalised` the same after `normalise`; for CONTACT `normalised` is the
    keyed hash of the contact. All words must occur (WORDS), or a share of the most telling (WHOLE_TEXT).
    `since` keeps only listings updated from then on; `after` is the `sort` of the page before's last hit.
    Without `highlight` hits come without the words that matched, which is several times as fast.
    """

    index: str
    kind: SearchKind = SearchKind.WORDS
    text: str
    normalised: str
    exclude: tuple[str, ...] = ()
    locales: tuple[str, ...] = ()
    since: datetime | None = None
    size: int = 60
    after: tuple[Any, ...] | None = None
    highlight: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One listing found. `rank` counts from 1 over all pages; `sort` is the cursor behind it."""

    listing_id: str
    version: str
    title: str
    description: str
    seller: str
    locale: str
    rank: int
    score: float
    highlights: Mapping[str, tuple[str, ...]]
    sort: tuple[Any, ...]

    @property
    def text(self) -> str:
        """Title and description as one text."""
        return f"{self.title}\n{self.description}".strip()


class SearchProblem(StrEnum):
    """Why a search has no hits to show: refused for good, or worth another try."""

    REFUSED = "refused"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """The answer to one request: hits in order of score, or the problem.

    `total` counts all matches up to the tracking cap; `dsl_hash` identifies the request as it was sent.
    """

    hits: tuple[Hit, ...] = ()
    total: int = 0
    took_ms: float = 0.0
    dsl_hash: str = ""
    problem: SearchProblem | None = None
    reason: str = ""


class Searcher(Protocol):
    """Runs searches over listings."""

    async def search(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        """Run the requests and return one result each, in order.

        Raises SearchUnavailableError when nothing could be searched at all, AccessError for a refused login.
        """

    async def count(self, index: str) -> int:
        """Return how many listings the mandatory filters leave in the index."""


# Keyword fields with the value that each must have.
Matching = Mapping[str, str]
ALL: Matching = MappingProxyType({})
# Values of one keyword field; and for each thing that is asked for.
Values = Sequence[str]
Rows = Sequence[Values]


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A document of ours with the version that a conditional write names."""

    id: str
    source: Mapping[str, Any] = field(default_factory=dict)
    seq_no: int = -1
    primary_term: int = -1


class WriteMode(StrEnum):
    """CREATE refuses an id that exists; REPLACE needs the version that was read when `seq_no` is given."""

    CREATE = "create"
    REPLACE = "replace"


class DocumentStore(Protocol):
    """Keeps documents of ours by id: discoveries and the query bank."""

    async def get(self, index: str, ids: Sequence[str]) -> dict[str, Document]:
        """Return the documents that exist, by id; what was just written is seen."""

    async def write(self, index: str, documents: Sequence[Document], mode: WriteMode) -> set[str]:
        """Write all, durably, and return the ids that were refused because of a conflict.

        Raises SearchUnavailableError when any write failed for another reason.
        """

    async def find(
        self, index: str, field_name: str, values: Values, size: int, *, matching: Matching = ALL, best_by: str = ""
    ) -> list[Document]:
        """Return documents with any of the values in a keyword field, and all of `matching`.

        The highest of the number `best_by` come first, where one is named. The last second may be missing.
        """

    async def sharing(
        self, index: str, field_name: str, rows: Rows, size: int, *, least: int, matching: Matching
    ) -> list[list[Document]]:
        """Return for each row the documents that have all of `matching` and share `least` of its values or more.

        The values are those of a keyword field. The documents are `size` at most, those that share most first. The last
        second may be missing.
        """

    async def count_since(self, index: str, matching: Matching, since: datetime) -> int:
        """Return how many documents have these values and an `at` from then on; the last second may be missing."""
