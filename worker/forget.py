"""Removing a seller, or single listings, from everything that the project keeps."""

import contextlib
import gzip
import json
import re
import shutil
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from qexplorer.discoveries import State
from qexplorer.errors import ConfigError
from qexplorer.search.client import OpenSearchClient
from qexplorer.settings import Settings
from schemas import FlagResult, QueryAudit, QuerySource, Suspect, WireError
from worker.dead_letters import KEY, LETTER
from worker.decode import mapped
from worker.kafka import Publisher, Record
from worker.reading import read_topic
from worker.topics import dry_run_topics, partitions_of, retention_of

FORGOTTEN = "forgotten"
LISTING_FIELDS = frozenset({"id", "listing_id", "repeats", "near_duplicates"})
FOUND_AT_ONCE = 1_000


@dataclass(slots=True)
class Traces:
    """What is to be forgotten: grows while more is learnt about it."""

    sellers: frozenset[str]
    listings: set[str]
    flags: set[str] = field(default_factory=set)

    @property
    def names(self) -> set[str]:
        """Everything that is to be forgotten, whatever it is."""
        return {*self.sellers, *self.listings, *self.flags}

    def mention(self, value: Any) -> bool:
        """Whether parsed JSON has one of them in a field that names such a thing, at any depth.

        By field, since ids may be as short as `1`, which stands for a version or a count nearly everywhere.
        """
        stack = [value]
        while stack:
            item = stack.pop()
            if isinstance(item, dict):
                if any(self._named(name, found) for name, found in item.items()):
                    return True
                stack += item.values()
            elif isinstance(item, list):
                stack += item
        return False

    def _named(self, name: str, found: Any) -> bool:
        wanted: Collection[str] = {"seller": self.sellers, "flag_id": self.flags}.get(name, ())
        if name in LISTING_FIELDS:
            wanted = self.listings
        # A platform may number its listings and sellers.
        return any(str(each) in wanted for each in (found if isinstance(found, list) else [found]))


class Forgetting:
    """Goes through topics, indices and files in an order in which each step learns what the next needs."""

    def __init__(
        self, settings: Settings, publisher: Publisher, search: OpenSearchClient, tell: Callable[[str], None]
    ) -> None:
        self._settings = settings
        self._kafka = settings.kafka
        self._publisher = publisher
        self._search = search
        self._tell = tell

    async def forget(self, sellers: frozenset[str], listings: frozenset[str], more: Sequence[str] = ()) -> Traces:
        """Forget in topics and indices; return what else belonged to it, for the files.

        `more` are topics of replays or dry runs. Running it again does no harm and removes what has come since.
        """
        # One that does not exist is told before anything is removed.
        if more:
            await partitions_of(self._kafka, more)
        runs = [*more, *filter(None, [self._settings.worker.dry_run_topic])]
        more = [name for run in dict.fromkeys(runs) for name in await self._topics_of(run)]
        traces = Traces(sellers=sellers, listings=set(listings))
        await self._learn_from_flags(traces)
        await self._discoveries(traces)
        topics = self._kafka.topics
        for topic in (topics.suspects, *more):
            await self._suspects(topic, traces)
        for topic in (topics.audit, *more):
            await self._audit(topic, traces)
        for topic in (topics.dead_letters, *more):
            await self._dead_letters(topic, traces)
        await self._what_stays()
        learnt = ", ".join(sorted(traces.listings)) or "none"
        # The next run cannot learn them any more, where a file or a store is remembered later.
        self._tell(f"for files and stores that turn up later, the listings were: {learnt}")
        return traces

    async def _topics_of(self, run: str) -> list[str]:
        """Return the topics of a replay or a dry run that has this one, as far as they exist."""
        own = dry_run_topics(self._kafka.topics, run)
        names: list[str] = []
        for topic in (own.suspects, own.audit, own.dead_letters):
            with contextlib.suppress(ConfigError):
                names += await partitions_of(self._kafka, [topic])
        return names

    async def _learn_from_flags(self, traces: Traces) -> None:
        for topic in self._kafka.topics.flags:
            async for message in read_topic(self._kafka, topic):
                flag = self._flag(message.value)
                if traces.mention(flag):
                    listing = flag.get("listing")
                    if flag.get("flag_id") is not None:
                        traces.flags.add(str(flag["flag_id"]))
                    if isinstance(listing, dict) and listing.get("id") is not None:
                        traces.listings.add(str(listing["id"]))

    async def _discoveries(self, traces: Traces) -> None:
        """Remove known items of every memory, also of dry runs and replays."""
        everywhere = f"{self._settings.search.discoveries}*"
        await self._search.request("POST", f"/{everywhere}/_refresh")
        removed = 0
        for name, values in (("seller", traces.sellers), ("listing_id", traces.listings)):
            while found := await self._search.find(everywhere, name, sorted(values), FOUND_AT_ONCE):
                for document in found:
                    traces.listings.add(document.source["listing_id"])
                    if document.source["state"] == State.FLAGGED:
                        traces.flags.add(document.source["owner"])
                        traces.flags |= {mark.partition(":")[2] for mark in document.source.get("answered", ())}
                removed += await self._search.delete(everywhere, [document.id for document in found])
        # Of what forgotten flags have found, only what is not published yet holds words of theirs.
        unpublished = {"state": [State.PENDING, State.HELD]}
        removed += await self._search.delete_where(everywhere, "owner", sorted(traces.flags), unpublished)
        await self._disown(everywhere, sorted(traces.flags))
        self._tell(f"discoveries: {removed} items removed")

    async def _disown(self, everywhere: str, flags: Sequence[str]) -> None:
        """Leave what forgotten flags have found without the name of the flag, which may hold that of its listing."""
        script = {"source": "ctx._source.owner = params.by", "params": {"by": FORGOTTEN}}
        for start in range(0, len(flags), FOUND_AT_ONCE):
            await self._search.request(
                "POST",
                f"/{everywhere}/_update_by_query",
                {"query": {"terms": {"owner": flags[start : start + FOUND_AT_ONCE]}}, "script": script},
                {"conflicts": "proceed", "refresh": "true"},
            )

    async def _suspects(self, topic: str, traces: Traces) -> None:
        """Remove suspects of the seller; where a forgotten flag led to another's listing, that keeps no trace of it."""
        last: dict[bytes, Record | None] = {}
        async for message in read_topic(self._kafka, topic):
            key = message.key or b""
            last.pop(key, None)
            if message.value is None or dict(message.headers).get("type") == b"Retraction":
                continue
            try:
                suspect = Suspect.from_bytes(message.value)
            except WireError:
                if traces.mention(_parsed(message.value)):
                    last[key] = Record(topic, key, None)
                continue
            if suspect.seller in traces.sellers or suspect.listing_id in traces.listings:
                traces.listings.add(suspect.listing_id)
                last[key] = Record(topic, key, None)
            elif traces.mention(orjson.loads(message.value)):
                last[key] = Record(topic, key, _without(suspect, traces).to_bytes(), message.headers)
        records = [record for record in last.values() if record is not None]
        await self._publisher.publish(records)
        gone = sum(record.value is None for record in records)
        self._tell(f"{topic}: {gone} suspects removed, {len(records) - gone} rewritten")

    async def _audit(self, topic: str, traces: Traces) -> None:
        """Remove the records of forgotten flags, and their queries from the bank, whatever index they searched."""
        gone: dict[bytes, Record] = {}
        queries: dict[str, set[str]] = {}
        async for message in read_topic(self._kafka, topic):
            if message.value is None:
                gone.pop(message.key or b"", None)
                continue
            value = _parsed(message.value)
            if not isinstance(value, dict) or not traces.mention(value):
                gone.pop(message.key or b"", None)
                continue
            kind = dict(message.headers).get("type")
            if kind == b"FlagResult" and value.get("flag_id") not in traces.flags:
                result = FlagResult.from_bytes(message.value)
                kept = tuple(name for name in result.repeats if name not in traces.listings)
                value = result.model_copy(update={"repeats": kept}).to_bytes()
                gone[message.key] = Record(topic, message.key, value, message.headers)
                continue
            gone[message.key] = Record(topic, message.key, None)
            if kind == b"QueryAudit":
                query = QueryAudit.from_bytes(message.value)
                # Those of whole texts and contacts hold no text in the bank.
                if query.query.source not in {QuerySource.WHOLE_TEXT, QuerySource.CONTACT}:
                    queries.setdefault(query.policy, set()).add(query.query.normalised)
        await self._publisher.publish(list(gone.values()))
        self._tell(f"{topic}: {len(gone)} records removed or rewritten")
        bank, removed = f"{self._settings.search.bank}*", 0
        for policy, words in queries.items():
            removed += await self._search.delete_where(bank, "normalised", sorted(words), {"policy": [policy]})
        self._tell(f"queries: {removed} removed from the bank")

    async def _dead_letters(self, topic: str, traces: Traces) -> None:
        gone: set[bytes] = set()
        async for message in read_topic(self._kafka, topic):
            if message.value is None:
                gone.discard(message.key or b"")
            elif LETTER in (headers := dict(message.headers)) and (
                traces.mention(self._flag(message.value))
                or _raw_mention(message.value, traces)
                or headers.get(KEY, b"").decode("utf-8", "replace") in traces.names
            ):
                gone.add(message.key or b"")
        await self._publisher.publish([Record(topic, key, None) for key in sorted(gone)])
        self._tell(f"{topic}: {len(gone)} dead letters removed")

    def _flag(self, value: bytes | None) -> dict[str, Any]:
        """Return the fields of a flag as far as they are there; a platform's own event is mapped to them."""
        event = _parsed(value)
        if not isinstance(event, dict):
            return {}
        event_map = self._settings.worker.event_map
        return mapped(event, event_map) if event_map else event

    async def _what_stays(self) -> None:
        retention = await retention_of(self._kafka, self._kafka.topics.flags)
        for topic in self._kafka.topics.flags:
            when = "by its retention, which this user may not see"
            if topic in retention:
                hours = retention[topic]
                when = "never by itself: its retention is unlimited" if hours is None else f"after {hours:.0f} hours"
            self._tell(f"not reached: {topic} belongs to the platform; it drops old messages {when}")
        self._tell("not reached: the platform's own index of listings, its logs, and files and topics not named here")
        self._tell("removed records leave the disks of Kafka when it compacts: min.cleanable.dirty.ratio, segment.ms")


def forget_in_file(path: Path, traces: Traces) -> int:
    """Drop the lines of a JSONL file, also of a gzipped one, that mention what is forgotten; return how many."""
    opened: Any = gzip.open if path.suffix == ".gz" else open
    part = path.with_name(path.name + ".part")
    dropped = 0
    try:
        with opened(path, "rb") as lines, opened(part, "wb") as kept:
            for line in lines:
                if _raw_mention(line, traces):
                    dropped += 1
                else:
                    kept.write(line)
    except FileNotFoundError:
        raise ConfigError(f"there is no file {path}", remedy="Name a file of JSON lines") from None
    shutil.copymode(path, part)
    part.replace(path)
    return dropped


def _without(suspect: Suspect, traces: Traces) -> Suspect:
    """Return another's suspect without what it says of the forgotten: its flag, the words of its query, its id."""
    update: dict[str, Any] = {
        "near_duplicates": tuple(name for name in suspect.near_duplicates if name not in traces.listings)
    }
    if suspect.seed.listing_id in traces.listings or suspect.seed.flag_id in traces.flags:
        update["seed"] = suspect.seed.model_copy(update={"listing_id": FORGOTTEN, "flag_id": FORGOTTEN})
        update["also_found_by"] = ()
        update["query"] = suspect.query.model_copy(update={"text": FORGOTTEN, "normalised": FORGOTTEN})
        # The marks say which of its words the query had, and the trace is a hash of the flag's id.
        update["highlights"] = {}
        update["trace_id"] = ""
    return suspect.model_copy(update=update)


def _parsed(value: bytes | None) -> Any:
    try:
        return orjson.loads(value or b"null")
    except orjson.JSONDecodeError:
        return None


def _raw_mention(value: bytes, traces: Traces) -> bool:
    """Whether bytes mention what is forgotten: in a field of their JSON, or as a value where they are no JSON."""
    try:
        return traces.mention(orjson.loads(value))
    except orjson.JSONDecodeError:
        return any(
            f'"{name}"'.encode() in value
            or json.dumps(name).encode() in value
            or (name.isascii() and name.isdigit() and re.search(rb":\s*%b\s*[,}]" % name.encode(), value) is not None)
            for name in traces.names
        )
