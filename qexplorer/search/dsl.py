"""From a request to OpenSearch's query DSL. The model supplies words only; every clause is written here."""

import hashlib
from typing import Any

import orjson

from qexplorer.search.backend import SearchKind, SearchRequest
from qexplorer.settings import IndexFields, IndexSettings

TRACKED_HITS = 10_000
LIKE_CHARACTERS = 4_000
# A token has one character at least, and Lucene takes 1,024 clauses a query: more, and the search fails for ever.
MARKED_CHARACTERS = 1_000
MARK_START, MARK_END = "\u2068", "\u2069"


def build(request: SearchRequest, index: IndexSettings, *, timeout_s: float) -> dict[str, Any]:
    """Return the body of a search with its mandatory filters, caps and highlights."""
    fields = index.fields
    body: dict[str, Any] = {
        "query": {
            "bool": {
                "must": [_match(request, fields)],
                "filter": [*index.filters, *_filters(request, fields)],
                "must_not": _excluded(request, fields),
            }
        },
        "size": request.size,
        "timeout": f"{int(timeout_s * 1000)}ms",
        "track_total_hits": TRACKED_HITS,
        "sort": [{"_score": "desc"}, {fields.id or "_id": {"order": "asc", "unmapped_type": "keyword"}}],
        "_source": sorted(
            {
                name
                for name in (
                    fields.id,
                    fields.version,
                    fields.title,
                    fields.description,
                    fields.seller,
                    fields.locale,
                )
                if name
            }
        ),
    }
    if request.highlight:
        body["highlight"] = _highlight(request, fields)
    if request.after is not None:
        body["search_after"] = list(request.after)
    return body


def dsl_hash(body: dict[str, Any]) -> str:
    """Return 16 hex digits that identify a body, paging left out."""
    kept = {key: value for key, value in body.items() if key != "search_after"}
    return hashlib.sha256(orjson.dumps(kept, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


def _filters(request: SearchRequest, fields: IndexFields) -> list[dict[str, Any]]:
    filters: list[dict[str, Any]] = []
    if request.locales and fields.locale:
        filters.append({"terms": {fields.locale: list(request.locales)}})
    if request.since is not None and fields.updated_at:
        # Its own format says how a platform writes its dates, such as milliseconds; this is how we write ours.
        since = {"gte": request.since.isoformat(), "format": "strict_date_optional_time"}
        filters.append({"range": {fields.updated_at: since}})
    return filters


def _highlight(request: SearchRequest, fields: IndexFields) -> dict[str, Any]:
    highlight: dict[str, Any] = {
        # Isolates: a page that escapes the text, as it has to, can still tell what matched.
        "pre_tags": [MARK_START],
        "post_tags": [MARK_END],
        "number_of_fragments": 2,
        "fragment_size": 120,
        "max_analyzer_offset": 100_000,
        "fields": {name: {} for name in (*fields.text, fields.normalised) if name},
    }
    if request.kind is SearchKind.WHOLE_TEXT:
        # more_like_this leaves no marks of its own.
        text = request.text[:MARKED_CHARACTERS]
        highlight["highlight_query"] = {
            "multi_match": {"query": text, "fields": list(highlight["fields"]), "type": "most_fields"}
        }
    return highlight


def _excluded(request: SearchRequest, fields: IndexFields) -> list[dict[str, Any]]:
    if not request.exclude:
        return []
    ids = list(request.exclude)
    return [{"terms": {fields.id: ids}} if fields.id else {"ids": {"values": ids}}]


def _match(request: SearchRequest, fields: IndexFields) -> dict[str, Any]:
    if request.kind is SearchKind.CONTACT:
        return {"term": {fields.contacts: request.normalised}}
    if request.kind is SearchKind.WHOLE_TEXT:
        return _like(request, fields)
    words: dict[str, Any] = {
        "multi_match": {
            "query": request.text,
            "fields": list(fields.text),
            "type": "cross_fields",
            "operator": "and",
        }
    }
    if not fields.normalised:
        return words
    normalised = {"match": {fields.normalised: {"query": request.normalised, "operator": "and"}}}
    return {"bool": {"should": [words, normalised], "minimum_should_match": 1}}


def _like(request: SearchRequest, fields: IndexFields) -> dict[str, Any]:
    names = [fields.normalised] if fields.normalised else list(fields.text)
    text = request.normalised if fields.normalised else request.text
    return {
        "more_like_this": {
            "fields": names,
            "like": text[:LIKE_CHARACTERS],
            "min_term_freq": 1,
            "min_doc_freq": 2,
            "max_query_terms": 25,
            "minimum_should_match": "20%",
        }
    }
