"""Discoveries: every item that is known, so that one item is reviewed once.

States of an item, kept under its review key:

    (new) ──claim──▶ pending ──published──▶ published ──retract──▶ retracted ──claim──▶ pending …
      └────flagged───▶ flagged ◀──flagged──────┘
    pending ──hold──▶ held ──free──▶ published

A held item waits for the hour's cap of its policy.
The owner of a pending item is the flag that claimed it. A worker that dies between claim and publication
leaves a pending item: its own retry publishes it again, and anyone else may once `claim_timeout` has passed.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Any

from qexplorer.near_duplicates import Fingerprint
from qexplorer.search.backend import Document, DocumentStore, WriteMode

# What OpenSearch gives at once unless it is set otherwise.
FOUND_AT_ONCE = 10_000
# Of 24 bands: texts of Jaccard 0.7 share two or more with probability 0.988, of 0.8 always, of 0.3 in one case of 60.
SHARED_BANDS = 2
MOST_ALIKE = 10
MOST_ANSWERED = 50


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class State(StrEnum):
    """What is known of an item."""

    FLAGGED = "flagged"
    PENDING = "pending"
    HELD = "held"
    PUBLISHED = "published"
    RETRACTED = "retracted"


UNPUBLISHED = (State.PENDING, State.HELD)


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A listing in one content version under one policy, with the fingerprint of its text."""

    index: str
    listing_id: str
    listing_version: str
    policy: str
    seller: str
    depth: int
    mark: Fingerprint

    @property
    def review_key(self) -> str:
        """The identity under which it is reviewed once, whatever the seed, retry or model."""
        return review_key(self.index, self.listing_id, self.listing_version, self.policy)


@lru_cache(maxsize=8192)
def review_key(index: str, listing_id: str, listing_version: str, policy: str) -> str:
    """Return the hash of index, listing id, content version and policy: 32 hex digits."""
    return hashlib.sha256("\0".join((index, listing_id, listing_version, policy)).encode()).hexdigest()[:32]


@lru_cache(maxsize=8192)
def item_key(index: str, listing_id: str, policy: str) -> str:
    """Return what the versions of a listing share, by which lineage is looked up."""
    return hashlib.sha256("\0".join((index, listing_id, policy)).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known under one review key."""

    review_key: str
    state: State
    owner: str
    depth: int
    at: datetime
    hashes: frozenset[int]
    bands: tuple[str, ...]
    item: str
    policy: str
    answered: tuple[str, ...] = ()

    def free(self, now: datetime, timeout_s: float) -> bool:
        """Whether another flag may claim it: its owner died before publishing, or it was retracted."""
        expired = self.state is State.PENDING and now - self.at >= timedelta(seconds=timeout_s)
        return expired or self.state is State.RETRACTED


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a flag wants to publish: the item, the suspect record as it will be sent, and how likely it is wanted."""

    owner: str
    item: Item
    suspect: bytes
    score: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Flagged:
    """A consumed flag with its listing, and the marks of answers that flags of the listing have had before."""

    flag_id: str
    item: Item
    answered: tuple[str, ...] = ()


class Discoveries:
    """The known items in an index of their own, shared by all replicas."""

    def __init__(self, store: DocumentStore, index: str) -> None:
        self._store = store
        self._index = index
        self._announced: dict[str, tuple[Claim, Known]] = {}

    def announce(self, claims: Sequence[Claim], now: datetime) -> None:
        """Let this process see, as pending, items that it is about to claim."""
        self._announced |= {claim.item.review_key: (claim, _announced(claim, now)) for claim in claims}

    def withdraw(self, claims: Sequence[Claim]) -> None:
        """Forget announced claims, unless later ones have taken their place."""
        for claim in claims:
            key = claim.item.review_key
            if key in self._announced and self._announced[key][0] is claim:
                del self._announced[key]

    async def known(self, keys: Sequence[str]) -> dict[str, Known]:
        """Return what is known, or announced, under the review keys."""
        if not keys:
            return {}
        found = {key: _known(doc) for key, doc in (await self._store.get(self._index, keys)).items()}
        for key in keys:
            if key in self._announced and (key not in found or found[key].state in {State.PENDING, State.RETRACTED}):
                found[key] = self._announced[key][1]
        return found

    async def versions(self, items: Sequence[str]) -> dict[str, list[Known]]:
        """Return what is known of any version of the listings, by item key."""
        found: dict[str, list[Known]] = {}
        for document in await self._store.find(self._index, "item", list(dict.fromkeys(items)), FOUND_AT_ONCE):
            known = _known(document)
            found.setdefault(known.item, []).append(known)
        return found

    async def alike(self, policy: str, marks: Sequence[Fingerprint]) -> list[Known]:
        """Return the known items of a policy that are most like each of the fingerprints: maybe near-duplicates.

        For each on its own: what all of them together share a band with are soon tens of thousands.
        """
        rows = [mark.bands for mark in marks if mark.bands]
        found = await self._store.sharing(
            self._index, "bands", rows, MOST_ALIKE, least=SHARED_BANDS, matching={"policy": policy}
        )
        known = {document.id: _known(document) for row in found for document in row}
        wanted = {band for row in rows for band in row}
        announced = [each for _, each in self._announced.values() if each.policy == policy]
        return [*known.values(), *(each for each in announced if not wanted.isdisjoint(each.bands))]

    async def pending(self, owners: Sequence[str]) -> dict[str, list[bytes]]:
        """Return the suspects that the flags claimed and never published, by flag.

        Another run of a flag can ask other queries, so what it had claimed is published from here.
        """
        claimed = {"state": State.PENDING.value}
        found = await self._store.find(self._index, "owner", list(owners), FOUND_AT_ONCE, matching=claimed)
        keys = [document.id for document in found]
        left: dict[str, list[bytes]] = {}
        for document in (await self._store.get(self._index, keys)).values() if keys else ():
            if document.source["state"] == State.PENDING:
                left.setdefault(document.source["owner"], []).append(document.source["suspect"].encode())
        return left

    async def flagged(self, flags: Sequence[Flagged], now: datetime) -> None:
        """Enter consumed flags as known items, with the marks of those that have been answered before."""
        documents = {
            flag.item.review_key: Document(
                id=flag.item.review_key,
                source={**_source(flag.item, State.FLAGGED, flag.flag_id, now), "answered": list(flag.answered)},
            )
            for flag in flags
        }
        if documents:
            await self._store.write(self._index, list(documents.values()), WriteMode.REPLACE)

    async def answered(self, flags: Sequence[Flagged], run_id: str, now: datetime) -> None:
        """Remember that the run has answered the flags and that all of it is delivered.

        A flag is read again when its worker died right before the acknowledgement. Of two replicas that answer flags
        of one listing at the same moment the last writes: at worst the other's flag is answered twice.
        """
        marks: dict[str, list[str]] = {}
        for flag in flags:
            marks.setdefault(flag.item.review_key, list(flag.answered)).append(answer_mark(run_id, flag.flag_id))
        await self.flagged(
            [replace(flag, answered=tuple(marks[flag.item.review_key][-MOST_ANSWERED:])) for flag in flags], now
        )

    async def claim(self, claims: Sequence[Claim], now: datetime, timeout_s: float) -> set[str]:
        """Claim items and return the review keys that their owners may publish.

        A key is refused when another flag has published it, holds it, or the platform has flagged it.
        """
        items = {claim.item.review_key: claim for claim in claims}
        documents = [Document(id=key, source=_pending(claim, now)) for key, claim in items.items()]
        if not documents:
            return set()
        conflicts = await self._store.write(self._index, documents, WriteMode.CREATE)
        granted = set(items) - conflicts
        if not conflicts:
            return granted
        held = await self._store.get(self._index, sorted(conflicts))
        over: list[Document] = []
        for key, document in held.items():
            claim, known = items[key], _known(document)
            if known.state is State.PENDING and known.owner == claim.owner:
                granted.add(key)
            elif known.free(now, timeout_s):
                source = _pending(claim, now)
                over.append(Document(id=key, source=source, seq_no=document.seq_no, primary_term=document.primary_term))
        if over:
            lost = await self._store.write(self._index, over, WriteMode.REPLACE)
            granted |= {document.id for document in over} - lost
        return granted

    async def published(self, claims: Sequence[Claim], now: datetime) -> None:
        """Mark claimed items as published."""
        documents = [
            Document(id=claim.item.review_key, source=_source(claim.item, State.PUBLISHED, claim.owner, now))
            for claim in claims
        ]
        if documents:
            await self._store.write(self._index, documents, WriteMode.REPLACE)

    async def hold(self, claims: Sequence[Claim], now: datetime) -> None:
        """Keep claimed items for later, with their records."""
        documents = [
            Document(
                id=claim.item.review_key,
                source={**_pending(claim, now), "state": State.HELD.value, "score": claim.score},
            )
            for claim in claims
        ]
        if documents:
            await self._store.write(self._index, documents, WriteMode.REPLACE)

    async def held(self, policy: str, most: int) -> list[str]:
        """Return at most so many review keys of a policy's held items, the most likely first."""
        return await self._in(State.HELD, policy, most)

    async def _in(self, state: State, policy: str, most: int) -> list[str]:
        most, matching = min(most, FOUND_AT_ONCE), {"policy": policy}
        found = await self._store.find(self._index, "state", [state.value], most, matching=matching, best_by="score")
        return [document.id for document in found]

    async def held_count(self, policy: str = "") -> int:
        """Return how many items of a policy are held, or of all of them."""
        matching = {"state": State.HELD.value, **({"policy": policy} if policy else {})}
        return await self._store.count_since(self._index, matching, EPOCH)

    async def unpublished(self, policy: str) -> dict[str, bytes]:
        """Return the records of a policy's claimed and held items, by review key: the first `FOUND_AT_ONCE` of each."""
        keys = [key for state in UNPUBLISHED for key in await self._in(state, policy, FOUND_AT_ONCE)]
        return await self._records(keys, UNPUBLISHED)

    async def held_records(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Return the records of those that are still held, by review key."""
        return await self._records(keys, (State.HELD,))

    async def _records(self, keys: Sequence[str], states: Sequence[State]) -> dict[str, bytes]:
        documents = await self._store.get(self._index, keys)
        return {
            key: document.source["suspect"].encode()
            for key, document in documents.items()
            if document.source["state"] in states
        }

    async def published_since(self, policy: str, since: datetime) -> int:
        """Return how many items of a policy were published from then on; those of the last second may be missing."""
        return await self._store.count_since(self._index, {"policy": policy, "state": State.PUBLISHED.value}, since)

    async def resumed(self, keys: Sequence[str], now: datetime) -> None:
        """Mark items as published that were claimed or held before."""
        held = await self._store.get(self._index, keys)
        documents = [
            Document(
                id=key,
                source={
                    **{name: value for name, value in document.source.items() if name != "suspect"},
                    "state": State.PUBLISHED.value,
                    "at": now.isoformat(),
                },
                seq_no=document.seq_no,
                primary_term=document.primary_term,
            )
            for key, document in held.items()
            if document.source["state"] in UNPUBLISHED
        ]
        if documents:
            await self._store.write(self._index, documents, WriteMode.REPLACE)

    async def retract(self, keys: Sequence[str], now: datetime) -> list[str]:
        """Mark published items as retracted and return their keys; they may be published again."""
        held = await self._store.get(self._index, keys)
        documents = [
            Document(
                id=key,
                source={**document.source, "state": State.RETRACTED.value, "at": now.isoformat()},
                seq_no=document.seq_no,
                primary_term=document.primary_term,
            )
            for key, document in held.items()
            if document.source["state"] in {State.PUBLISHED, *UNPUBLISHED}
        ]
        if documents:
            lost = await self._store.write(self._index, documents, WriteMode.REPLACE)
            return [document.id for document in documents if document.id not in lost]
        return []


def answer_mark(run_id: str, flag: str) -> str:
    """Return what stands in `answered` of a flagged item for one run's answer to one flag."""
    return f"{run_id}:{flag}"


def _announced(claim: Claim, now: datetime) -> Known:
    item = claim.item
    return Known(
        review_key=item.review_key,
        state=State.PENDING,
        owner=claim.owner,
        depth=item.depth,
        at=now,
        hashes=item.mark.hashes,
        bands=item.mark.bands,
        item=item_key(item.index, item.listing_id, item.policy),
        policy=item.policy,
    )


def _pending(claim: Claim, now: datetime) -> dict[str, Any]:
    return {**_source(claim.item, State.PENDING, claim.owner, now), "suspect": claim.suspect.decode()}


def _source(item: Item, state: State, owner: str, now: datetime) -> dict[str, Any]:
    return {
        "item": item_key(item.index, item.listing_id, item.policy),
        "index": item.index,
        "listing_id": item.listing_id,
        "listing_version": item.listing_version,
        "policy": item.policy,
        "seller": item.seller,
        "state": state.value,
        "owner": owner,
        "depth": item.depth,
        "bands": list(item.mark.bands),
        "hashes": sorted(item.mark.hashes),
        "at": now.isoformat(),
    }


def _known(document: Document) -> Known:
    source = document.source
    return Known(
        review_key=document.id,
        state=State(source["state"]),
        owner=source["owner"],
        depth=int(source["depth"]),
        at=datetime.fromisoformat(source["at"]),
        hashes=frozenset(source["hashes"]),
        bands=tuple(source["bands"]),
        item=source["item"],
        policy=source["policy"],
        answered=tuple(source.get("answered", ())),
    )
