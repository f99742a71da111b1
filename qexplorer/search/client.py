"""OpenSearch behind the two seams: every response is checked, every foreign error is translated here."""

import functools
import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar

import orjson
import structlog

from qexplorer.errors import AccessError, BadInputError, ConfigError, SearchUnavailableError
from qexplorer.rows import content_version
from qexplorer.search.backend import (
    ALL,
    Document,
    Hit,
    Matching,
    Rows,
    SearchProblem,
    SearchRequest,
    SearchResult,
    Values,
    WriteMode,
)
from qexplorer.search.dsl import build, dsl_hash
from qexplorer.settings import IndexFields, SearchSettings

T = TypeVar("T")
log = structlog.get_logger()

RETRY_STATUS = frozenset({408, 429, 500, 502, 503, 504})
# Answers of a search that has too much to do; "TIMEOUT" is what the library calls none in time.
OVERLOADED = frozenset({429, 503, 504, "TIMEOUT"})
# Causes that OpenSearch reports as 500 although the query is to blame: no retry mends them.
HOPELESS = frozenset({"too_many_clauses", "too_many_nested_clauses"})
GET_CHUNK = 1_000
WRITE_CHUNK = 500
# A body above OpenSearch's `http.max_content_length`, 100 MB unless it is set, is refused as a whole.
WRITE_BYTES = 10_000_000
ROWS_CHUNK = 200
# What reading an answer of another form than OpenSearch's raises.
ODD = (KeyError, TypeError, ValueError, AttributeError)


class OpenSearchClient:
    """One asynchronous client for one event loop: `async with OpenSearchClient(settings) as client`."""

    def __init__(self, settings: SearchSettings) -> None:
        self._settings = settings
        self._client: Any = None
        self.overloaded: Callable[[], None] = lambda: None

    async def __aenter__(self) -> Self:
        from opensearchpy import AsyncOpenSearch

        settings = self._settings
        login = (settings.user, settings.password.get_secret_value()) if settings.user else None
        secure: dict[str, Any] = {}
        if settings.url.startswith("https"):
            secure = {"verify_certs": settings.verify, "ssl_show_warn": False}
            if settings.ca_file is not None:
                secure["ca_certs"] = str(settings.ca_file)
        self._client = AsyncOpenSearch(
            hosts=[settings.url],
            http_auth=login,
            timeout=settings.timeout_s,
            max_retries=0,
            pool_maxsize=16,
            serializer=_serializer(),
            **secure,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.close()

    async def request(self, method: str, path: str, body: Any = None, params: Mapping[str, str] | None = None) -> Any:
        """Send one request and return the parsed answer; errors are translated as in `translated`."""
        async with translated(self._settings.url):
            return await self._client.transport.perform_request(method, path, params=dict(params or {}), body=body)

    async def _read(self, path: str, body: Any, read: Callable[[Any], T], params: Mapping[str, str] | None = None) -> T:
        """Post one request and return what `read` makes of the answer.

        One of another form, as a gateway may give in its place, raises SearchUnavailableError: a read must not be taken
        for empty, nor a write for done.
        """
        answer = await self.request("POST", path, body, params)
        try:
            return read(answer)
        except ODD as error:
            raise SearchUnavailableError(
                f"{self._settings.url} answered {path} in a form that is not OpenSearch's: {error!r}"[:300],
                remedy="What stands between it and the worker?",
            ) from error

    # Searching

    async def search(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        """Run the requests as one msearch; where that fails as a whole, one by one."""
        if not requests:
            return []
        bodies = [self._body(request) for request in requests]
        lines: list[bytes] = []
        for request, body in zip(requests, bodies, strict=True):
            lines += [orjson.dumps({"index": request.index}), orjson.dumps(body)]
        results = [
            functools.partial(self._result, request, dsl_hash(body))
            for request, body in zip(requests, bodies, strict=True)
        ]

        def read(answer: Any) -> list[SearchResult]:
            parts = answer["responses"]
            if len(parts) != len(requests):
                raise SearchUnavailableError(f"OpenSearch answered {len(parts)} of {len(requests)} searches")
            return [result(part) for result, part in zip(results, parts, strict=True)]

        try:
            return await self._read("/_msearch", b"\n".join(lines) + b"\n", read)
        except SearchUnavailableError as error:
            if getattr(error.__cause__, "status_code", None) in OVERLOADED:
                self.overloaded()
            raise
        except BadInputError:
            # One malformed search can fail a whole msearch: only the bad one may suffer.
            log.warning("msearch refused, searching one by one", searches=len(requests))
        alone = zip(requests, bodies, results, strict=True)
        return [await self._single(request, body, result) for request, body, result in alone]

    async def count(self, index: str) -> int:
        """Return how many listings the mandatory filters leave in the index."""
        body = {"query": {"bool": {"filter": list(self._settings.index(index).filters)}}}
        return await self._read(f"/{index}/_count", body, lambda answer: int(answer["count"]))

    def _body(self, request: SearchRequest) -> dict[str, Any]:
        return build(request, self._settings.index(request.index), timeout_s=self._settings.timeout_s)

    async def _single(
        self, request: SearchRequest, body: Mapping[str, Any], result: Callable[[Mapping[str, Any]], SearchResult]
    ) -> SearchResult:
        try:
            return await self._read(f"/{request.index}/_search", body, result)
        except BadInputError as error:
            return result({"status": 400, "error": {"reason": error.message}})

    def _result(self, request: SearchRequest, body_hash: str, part: Any) -> SearchResult:
        """Return what one search gave; raises AccessError or ConfigError where not the search is to blame."""
        try:
            _refuse_outside(self._settings.url, request.index, part)
            problem = _problem(part)
            if problem is None:
                return self._found(request, body_hash, part)
            kind, reason = problem
            if isinstance(part, Mapping) and part.get("status") == 429:
                self.overloaded()
        except ODD as error:
            # This search alone: what never gets another answer is given up in the end.
            kind, reason = SearchProblem.UNAVAILABLE, f"the answer is not OpenSearch's: {error!r}"[:200]
        return SearchResult(problem=kind, reason=reason, dsl_hash=body_hash)

    def _found(self, request: SearchRequest, body_hash: str, part: Mapping[str, Any]) -> SearchResult:
        fields = self._settings.index(request.index).fields
        first = 1 if request.after is None else self._settings.hits + 1
        hits = part["hits"]
        return SearchResult(
            hits=tuple(read_hit(hit, fields, rank) for rank, hit in enumerate(hits["hits"], start=first)),
            total=int(hits["total"]["value"]),
            took_ms=float(part.get("took", 0)),
            dsl_hash=body_hash,
        )

    # Documents

    async def get(self, index: str, ids: Sequence[str]) -> dict[str, Document]:
        """Return the documents that exist, by id; what was just written is seen."""
        found: dict[str, Document] = {}
        for chunk in _chunks(list(dict.fromkeys(ids)), GET_CHUNK):
            found |= await self._read(f"/{index}/_mget", {"ids": chunk}, functools.partial(_got, index, chunk))
        return found

    async def write(self, index: str, documents: Sequence[Document], mode: WriteMode) -> set[str]:
        """Write all by bulk and return the ids that were refused because of a conflict."""
        conflicts: set[str] = set()
        for chunk in _chunks(list(documents), WRITE_CHUNK):
            for lines in _bulks([_line(document, mode) for document in chunk]):
                read = functools.partial(_refused, index, lines)
                conflicts |= await self._read(f"/{index}/_bulk", b"".join(lines), read)
        return conflicts

    async def find(
        self, index: str, field_name: str, values: Values, size: int, *, matching: Matching = ALL, best_by: str = ""
    ) -> list[Document]:
        """Return documents with any of the values in a keyword field, and all of `matching`, the best of them first."""
        if not values:
            return []
        query = {"bool": {"filter": [{"terms": {field_name: list(values)}}, *_terms(matching)]}}
        body = _body_of_ours(query, size)
        if best_by:
            body["sort"] = [{best_by: {"order": "desc", "missing": "_last", "unmapped_type": "float"}}]
        return await self._read(f"/{index}/_search", body, functools.partial(_documents, index))

    async def sharing(
        self, index: str, field_name: str, rows: Rows, size: int, *, least: int, matching: Matching
    ) -> list[list[Document]]:
        """Return for each row the documents that share at least `least` of its values, those that share most first.

        Those that share rare values come before others that share as many.
        """
        found: list[list[Document]] = []
        for chunk in _chunks(list(rows), ROWS_CHUNK):
            lines: list[bytes] = []
            for row in chunk:
                shared = {"should": [{"term": {field_name: value}} for value in row], "minimum_should_match": least}
                query = {"bool": {**shared, "filter": _terms(matching)}}
                lines += [orjson.dumps({"index": index}), orjson.dumps(_body_of_ours(query, size))]
            read = functools.partial(_each_documents, index, chunk)
            found += await self._read("/_msearch", b"\n".join(lines) + b"\n", read)
        return found

    async def count_since(self, index: str, matching: Matching, since: datetime) -> int:
        """Return how many documents have these values and an `at` from then on."""
        filters = [*_terms(matching), {"range": {"at": {"gte": since.isoformat()}}}]
        body = {"query": {"bool": {"filter": filters}}}
        return await self._read(f"/{index}/_count", body, lambda answer: int(answer["count"]))

    async def delete(self, index: str, ids: Sequence[str]) -> int:
        """Delete documents by id, also from several indices (`name*`); return how many there were."""
        return await self.delete_where(index, "_id", ids)

    async def delete_where(
        self, index: str, field_name: str, values: Sequence[str], also: Mapping[str, Sequence[str]] | None = None
    ) -> int:
        """Delete documents with any of the values in a keyword field, and any of those in each other; count them."""
        others = [{"terms": {name: list(each)}} for name, each in (also or {}).items()]
        deleted = 0
        for chunk in _chunks(list(values), GET_CHUNK):
            deleted += await self._read(
                f"/{index}/_delete_by_query",
                {"query": {"bool": {"filter": [{"terms": {field_name: chunk}}, *others]}}},
                lambda answer: int(answer["deleted"]),
                params={"refresh": "true", "conflicts": "proceed"},
            )
        return deleted

    async def ensure_index(self, index: str, body: Mapping[str, Any]) -> bool:
        """Create the index unless it exists; return whether it was created."""
        try:
            await self.request("PUT", f"/{index}", dict(body))
        except BadInputError as error:
            if "resource_already_exists" in error.message:
                return False
            raise ConfigError(f"the index {index} cannot be created: {error.message}") from None
        return True


def _serializer() -> Any:
    """Return a serialiser that reads answers with orjson: those of an msearch are large."""
    from opensearchpy.exceptions import SerializationError
    from opensearchpy.serializer import JSONSerializer

    class OrjsonSerializer(JSONSerializer):  # type: ignore[misc]  # the library has no types
        def loads(self, text: str) -> Any:
            try:
                return orjson.loads(text)
            except orjson.JSONDecodeError as error:
                raise SerializationError(text[:100], error) from error

    return OrjsonSerializer()


@asynccontextmanager
async def translated(url: str) -> AsyncIterator[None]:
    """Turn opensearch-py's errors into ours.

    401, 403 and certificates → AccessError; 404 → ConfigError; time-outs, connections, 429 and 5xx →
    SearchUnavailableError; other 4xx → BadInputError. A full disk answers 429 or 403 with a block: retryable.
    """
    from opensearchpy import exceptions as foreign

    try:
        yield
    except foreign.ConnectionError as error:
        refused = _refused_certificate(error)
        if refused:
            raise AccessError(
                f"the certificate of {url} was refused: {refused}",
                remedy="Name the authority that signed it as search.ca_file; one that has expired must be renewed",
            ) from error
        raise SearchUnavailableError(
            f"OpenSearch at {url} does not answer: {_brief(error)}",
            remedy="Check that it runs and that search.url is right",
        ) from error
    except foreign.TransportError as error:
        raise _translate_status(url, error) from error
    except foreign.SerializationError as error:
        raise SearchUnavailableError(f"{url} did not answer in JSON", remedy="Is it OpenSearch?") from error
    except (foreign.OpenSearchException, ValueError, TimeoutError) as error:
        raise SearchUnavailableError(f"the request to {url} failed: {_brief(error)}") from error


def _refused_certificate(error: Any) -> str:
    """Return why TLS refused the server's certificate; empty for any other failure.

    The asynchronous client hides it: its error carries that of aiohttp, which carries that of Python's ssl.
    """
    from opensearchpy.exceptions import SSLError

    cause = getattr(error.info, "certificate_error", None)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return cause.verify_message
    return _brief(error) if isinstance(error, SSLError) else ""


def _translate_status(url: str, error: Any) -> Exception:
    status = error.status_code
    reason = f"{error.error}: {_reason(error.info)}"[:300]
    if status == 401:
        return AccessError(f"{url} refused the login", remedy="Check search.user and search.password")
    if status == 403 and "cluster_block" not in reason:
        return AccessError(f"{url} refused a permission: {reason}", remedy="Give the user the worker's role")
    if status == 404:
        return ConfigError(f"{url} has no such thing: {reason}", remedy="Check the name of the index")
    if status == 403 or status in RETRY_STATUS or not isinstance(status, int):
        return SearchUnavailableError(f"OpenSearch at {url} answered {status}: {reason}")
    return BadInputError(f"OpenSearch refused the request: {reason}")


def _reason(info: Any) -> str:
    if isinstance(info, Mapping) and isinstance(info.get("error"), Mapping):
        return str(info["error"].get("reason", ""))
    return ""


def _brief(error: Exception) -> str:
    return str(error).split("\n", maxsplit=1)[0][:200]


def _refuse_outside(url: str, index: str, part: Any) -> None:
    """Raise what somebody has to mend before any search of the index is answered: rights, the index, a block."""
    error = part.get("error") if isinstance(part, Mapping) else None
    if not isinstance(error, Mapping):
        return
    causes = {error.get("type"), *(cause.get("type") for cause in error.get("root_cause", ()))}
    reason = str(error.get("reason", ""))[:200]
    if "cluster_block_exception" in causes:
        raise SearchUnavailableError(f"{index} is blocked: {reason}", remedy="Lift the block of the index")
    if part.get("status") in {401, 403}:
        raise AccessError(f"{url} refused a permission: {reason}", remedy="Give the user the worker's role")
    if part.get("status") == 404 or "index_closed_exception" in causes:
        raise ConfigError(
            f"{index} cannot be searched at {url}: {reason}", remedy="Create or open the index, or correct its name"
        )


def _problem(part: Mapping[str, Any]) -> tuple[SearchProblem, str] | None:
    """Say what is wrong with one answer: partial results are not success."""
    if not isinstance(part, Mapping):
        return SearchProblem.UNAVAILABLE, "the answer is not an object"
    if "error" in part:
        status = part.get("status", 500)
        error = part["error"]
        reason = str(error.get("reason", "") if isinstance(error, Mapping) else error)[:200]
        causes = error.get("root_cause", ()) if isinstance(error, Mapping) else ()
        retry = status in RETRY_STATUS and not any(cause.get("type") in HOPELESS for cause in causes)
        return (SearchProblem.UNAVAILABLE if retry else SearchProblem.REFUSED), reason
    if part.get("timed_out"):
        return SearchProblem.UNAVAILABLE, "the search ran out of time"
    failed = part.get("_shards", {}).get("failed", 0)
    if failed:
        return SearchProblem.UNAVAILABLE, f"{failed} shards failed"
    if "hits" not in part or "total" not in part["hits"]:
        return SearchProblem.UNAVAILABLE, "the answer has no hits"
    return None


def read_hit(hit: Mapping[str, Any], fields: IndexFields, rank: int) -> Hit:
    """Return a hit of OpenSearch's with what the fields name of its `_source`."""
    source = hit.get("_source", {})
    title, description = _text(source, fields.title), _text(source, fields.description)
    return Hit(
        listing_id=_text(source, fields.id) or hit["_id"],
        version=_text(source, fields.version) or content_version(title, description),
        title=title,
        description=description,
        seller=_text(source, fields.seller),
        locale=_text(source, fields.locale),
        rank=rank,
        score=float(hit.get("_score") or 0.0),
        highlights={name: tuple(parts) for name, parts in hit.get("highlight", {}).items()},
        sort=tuple(hit.get("sort", ())),
    )


def _text(source: Mapping[str, Any], path: str) -> str:
    if not path:
        return ""
    value: Any = source.get(path)
    if value is None and "." in path:
        return "\n".join(_values(source, path.split(".")))
    return "\n".join(_values(value, ()))


def _values(value: Any, path: Sequence[str]) -> list[str]:
    """Return what stands at a path, in every object of a list, as OpenSearch indexes it."""
    if isinstance(value, (list, tuple)):
        return [each for item in value for each in _values(item, path)]
    if path:
        return _values(value.get(path[0]), path[1:]) if isinstance(value, Mapping) else []
    return [] if value is None else [str(value)]


def _document(doc: Mapping[str, Any]) -> Document:
    return Document(
        id=doc["_id"],
        source=doc.get("_source", {}),
        seq_no=doc.get("_seq_no", -1),
        primary_term=doc.get("_primary_term", -1),
    )


def _documents(index: str, answer: Mapping[str, Any]) -> list[Document]:
    """Return the documents of a search of ours; raises SearchUnavailableError where it is no whole answer."""
    problem = _problem(answer)
    if problem is not None:
        raise SearchUnavailableError(f"{index} cannot be searched: {problem[1]}")
    return [_document(hit) for hit in answer["hits"]["hits"]]


def _each_documents(index: str, asked: Sequence[object], answer: Mapping[str, Any]) -> list[list[Document]]:
    return [_documents(index, part) for _, part in zip(asked, answer["responses"], strict=True)]


def _body_of_ours(query: Mapping[str, Any], size: int) -> dict[str, Any]:
    # What a claim holds is large and read by id.
    return {"query": query, "size": size, "seq_no_primary_term": True, "_source": {"excludes": ["suspect"]}}


def _terms(matching: Matching) -> list[dict[str, Any]]:
    return [{"term": {name: value}} for name, value in matching.items()]


def _got(index: str, ids: Sequence[str], answer: Mapping[str, Any]) -> dict[str, Document]:
    found: dict[str, Document] = {}
    for _, doc in zip(ids, answer["docs"], strict=True):
        if doc.get("found"):
            found[doc["_id"]] = _document(doc)
        elif "error" in doc:
            raise SearchUnavailableError(f"{index} cannot be read: {doc['error'].get('reason', '')}")
    return found


def _line(document: Document, mode: WriteMode) -> bytes:
    """Return what a bulk does with a document, and the document."""
    action: dict[str, Any] = {"_id": document.id}
    if document.seq_no >= 0 and mode is WriteMode.REPLACE:
        action |= {"if_seq_no": document.seq_no, "if_primary_term": document.primary_term}
    verb = "create" if mode is WriteMode.CREATE else "index"
    return orjson.dumps({verb: action}) + b"\n" + orjson.dumps(dict(document.source)) + b"\n"


def _bulks(lines: Iterable[bytes]) -> Iterable[list[bytes]]:
    """Yield the lines in groups of at most WRITE_BYTES, and a longer one alone."""
    group: list[bytes] = []
    size = 0
    for line in lines:
        if group and size + len(line) > WRITE_BYTES:
            yield group
            group, size = [], 0
        group.append(line)
        size += len(line)
    yield group


def _refused(index: str, asked: Sequence[object], answer: Mapping[str, Any]) -> set[str]:
    """Return the ids of a bulk that were refused because of a conflict; any other refusal is an error."""
    conflicts: set[str] = set()
    for _, item in zip(asked, answer["items"], strict=True):
        [done] = item.values()
        status = int(done["status"])
        if status == 409:
            conflicts.add(str(done["_id"]))
        elif status >= 300:
            raise SearchUnavailableError(f"{index} refused a write: {done['error'].get('reason', '')[:200]}")
    return conflicts


def _chunks(items: list[T], size: int) -> Iterable[list[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
