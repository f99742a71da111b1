"""Look at an index that a platform already has: what works with it, and what is missing. Writes nothing."""

from collections.abc import Mapping
from typing import Any

from qexplorer.search.backend import SearchKind, SearchRequest
from qexplorer.search.client import OpenSearchClient, read_hit
from qexplorer.settings import IndexSettings

Finding = tuple[str, str, str]
DATES = frozenset({"date", "date_nanos"})
SAMPLE = 20
TEXT_TYPES = frozenset({"text", "match_only_text", "search_as_you_type"})
SORTABLE = frozenset({"keyword", "long", "integer", "short", "unsigned_long", "date", "constant_keyword"})


async def check_index(client: OpenSearchClient, index: str, settings: IndexSettings) -> list[Finding]:
    """Return findings as (works | lacks | fails, what, explanation).

    Raises ConfigError when there is no such index, AccessError when it may not be read.
    """
    types = await _types(client, index)
    fields = settings.fields
    findings = [_text_field(types, name) for name in fields.text]
    findings.append(_sort_field(types, fields.id))
    findings += [
        _optional(types, fields.normalised, "normalised", "disguised words (leet, homoglyphs, spacing) are not found"),
        _optional(types, fields.contacts, "contacts", "listings with the same phone or handle are not found"),
        _dated(types, fields.updated_at),
        _optional(types, fields.locale, "locale", "policies cannot be limited to locales"),
        _optional(types, fields.seller, "seller", "suspects do not name their seller"),
        _optional(types, fields.version, "version", "an edit is told by the hash of title and description"),
    ]
    total = (await client.request("POST", f"/{index}/_count", {"query": {"match_all": {}}}))["count"]
    active = await client.count(index)
    verdict = "works" if active else "fails"
    findings.append((verdict, "filters", f"they leave {active} of {total} listings"))
    if all(verdict != "fails" for verdict, _, _ in findings):
        findings += [await _texts(client, index, settings), await _trial(client, index)]
    return findings


async def _types(client: OpenSearchClient, index: str) -> dict[str, str]:
    answer: Mapping[str, Any] = await client.request("GET", f"/{index}/_mapping")
    types: dict[str, str] = {}
    for body in answer.values():
        _walk(body["mappings"].get("properties", {}), "", "", types)
    return types


def _walk(properties: Mapping[str, Any], prefix: str, within: str, types: dict[str, str]) -> None:
    for name, field in properties.items():
        path, kind = prefix + name, field.get("type", "")
        if kind:
            types[path] = within + kind
        # What is nested is found by queries of its own kind only.
        inside = "nested " if kind == "nested" else within
        _walk(field.get("properties", {}), f"{path}.", inside, types)
        _walk(field.get("fields", {}), f"{path}.", inside, types)


def _text_field(types: Mapping[str, str], name: str) -> Finding:
    kind = types.get(name)
    if kind is None:
        return "fails", f"text field {name}", "the index does not have it: name its own fields in fields.text"
    if kind not in TEXT_TYPES:
        return "fails", f"text field {name}", f"it is a {kind}, whose words cannot be searched"
    return "works", f"text field {name}", "its words are searched"


def _sort_field(types: Mapping[str, str], name: str) -> Finding:
    if not name:
        return "works", "id", "_id is the listing's id"
    kind = types.get(name)
    if kind in SORTABLE:
        return "works", f"id field {name}", "identifies a listing and orders pages"
    says = "the index does not have it" if kind is None else f"it is a {kind} and cannot order pages"
    return "fails", f"id field {name}", f"{says}: name a keyword field, or leave fields.id empty for _id"


def _optional(types: Mapping[str, str], name: str, what: str, without: str) -> Finding:
    if name and name in types:
        return "works", f"{what} field {name}", "is used"
    if name:
        return "lacks", f"{what} field {name}", f"{without}; set it to '' or add it"
    return "lacks", what, without


def _dated(types: Mapping[str, str], name: str) -> Finding:
    kind = types.get(name, "date")
    if kind not in DATES:
        return "fails", f"updated at field {name}", f"it is a {kind} and no date: name a date field, or set it to ''"
    return _optional(types, name, "updated at", "a query of the bank runs over everything again")


async def _texts(client: OpenSearchClient, index: str, settings: IndexSettings) -> Finding:
    """Look at some listings as hits: what cannot be read of them can be neither judged nor shown."""
    query = {"bool": {"filter": list(settings.filters)}}
    answer = await client.request("POST", f"/{index}/_search", {"query": query, "size": SAMPLE})
    hits = [read_hit(hit, settings.fields, 1) for hit in answer["hits"]["hits"]]
    count = sum(bool(hit.text) for hit in hits)
    what = "title and description"
    if count:
        return "works", what, f"{count} of {len(hits)} listings have a text"
    return "fails", what, "no listing has either in _source: name them in fields.title and fields.description"


async def _trial(client: OpenSearchClient, index: str) -> Finding:
    request = SearchRequest(index=index, kind=SearchKind.WORDS, text="a", normalised="a", size=1)
    result = (await client.search([request]))[0]
    if result.problem is not None:
        return "fails", "a trial search", result.reason
    return "works", "a trial search", f"answered in {result.took_ms:.0f} ms"
