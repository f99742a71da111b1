"""What the client makes of a server that misbehaves: each failure has its own error, and partial is not success."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from aiohttp import web
from pydantic import SecretStr

from qexplorer.errors import (
    AccessError,
    BadInputError,
    ConfigError,
    QExplorerError,
    SearchUnavailableError,
)
from qexplorer.search.backend import Document, SearchProblem, SearchRequest, WriteMode
from qexplorer.search.client import OpenSearchClient, read_hit
from qexplorer.settings import IndexFields, SearchSettings

Handle = Callable[[web.Request], Awaitable[web.StreamResponse]]
WHOLE: dict[str, Any] = {
    "took": 3,
    "timed_out": False,
    "_shards": {"total": 1, "successful": 1, "failed": 0},
    "hits": {"total": {"value": 0, "relation": "eq"}, "hits": []},
}


class Server:
    """A server that answers as it is told and remembers what it was asked."""

    def __init__(self) -> None:
        self.answer: Callable[[str, bytes], tuple[int, Any]] = lambda _path, _body: (200, {"responses": [WHOLE]})
        self.asked: list[tuple[str, bytes]] = []

    async def handle(self, request: web.Request) -> web.Response:
        """Answer one request."""
        body = await request.read()
        self.asked.append((request.path, body))
        status, answer = self.answer(request.path, body)
        if isinstance(answer, bytes):
            return web.Response(status=status, body=answer, content_type="application/json")
        return web.json_response(answer, status=status)


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
async def client(server: Server) -> AsyncIterator[OpenSearchClient]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    async with OpenSearchClient(SearchSettings(url=url, user="u", password=SecretStr("hunter2"))) as opened:
        yield opened
    await runner.cleanup()


REQUEST = SearchRequest(index="listings", text="plug gummies", normalised="plug gummies")
REFUSAL = {"error": {"type": "x", "reason": "the reason"}, "status": 400}


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        pytest.param(401, REFUSAL, AccessError, id="wrong password"),
        pytest.param(403, REFUSAL, AccessError, id="no permission"),
        pytest.param(
            403,
            {"error": {"type": "cluster_block_exception", "reason": "disk"}},
            SearchUnavailableError,
            id="full disk",
        ),
        pytest.param(404, REFUSAL, ConfigError, id="no index"),
        pytest.param(429, REFUSAL, SearchUnavailableError, id="overloaded"),
        pytest.param(503, REFUSAL, SearchUnavailableError, id="unavailable"),
        pytest.param(400, REFUSAL, BadInputError, id="malformed"),
        pytest.param(200, b"<html>", SearchUnavailableError, id="garbage"),
    ],
)
async def test_each_failure_has_its_own_error(
    client: OpenSearchClient, server: Server, status: int, body: Any, error: type[QExplorerError]
) -> None:
    """A status becomes one error that names the server and never the password."""
    server.answer = lambda _path, _body: (status, body)
    with pytest.raises(error) as caught:
        await client.request("GET", "/listings/_count")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("part", "problem"),
    [
        pytest.param({**WHOLE, "timed_out": True}, SearchProblem.UNAVAILABLE, id="out of time"),
        pytest.param({**WHOLE, "_shards": {"failed": 1}}, SearchProblem.UNAVAILABLE, id="partial shards"),
        pytest.param({"status": 429, "error": {"reason": "busy"}}, SearchProblem.UNAVAILABLE, id="overloaded"),
        pytest.param({"status": 503, "error": "down"}, SearchProblem.UNAVAILABLE, id="unavailable"),
        pytest.param({"status": 400, "error": {"reason": "malformed"}}, SearchProblem.REFUSED, id="malformed"),
        pytest.param({"took": 1}, SearchProblem.UNAVAILABLE, id="no hits in it"),
        pytest.param([], SearchProblem.UNAVAILABLE, id="not an object"),
        pytest.param({**WHOLE, "_shards": 5}, SearchProblem.UNAVAILABLE, id="shards of another form"),
        pytest.param({**WHOLE, "hits": {"total": 5, "hits": [5]}}, SearchProblem.UNAVAILABLE, id="odd hits"),
    ],
)
async def test_partial_is_not_success(
    client: OpenSearchClient, server: Server, part: Any, problem: SearchProblem
) -> None:
    """Every answer of an msearch is looked at by itself."""
    server.answer = lambda _path, _body: (200, {"responses": [WHOLE, part]})
    good, bad = await client.search([REQUEST, REQUEST])
    assert good.problem is None
    assert bad.problem is problem


@pytest.mark.parametrize(
    ("status", "kind", "error"),
    [
        pytest.param(404, "index_not_found_exception", ConfigError, id="no index"),
        pytest.param(400, "index_closed_exception", ConfigError, id="closed"),
        pytest.param(403, "security_exception", AccessError, id="no permission"),
        pytest.param(403, "cluster_block_exception", SearchUnavailableError, id="blocked"),
    ],
)
async def test_what_is_to_be_mended_outside_is_no_fault_of_a_search(
    client: OpenSearchClient, server: Server, status: int, kind: str, error: type[QExplorerError]
) -> None:
    """The index is gone, closed or forbidden: no search of it is refused for good, all of them wait."""
    part = {"status": status, "error": {"type": kind, "reason": "why", "root_cause": [{"type": kind}]}}
    server.answer = lambda _path, _body: (200, {"responses": [WHOLE, part]})
    with pytest.raises(error, match="why"):
        await client.search([REQUEST, REQUEST])


async def test_a_malformed_search_does_not_take_the_others_with_it(client: OpenSearchClient, server: Server) -> None:
    """When a whole msearch is refused, its searches run one by one and only the bad one is refused."""

    def answer(path: str, body: bytes) -> tuple[int, Any]:
        if path == "/_msearch":
            return 400, REFUSAL
        return (400, REFUSAL) if b"bad words" in body else (200, WHOLE)

    server.answer = answer
    bad = SearchRequest(index="listings", text="bad words", normalised="bad words")
    results = await client.search([REQUEST, bad, REQUEST])
    assert [result.problem for result in results] == [None, SearchProblem.REFUSED, None]


async def test_an_overload_is_told_to_the_limiter(client: OpenSearchClient, server: Server) -> None:
    """A 429 of one search slows this replica down."""
    told: list[int] = []
    client.overloaded = lambda: told.append(1)
    server.answer = lambda _path, _body: (200, {"responses": [{"status": 429, "error": {"reason": "busy"}}]})
    await client.search([REQUEST])
    assert told == [1]


@pytest.mark.parametrize(("status", "times"), [(429, 1), (503, 1), (502, 0)])
async def test_only_an_overload_slows_this_replica_down(
    client: OpenSearchClient, server: Server, status: int, times: int
) -> None:
    """What is out of reach is asked again soon, and once it is back at full speed."""
    told: list[int] = []
    client.overloaded = lambda: told.append(1)
    server.answer = lambda _path, _body: (status, REFUSAL)
    with pytest.raises(SearchUnavailableError):
        await client.search([REQUEST])
    assert len(told) == times


async def test_too_few_answers_are_no_answer(client: OpenSearchClient, server: Server) -> None:
    """An msearch that answers fewer searches than were asked is tried again, not taken for empty."""
    server.answer = lambda _path, _body: (200, {"responses": [WHOLE]})
    with pytest.raises(SearchUnavailableError, match="answered 1 of 2"):
        await client.search([REQUEST, REQUEST])


ODD: list[Any] = [
    None, 5, "text", [], [1], {}, {"docs": []}, {"docs": [{"found": True}]}, {"docs": 5}, {"docs": [5]}, {"items": []},
    {"items": [{}]}, {"items": [5]}, {"items": [{"index": {}}]}, {"responses": []}, {"responses": 5}, {"count": None},
    {"hits": 5}, {"hits": {"total": {"value": 1}, "hits": [{}]}}, {"hits": {"total": 1, "hits": [5]}},
    {"responses": [{"hits": {"total": {"value": 1}, "hits": [{}]}}]},
    {"responses": [{"hits": {"total": 5, "hits": 5}}]},
]  # fmt: skip


@pytest.mark.parametrize("odd", ODD, ids=str)
@pytest.mark.parametrize("what", ["search", "count", "get", "write", "find", "sharing", "count_since", "delete"])
async def test_json_of_another_form_is_waited_out(
    client: OpenSearchClient, server: Server, what: str, odd: Any
) -> None:
    """As a gateway may answer in place of OpenSearch: no read is taken for empty, no write for done."""
    ask: dict[str, Callable[[], Any]] = {
        "search": lambda: client.search([REQUEST]),
        "count": lambda: client.count("i"),
        "get": lambda: client.get("i", ["1"]),
        "write": lambda: client.write("i", [Document(id="1")], WriteMode.REPLACE),
        "find": lambda: client.find("i", "f", ["v"], 9),
        "sharing": lambda: client.sharing("i", "f", [["v"]], 9, least=1, matching={}),
        "count_since": lambda: client.count_since("i", {}, datetime.now(UTC)),
        "delete": lambda: client.delete("i", ["1"]),
    }
    server.answer = lambda _path, _body: (200, odd)
    try:
        [result] = await ask[what]()
    except SearchUnavailableError:
        return
    # Searches are judged each for itself.
    assert what == "search"
    assert result.problem is SearchProblem.UNAVAILABLE


async def test_a_refused_write_is_an_error_and_a_conflict_is_not(client: OpenSearchClient, server: Server) -> None:
    """Bulk answers are read item by item."""
    items = [{"create": {"_id": "1", "status": 201}}, {"create": {"_id": "2", "status": 409}}]
    server.answer = lambda _path, _body: (200, {"errors": True, "items": items})
    documents = [Document(id="1"), Document(id="2")]
    assert await client.write("i", documents, WriteMode.CREATE) == {"2"}
    items[0] = {"create": {"_id": "1", "status": 429, "error": {"reason": "full"}}}
    with pytest.raises(SearchUnavailableError, match="full"):
        await client.write("i", documents, WriteMode.CREATE)


async def test_a_write_is_never_larger_than_opensearch_takes(
    client: OpenSearchClient, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long listings go in several requests, in their order, and one that is longer than the bound alone."""
    monkeypatch.setattr("qexplorer.search.client.WRITE_BYTES", 1000)
    server.answer = lambda _path, body: (200, {"items": [{"index": {"status": 201}}] * (body.count(b"\n") // 2)})
    sizes = (300, 300, 300, 2000, 10)
    documents = [Document(id=f"d{at}", source={"text": "x" * size}) for at, size in enumerate(sizes)]
    assert await client.write("i", documents, WriteMode.REPLACE) == set()
    bodies = [body for _, body in server.asked]
    ids = [[orjson.loads(line)["index"]["_id"] for line in body.splitlines()[::2]] for body in bodies]
    assert ids == [["d0", "d1"], ["d2"], ["d3"], ["d4"]]


async def test_the_model_supplies_words_only(client: OpenSearchClient, server: Server) -> None:
    """Whatever the words hold, they stand as a text in two match clauses behind mandatory filters."""
    words = '"} }, {"query_string": {"query": "*"'
    await client.search([SearchRequest(index="listings", text=words, normalised=words, exclude=("seed",))])
    body = orjson.loads(server.asked[0][1].split(b"\n")[1])
    clause = body["query"]["bool"]
    assert clause["filter"] == [{"term": {"status": "active"}}]
    assert clause["must_not"] == [{"terms": {"id": ["seed"]}}]
    raw, normalised = clause["must"][0]["bool"]["should"]
    assert raw["multi_match"]["query"] == words
    assert normalised["match"]["normalised"]["query"] == words
    assert "query_string" not in clause
    assert (body["size"], body["timeout"], body["track_total_hits"]) == (60, "10000ms", 10_000)


@pytest.mark.parametrize(
    ("source", "title"),
    [
        ({"a": {"b": "x"}}, "x"),
        ({"a.b": "x"}, "x"),
        ({"a": [{"b": "x"}, {"c": "y"}, {"b": ["z", None, 7]}]}, "x\nz\n7"),
        ({"a": "x"}, ""),
        ({"a": {"b": 0}}, "0"),
        ({}, ""),
    ],
)
def test_a_text_is_read_where_the_index_has_it(source: dict[str, Any], title: str) -> None:
    """OpenSearch finds a word in any object of a list, so what it stands in is read there too."""
    fields = IndexFields(title="a.b", description="")
    assert read_hit({"_id": "1", "_source": source}, fields, 1).text == title


async def test_a_server_that_is_not_there_is_named() -> None:
    """A refused connection names the address and says what to check."""
    async with OpenSearchClient(SearchSettings(url="http://127.0.0.1:1")) as client:
        with pytest.raises(SearchUnavailableError, match=r"http://127\.0\.0\.1:1 does not answer") as caught:
            await client.count("listings")
    assert "search.url" in caught.value.remedy
