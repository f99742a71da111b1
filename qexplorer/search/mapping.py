"""Index bodies: the analysis of listings, and the indices that QExplorer keeps for itself."""

from typing import Any

# One analyser for both languages: CJK text becomes bigrams, Latin words lose case and inflection.
# Only token filters of the core and of analysis-common, which every cluster has.
ANALYSIS: dict[str, Any] = {
    "analyzer": {
        "qexplorer": {
            "type": "custom",
            "tokenizer": "standard",
            "filter": ["cjk_width", "lowercase", "cjk_bigram", "qexplorer_possessive", "kstem"],
        }
    },
    "filter": {"qexplorer_possessive": {"type": "stemmer", "language": "possessive_english"}},
}
# One node keeps one copy; with more, the loss of one must not take along what has been reviewed.
OURS = {"number_of_shards": 1, "auto_expand_replicas": "0-1"}
KEYWORD = {"type": "keyword", "ignore_above": 512}


def listings_body(*, shards: int = 1, replicas: int = 0) -> dict[str, Any]:
    """Return the body of an index of listings that `qexplorer index load` fills."""
    text = {"type": "text", "analyzer": "qexplorer"}
    return {
        "settings": {
            "number_of_shards": shards,
            "number_of_replicas": replicas,
            "refresh_interval": "1s",
            "analysis": ANALYSIS,
        },
        "mappings": {
            "dynamic": False,
            "_meta": {"qexplorer": 1},
            "properties": {
                "id": KEYWORD,
                "version": KEYWORD,
                "title": text,
                "description": text,
                "normalised": text,
                "contacts": {"type": "keyword"},
                "seller": KEYWORD,
                "category": KEYWORD,
                "locale": KEYWORD,
                "status": KEYWORD,
                "updated_at": {"type": "date"},
            },
        },
    }


def discoveries_body() -> dict[str, Any]:
    """Return the body of the index of known items: flagged, pending, published, retracted."""
    return {
        "settings": OURS,
        "mappings": {
            "dynamic": False,
            "properties": {
                "item": {"type": "keyword"},
                # Two dozen a document, only ever looked up: without columns a write costs a sixth less.
                "bands": {"type": "keyword", "doc_values": False},
                "state": {"type": "keyword"},
                "owner": {"type": "keyword"},
                "policy": {"type": "keyword"},
                "seller": KEYWORD,
                "listing_id": KEYWORD,
                "depth": {"type": "integer"},
                "score": {"type": "float"},
                "at": {"type": "date"},
            },
        },
    }


def bank_body() -> dict[str, Any]:
    """Return the body of the query bank."""
    return {
        "settings": OURS,
        "mappings": {
            "dynamic": False,
            "properties": {
                "policy": {"type": "keyword"},
                "normalised": KEYWORD,
                "source": {"type": "keyword"},
                "last_run_at": {"type": "date"},
                "hits": {"type": "integer"},
                "suspects": {"type": "integer"},
                "runs": {"type": "integer"},
            },
        },
    }
