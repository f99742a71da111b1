"""No listing is so long or so dense that its search fails for ever, and with it the worker."""

import orjson
import pytest

from qexplorer.normalise import normalise
from qexplorer.search.backend import SearchKind, SearchProblem, SearchRequest
from qexplorer.search.client import OpenSearchClient, _problem
from qexplorer.search.mapping import listings_body
from qexplorer.settings import SearchSettings
from qexplorer.stack import Endpoints

INDEX = "fuzz-long-texts"
# The analysis makes a token of each: two Han characters, an emoji, a letter, a number.
TEXTS = {
    "Han": "".join(chr(0x4E00 + n * 7 % 20_000) for n in range(5_000)),
    "short words": " ".join(chr(97 + n % 26) + chr(97 + n // 26 % 26) for n in range(1_500)),
    "letters": "a b " * 1_500,
    "emoji": "🍁🌿💊 new stock here " + "🍁" * 5_000,
    "numbers": " ".join(map(str, range(2_000))),
    "one word": "a" * 20_000 + " b c d e",
}


@pytest.fixture
async def index(engines: Endpoints) -> str:
    async with OpenSearchClient(SearchSettings(url=str(engines.opensearch))) as client:
        await client.ensure_index(INDEX, listings_body())
    return INDEX


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
async def test_a_dense_text_is_searched_whole(engines: Endpoints, index: str, text: str) -> None:
    """The query that marks the matches has as many clauses as the text has tokens: it is kept under Lucene's limit."""
    request = SearchRequest(index=index, kind=SearchKind.WHOLE_TEXT, text=text, normalised=normalise(text))
    async with OpenSearchClient(SearchSettings(url=str(engines.opensearch))) as client:
        (result,) = await client.search([request])
    assert (result.problem, result.reason) == (None, "")


async def test_a_query_of_too_many_clauses_is_refused_and_not_tried_again(engines: Endpoints, index: str) -> None:
    """OpenSearch answers it with 500, as it does an outage: it must not be waited for."""
    body = {"query": {"multi_match": {"query": TEXTS["letters"] * 9, "fields": ["title", "description"]}}}
    highlight = {"query": {"match_all": {}}, "highlight": {"fields": {"title": {}}, "highlight_query": body["query"]}}
    async with OpenSearchClient(SearchSettings(url=str(engines.opensearch))) as client:
        lines = [{"index": index}, body, {"index": index}, highlight]
        answer = await client.request("POST", "/_msearch", b"".join(_line(line) for line in lines))
    problems = [_problem(part) for part in answer["responses"]]
    assert {problem[0] for problem in problems if problem} == {SearchProblem.REFUSED}


def test_clauses_are_to_blame_whatever_the_status() -> None:
    """The cause decides before the status does; any other 500 is an outage."""
    too_many = {"status": 500, "error": {"reason": "all shards failed", "root_cause": [{"type": "too_many_clauses"}]}}
    outage = {"status": 500, "error": {"reason": "all shards failed", "root_cause": [{"type": "io_exception"}]}}
    assert _problem(too_many) == (SearchProblem.REFUSED, "all shards failed")
    assert _problem(outage) == (SearchProblem.UNAVAILABLE, "all shards failed")


def _line(part: object) -> bytes:
    return orjson.dumps(part) + b"\n"
