"""What a listing or a model says is searched as words: nothing outside the query grammar reaches OpenSearch."""

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from qexplorer.answer import Run
from qexplorer.clock import SystemClock
from qexplorer.explore import Explorer
from qexplorer.limiter import SearchLimiter
from qexplorer.llm.engine import EngineVersion, Generation, Reply, chat_messages
from qexplorer.llm.ids import frame_ids, listing_ids, token_ids
from qexplorer.llm.prompt import load_template, render
from qexplorer.policies import Policy
from qexplorer.search.backend import WriteMode
from qexplorer.search.client import OpenSearchClient
from qexplorer.search.load import document
from qexplorer.search.mapping import listings_body
from qexplorer.settings import ExploreSettings, SearchSettings
from qexplorer.stack import Endpoints
from qexplorer.testing import a_flag, a_listing
from qexplorer.words import tokens
from tests.fuzz.injections import OTHER_INDEX, injections

TEXTS = injections()
INDEX = "fuzz-listings"
POLICY = Policy(id="drugs", kinds=("drugs",), index=INDEX, candidates=0, max_flag_age="P9999D")
FENCED = re.compile(r"<listing>\n([^\n]*)\n</listing>")
PLACEHOLDER = re.compile(r"<(?:phone|email|handle)>")

# Every search that may be sent, the words of the listing left out.
SOURCE = ["description", "id", "locale", "seller", "title", "version"]
WORDS = {
    "bool": {
        "should": [
            {
                "multi_match": {
                    "query": "…",
                    "fields": ["title", "description"],
                    "type": "cross_fields",
                    "operator": "and",
                }
            },
            {"match": {"normalised": {"query": "…", "operator": "and"}}},
        ],
        "minimum_should_match": 1,
    }
}
LIKE = {
    "more_like_this": {
        "fields": ["normalised"],
        "like": "…",
        "min_term_freq": 1,
        "min_doc_freq": 2,
        "max_query_terms": 25,
        "minimum_should_match": "20%",
    }
}
MARKED = ["title", "description", "normalised"]
CONTACT = {"term": {"contacts": "…"}}


def whole(must: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body around one kind of match."""
    highlight: dict[str, Any] = {
        "pre_tags": ["\u2068"],
        "post_tags": ["\u2069"],
        "number_of_fragments": 2,
        "fragment_size": 120,
        "max_analyzer_offset": 100_000,
        "fields": {name: {} for name in MARKED},
    }
    if must is LIKE:
        highlight["highlight_query"] = {"multi_match": {"query": "…", "fields": MARKED, "type": "most_fields"}}
    return {
        "query": {
            "bool": {
                "must": [must],
                "filter": [{"term": {"status": "active"}}],
                "must_not": [{"terms": {"id": ["a1"]}}],
            }
        },
        "size": 60,
        "timeout": "10000ms",
        "track_total_hits": 10_000,
        "sort": [{"_score": "desc"}, {"id": {"order": "asc", "unmapped_type": "keyword"}}],
        "_source": SOURCE,
        "highlight": highlight,
    }


ALLOWED = [whole(WORDS), whole(LIKE), whole(CONTACT)]


def masked(body: Any) -> Any:
    """Return the body with each text that may be a listing's put out of sight."""
    if isinstance(body, list):
        return [masked(part) for part in body]
    if not isinstance(body, dict):
        return body
    return {
        key: "…" if key in {"query", "like", "contacts"} and isinstance(value, str) else masked(value)
        for key, value in body.items()
    }


class Recorder(OpenSearchClient):
    """Keeps the bytes that would be sent, and finds nothing."""

    def __init__(self, settings: SearchSettings) -> None:
        super().__init__(settings)
        self.sent: list[bytes] = []
        self.other: list[str] = []

    async def request(self, method: str, path: str, body: Any = None, params: Mapping[str, str] | None = None) -> Any:
        """Answer as an empty index would."""
        if path == "/_msearch":
            self.sent.append(body)
            empty = {"hits": {"total": {"value": 0}, "hits": []}, "_shards": {"failed": 0}}
            return {"responses": [empty] * (body.count(b"\n") // 2)}
        self.other.append(f"{method} {path} {params or ''}")
        return {"count": 1000}


async def explored(client: OpenSearchClient, text: str, reply: str) -> None:
    """Take one flag with this text, and a model that says this, through all steps."""
    clock = SystemClock()
    settings = ExploreSettings(contact_key="k")
    explorer = Explorer(
        client, clock=clock, limiter=SearchLimiter(1e6, clock), settings=settings, search=SearchSettings()
    )
    run = Run(run_id="r")
    flag = a_flag("a1", listing=a_listing("a1", text, description=text, seller=text, locale=text))
    seeds = await explorer.seeds([(flag, POLICY, None)], run)
    said = Reply(generations=(Generation(text=reply, source="greedy"), Generation(text=reply, source="sample")))
    await explorer.explore(seeds, [said], [EngineVersion(model="m")], run)


def bodies_of(sent: bytes) -> list[dict[str, Any]]:
    """Return the searches of one request, each line of which must be whole; all are of the policy's index."""
    lines = sent.split(b"\n")
    assert lines.pop() == b""
    assert len(lines) % 2 == 0
    assert set(lines[::2]) == {orjson.dumps({"index": INDEX})}
    # A reader that took a carriage return for the end of a line would cut them alike.
    assert b"\r" not in sent
    return [json.loads(line) for line in lines[1::2]]


def test_there_are_enough_texts() -> None:
    """More than 500, no two alike."""
    assert len(set(TEXTS.values())) > 500


@pytest.mark.parametrize("way", ["listing", "reply", "both"])
def test_only_the_grammar_reaches_the_search(way: str) -> None:
    """As a listing, as the model's own words, and as both: known clauses, known fields, one index, whole lines."""
    client = Recorder(SearchSettings())

    async def run() -> int:
        done = 0
        for name, text in TEXTS.items():
            client.sent.clear()
            await explored(
                client,
                text if way != "reply" else "plug and play gummies sauce",
                text if way != "listing" else "plug gummies; sauce bars",
            )
            for sent in client.sent:
                for body in bodies_of(sent):
                    assert masked(body) in ALLOWED, name
                    check_words(body, name)
                    done += 1
        return done

    assert asyncio.run(run()) > 500
    assert set(client.other) <= {f"POST /{INDEX}/_count "}


def check_words(body: Mapping[str, Any], name: str) -> None:
    """Check that a search for words has words of the grammar alone, and one for a contact its hash alone."""
    (must,) = body["query"]["bool"]["must"]
    if "bool" in must:
        text = must["bool"]["should"][0]["multi_match"]["query"]
        assert text == " ".join(tokens(text)), name
        assert not re.search(r"[^\w\s.'-]", re.sub(r"[\u0300-\u036f\u0610-\u0e4e]", "", text)), name
        assert text == text.lower(), name
    elif "term" in must:
        assert re.fullmatch(r"[0-9a-f]{32}", must["term"]["contacts"]), name


def test_no_text_closes_the_fence() -> None:
    """Whatever slot it is put into, the prompt has one opening and one closing fence, and the text is one line."""
    template = load_template()
    for text in TEXTS.values():
        prompt = render(template, title=text, description=text, kind=text, locale=text)
        match = FENCED.fullmatch(prompt.listing)
        assert match is not None, text
        bare = PLACEHOLDER.sub("", match[1])
        assert not set("<>|[]{}`\\") & set(bare), text
        turns = chat_messages(prompt)
        assert [turn["content"].count("<listing>") for turn in turns if turn["role"] == "user"] == [1] * (
            len(template.examples) + 1
        )
        harmless = render(template, title="bike", description="", kind="k", locale="en")
        assert len(turns) == len(chat_messages(harmless))


@pytest.mark.model
def test_no_text_becomes_a_token_of_the_chat() -> None:
    """The packaged model's own tokenizer finds no control token in a listing, and the same number around each."""
    from transformers import AutoTokenizer

    from qexplorer.llm.packaged import packaged_model

    tokenizer: Any = AutoTokenizer.from_pretrained(packaged_model())
    control = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    # The danger is real: left as they are, these texts do become control tokens.
    assert control & set(token_ids(tokenizer, TEXTS["en 0 chat turn"]))
    own = [tokenizer.convert_ids_to_tokens(each) for each in sorted(control)]
    template = load_template()
    harmless = render(template, title="bike", description="", kind="drugs", locale="en")
    around = control_in(tokenizer, harmless, control)
    for text in [*TEXTS.values(), *own, *(f"a{token}b {token.upper()}" for token in own)]:
        prompt = render(template, title=text, description=text, kind=text, locale=text)
        assert not control & set(token_ids(tokenizer, prompt.parts()[1])), text
        assert not control & set(listing_ids(tokenizer, prompt)), text
        assert control_in(tokenizer, prompt, control) == around, text


def control_in(tokenizer: Any, prompt: Any, control: set[int]) -> Sequence[int]:
    before, after = frame_ids(tokenizer, prompt)
    return [token for token in (*before, *after) if token in control]


class Watching(OpenSearchClient):
    """Sends the searches, and keeps what comes back."""

    def __init__(self, settings: SearchSettings) -> None:
        super().__init__(settings)
        self.seen: list[Any] = []

    async def request(self, method: str, path: str, body: Any = None, params: Mapping[str, str] | None = None) -> Any:
        """Pass it on."""
        answer = await super().request(method, path, body, params)
        if path == "/_msearch":
            self.seen += answer["responses"]
        return answer


async def test_a_secret_index_beside_it_is_never_read(engines: Endpoints) -> None:
    """On real OpenSearch, every hostile query and a share of the orders find listings of the policy's index alone."""
    texts = [text for name, text in TEXTS.items() if name.endswith(" alone")]
    texts += [text for number, text in enumerate(TEXTS.values()) if number % 25 == 0]
    settings = SearchSettings(url=str(engines.opensearch))
    async with Watching(settings) as client:
        for index in (INDEX, OTHER_INDEX):
            await client.ensure_index(index, listings_body())
            rows = [
                a_listing(f"{index}-{n}", f"{text[:500]} plug gummies sauce", updated_at=datetime.now(UTC))
                for n, text in enumerate(texts)
            ]
            await client.write(index, [document(row, b"") for row in rows], WriteMode.REPLACE)
            await client.request("POST", f"/{index}/_refresh")
        for text in texts:
            await explored(client, text, text)
    hits = [hit for part in client.seen for hit in part["hits"]["hits"]]
    assert len(hits) > 100
    assert {hit["_index"] for hit in hits} == {INDEX}
    assert not any("error" in part or part["_shards"]["failed"] for part in client.seen)
