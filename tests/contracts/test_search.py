"""One suite for the searcher and the document store: in memory always, and on real OpenSearch 3.5 and 2.19."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from uuid import uuid4

import pytest

from qexplorer.redact import contact_hash, contacts
from qexplorer.search.backend import Document, DocumentStore, Searcher, SearchKind, SearchRequest, WriteMode
from qexplorer.search.client import OpenSearchClient
from qexplorer.search.load import document
from qexplorer.search.mapping import discoveries_body, listings_body
from qexplorer.search.memory import MemoryStore
from qexplorer.settings import SearchSettings
from qexplorer.stack import Endpoints
from qexplorer.testing import MemorySearcher, a_listing

KEY = b"key"
NOW = datetime(2026, 1, 2, tzinfo=UTC)
LISTINGS = [
    a_listing("a1", "Plug and play gummies", updated_at=NOW),
    a_listing("b2", "Strong gummies", description="ask the plug, call 212-555-0147", updated_at=NOW),
    a_listing("c3", "Garden chair and a plug", updated_at=NOW - timedelta(days=9)),
    a_listing("d4", "plug gummies long gone", status="removed", updated_at=NOW),
    a_listing("e5", "微信联系 上头电子烟 现货", locale="zh", updated_at=NOW),
    a_listing("f6", "PLUG ＧＵＭＭＩＥＳ for everyone today", updated_at=NOW),
]


class Place(Protocol):
    """Where the suite runs."""

    searcher: Searcher
    store: DocumentStore
    index: str
    documents: str

    async def refresh(self) -> None:
        """Let what was written be found."""


class MemoryPlace:
    """Everything in memory."""

    def __init__(self) -> None:
        self.index, self.documents = "listings", "documents"
        hashes = {row.id: [contact_hash(contact, KEY) for contact in contacts(row.text)] for row in LISTINGS}
        self.searcher: Searcher = MemorySearcher(listings={self.index: LISTINGS}, contacts=hashes)
        self.store: DocumentStore = MemoryStore()

    async def refresh(self) -> None:
        """Do nothing: memory shows at once what was written."""


class RealPlace:
    """A real OpenSearch with indices of its own."""

    def __init__(self, client: OpenSearchClient) -> None:
        name = uuid4().hex[:12]
        self.index, self.documents = f"listings-{name}", f"documents-{name}"
        self.searcher: Searcher = client
        self.store: DocumentStore = client
        self._client = client

    async def refresh(self) -> None:
        """Let what was written be found."""
        await self._client.request("POST", f"/{self.documents}/_refresh")

    async def fill(self) -> None:
        """Make and fill the indices."""
        await self._client.ensure_index(self.index, listings_body())
        await self._client.ensure_index(self.documents, discoveries_body())
        await self._client.write(self.index, [document(row, KEY) for row in LISTINGS], WriteMode.REPLACE)
        await self._client.request("POST", f"/{self.index}/_refresh")


@pytest.fixture(
    params=["memory", pytest.param("3.5", marks=pytest.mark.engines), pytest.param("2.19", marks=pytest.mark.engines)]
)
async def place(request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    """Give each place in turn."""
    if request.param == "memory":
        yield MemoryPlace()
        return
    endpoints: Endpoints = request.getfixturevalue("engines" if request.param == "3.5" else "opensearch_219")
    async with OpenSearchClient(SearchSettings(url=str(endpoints.opensearch))) as client:
        real = RealPlace(client)
        await real.fill()
        yield real


def words(place: Place, text: str, **fields: Any) -> SearchRequest:
    from qexplorer.normalise import normalise

    return SearchRequest(index=place.index, text=text, normalised=normalise(text), **fields)


async def found(place: Place, *requests: SearchRequest) -> list[set[str]]:
    results = await place.searcher.search(requests)
    assert all(result.problem is None for result in results), results
    return [{hit.listing_id for hit in result.hits} for result in results]


async def test_all_words_are_required_wherever_they_stand(place: Place) -> None:
    """Title and description together must have each word; removed listings are never found."""
    assert await found(place, words(place, "plug gummies"), words(place, "gummies chair")) == [
        {"a1", "b2", "f6"},
        set(),
    ]


async def test_full_width_and_capitals_are_the_same_words(place: Place) -> None:
    """A listing in full-width letters is found by plain ones, and the other way round."""
    assert await found(place, words(place, "ｐｌｕｇ GUMMIES")) == [{"a1", "b2", "f6"}]


async def test_chinese_words_are_found_inside_running_text(place: Place) -> None:
    """No spaces are needed around a Chinese word."""
    assert await found(place, words(place, "电子烟"), words(place, "上头电子烟")) == [{"e5"}, {"e5"}]


async def test_mandatory_filters_hold(place: Place) -> None:
    """The seed is left out, locales and the time of the last update limit."""
    assert await found(
        place,
        words(place, "plug", exclude=("a1",)),
        words(place, "plug", locales=("zh",)),
        words(place, "plug", since=NOW - timedelta(days=1)),
    ) == [{"b2", "c3", "f6"}, set(), {"a1", "b2", "f6"}]


async def test_a_text_match_needs_a_share_of_the_words(place: Place) -> None:
    """A whole text finds listings that share some of its words, without any of them being required."""
    request = words(place, "plug and play gummies limited offer", kind=SearchKind.WHOLE_TEXT)
    assert {"a1", "f6"} <= (await found(place, request))[0]


async def test_contacts_are_matched_exactly_by_their_hash(place: Place) -> None:
    """The same phone in another notation has the same hash; words do not match it."""
    (contact,) = contacts("call (212) 555 0147")
    hashed = contact_hash(contact, KEY)
    request = SearchRequest(index=place.index, kind=SearchKind.CONTACT, text=hashed, normalised=hashed)
    assert await found(place, request) == [{"b2"}]


async def test_pages_follow_each_other_without_overlap(place: Place) -> None:
    """`after` goes on behind the last hit."""
    first = (await place.searcher.search([words(place, "plug", size=2)]))[0]
    assert (len(first.hits), first.total) == (2, 4)
    second = (await place.searcher.search([words(place, "plug", size=3, after=first.hits[-1].sort)]))[0]
    ids = [hit.listing_id for hit in (*first.hits, *second.hits)]
    assert sorted(ids) == ["a1", "b2", "c3", "f6"]


async def test_a_hit_carries_what_a_reviewer_needs(place: Place) -> None:
    """Title, seller, version, rank from 1, score and highlights come with a hit."""
    (result,) = await place.searcher.search([words(place, "garden chair")])
    (hit,) = result.hits
    assert (hit.title, hit.seller, hit.version, hit.rank) == ("Garden chair and a plug", "seller-c3", "1", 1)
    assert hit.score > 0
    assert hit.highlights["title"]
    assert result.dsl_hash


@pytest.mark.parametrize("text", ['"', "plug) OR (", "*", "a" * 5000, "\\", "\u0000", "{}", "'; drop", "+-=&|><!"])
async def test_hostile_words_are_only_words(place: Place, text: str) -> None:
    """Whatever the words are, they neither break the search nor reach beyond it."""
    (result,) = await place.searcher.search([words(place, text)])
    assert result.problem is None
    assert {hit.listing_id for hit in result.hits} <= {"a1", "b2", "c3", "e5", "f6"}


async def test_only_what_the_filters_leave_is_counted(place: Place) -> None:
    """The size of an index leaves removed listings out."""
    assert await place.searcher.count(place.index) == 5


def doc(name: str, **fields: Any) -> Document:
    return Document(id=name, source={"item": "i", "owner": "o", **fields})


async def test_a_created_document_is_seen_at_once_and_refuses_a_second(place: Place) -> None:
    """CREATE keeps the first and names the conflict."""
    assert await place.store.write(place.documents, [doc("1", n=1), doc("2", n=1)], WriteMode.CREATE) == set()
    assert await place.store.write(place.documents, [doc("2", n=2), doc("3", n=2)], WriteMode.CREATE) == {"2"}
    kept = await place.store.get(place.documents, ["1", "2", "3", "4"])
    assert {name: kept[name].source["n"] for name in kept} == {"1": 1, "2": 1, "3": 2}


async def test_a_replacement_names_the_version_that_it_read(place: Place) -> None:
    """Of two that read the same version the second is refused."""
    await place.store.write(place.documents, [doc("1", n=1)], WriteMode.CREATE)
    read = (await place.store.get(place.documents, ["1"]))["1"]
    newer = Document(id="1", source={"item": "i", "n": 2}, seq_no=read.seq_no, primary_term=read.primary_term)
    assert await place.store.write(place.documents, [newer], WriteMode.REPLACE) == set()
    assert await place.store.write(place.documents, [newer], WriteMode.REPLACE) == {"1"}


async def test_documents_are_found_by_any_of_several_values(place: Place) -> None:
    """`find` matches whole values, also one of a list."""
    documents = [doc("1", bands=["x", "y"]), doc("2", bands=["z"], policy="p"), doc("3", bands=["q"])]
    await place.store.write(place.documents, documents, WriteMode.CREATE)
    await place.refresh()
    find = place.store.find
    assert {document.id for document in await find(place.documents, "bands", ["y", "z"], 10)} == {"1", "2"}
    narrowed = await find(place.documents, "bands", ["y", "z"], 10, matching={"policy": "p"})
    assert [document.id for document in narrowed] == ["2"]


async def test_the_best_documents_are_found_first(place: Place) -> None:
    """In order of a number, those without it last, however many others there are."""
    documents = [doc(f"n{n}", bands=["x"], score=n / 10) for n in range(7)] + [doc("none", bands=["x"])]
    await place.store.write(place.documents, documents, WriteMode.CREATE)
    await place.refresh()
    best = await place.store.find(place.documents, "bands", ["x"], 2, best_by="score")
    assert [document.id for document in best] == ["n6", "n5"]
    assert len(await place.store.find(place.documents, "bands", ["x"], 9, best_by="score")) == 8


async def test_documents_are_found_by_how_much_they_share(place: Place) -> None:
    """For each row of values on its own: those that share most of it first, none that shares too little of it."""
    rows = {
        "most": ("p", "abcd"), "some": ("p", "abc"), "few": ("p", "ax"), "other": ("q", "abcd"), "second": ("p", "xyz"),
    }  # fmt: skip
    documents = [doc(name, policy=policy, bands=list(bands)) for name, (policy, bands) in rows.items()]
    # Enough that share a little to hide the others from who takes just any of them.
    documents += [doc(f"crowd{n}", policy="p", bands=["a", "b", f"only{n}"]) for n in range(30)]
    await place.store.write(place.documents, documents, WriteMode.CREATE)
    await place.refresh()
    sharing = place.store.sharing
    asked = [list("abcde"), list("xyz"), ["nothing"]]
    found = await sharing(place.documents, "bands", asked, 2, least=2, matching={"policy": "p"})
    assert [[document.id for document in row] for row in found] == [["most", "some"], ["second"], []]
    assert await sharing(place.documents, "bands", [], 2, least=2, matching={"policy": "p"}) == []


async def test_nothing_asked_is_nothing_done(place: Place) -> None:
    """Empty requests are answered without a call."""
    assert await place.searcher.search([]) == []
    assert await place.store.get(place.documents, []) == {}
    assert await place.store.find(place.documents, "bands", [], 10) == []


async def test_documents_are_counted_by_value_and_time(place: Place) -> None:
    """Both values must be there, and the time must not be before."""
    rows = {"a": ("drugs", 0), "b": ("drugs", 2), "c": ("weapons", 0)}
    documents = [
        Document(id=name, source={"policy": policy, "state": "published", "at": (NOW - timedelta(hours=h)).isoformat()})
        for name, (policy, h) in rows.items()
    ]
    await place.store.write(place.documents, documents, WriteMode.REPLACE)
    await place.refresh()
    count = place.store.count_since
    matching = {"policy": "drugs", "state": "published"}
    assert await count(place.documents, matching, NOW - timedelta(hours=1)) == 1
    assert await count(place.documents, matching, NOW - timedelta(hours=3)) == 2
    assert await count(place.documents, {"policy": "drugs", "state": "held"}, NOW - timedelta(hours=3)) == 0
