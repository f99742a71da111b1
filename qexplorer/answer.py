"""From what the steps found to the records that are delivered: suspects, audit, result, bank."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from qexplorer.bank import BankEntry
from qexplorer.discoveries import Claim, Item
from qexplorer.llm.engine import Reply
from qexplorer.rank import Shown
from qexplorer.steps import Judged, Searched, Seed, Step
from schemas import (
    FlagOutcome,
    FlagResult,
    QueryAudit,
    QueryFate,
    SeedFlag,
    Suspect,
    Versions,
)

MOST_HIGHLIGHTS = 4
MOST_REPEATS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Which run the records belong to: production, or a replay or experiment with its arm; and what answers in it."""

    run_id: str
    arm: str = ""
    release: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """What the records of one flag share; `ms` is the time that its micro-batch took."""

    now: datetime
    versions: Versions
    run: Run
    ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """All that one flag leads to. `refused` says why the flag cannot be answered by any retry."""

    seed: Seed
    suspects: tuple[Suspect, ...]
    claims: tuple[Claim, ...]
    audits: tuple[QueryAudit, ...]
    result: FlagResult
    bank: tuple[BankEntry, ...]
    refused: str = ""


def make_answer(seed: Seed, reply: Reply | None, judged: Judged | None, stamp: Stamp) -> Answer:
    """Return the records of one flag; `judged` is None for a flag that was closed without a search."""
    if judged is None:
        result = _result(seed, reply, None, stamp, outcome=seed.closed or FlagOutcome.EMPTY, reason=seed.reason)
        return Answer(seed=seed, suspects=(), claims=(), audits=(), result=result, bank=())
    finders = _finders(judged)
    pairs = [_suspect(seed, judged, shown, finders, stamp) for shown in judged.merged.shown]
    by_query = dict.fromkeys(judged.searched, 0)
    for shown in judged.merged.shown:
        by_query[shown.query] += 1
    audits = [_audit(seed, judged, step, by_query.get(step.key, 0), stamp) for step in judged.steps]
    outcome = FlagOutcome.SUSPECTS if pairs else FlagOutcome.EMPTY
    refused = [entry.refused for entry in judged.searched.values() if entry.refused]
    return Answer(
        seed=seed,
        suspects=tuple(suspect for _, suspect in pairs),
        claims=tuple(
            Claim(owner=seed.flag.flag_id, item=item, suspect=suspect.to_bytes(), score=suspect.triage_score or 0.0)
            for item, suspect in pairs
        ),
        audits=tuple(audits),
        result=_result(seed, reply, judged, stamp, outcome=outcome, reason="" if pairs else _why_empty(judged)),
        bank=tuple(
            _bank(seed, entry, by_query[key], stamp) for key, entry in judged.searched.items() if not entry.refused
        ),
        refused=refused[0] if refused and len(refused) == len(judged.searched) else "",
    )


def _finders(judged: Judged) -> dict[str, list[str]]:
    """Return for each review key the bank keys of the queries that found it, in their order."""
    finders: dict[str, list[str]] = {}
    for query, hits in judged.scored.items():
        for hit in hits:
            finders.setdefault(hit.review_key, []).append(query)
    return finders


def _suspect(
    seed: Seed, judged: Judged, shown: Shown, finders: Mapping[str, Sequence[str]], stamp: Stamp
) -> tuple[Item, Suspect]:
    entry, hit = judged.searched[shown.query], shown.hit.hit
    item = Item(
        index=seed.policy.index,
        listing_id=hit.listing_id,
        listing_version=hit.version,
        policy=seed.policy.id,
        seller=hit.seller,
        depth=seed.depth + 1,
        mark=shown.mark,
    )
    suspect = Suspect(
        review_key=item.review_key,
        seed=SeedFlag.of(seed.flag),
        listing_id=hit.listing_id,
        listing_version=hit.version,
        index=seed.policy.index,
        seller=hit.seller,
        query=entry.step.candidate.query,
        dsl_hash=entry.dsl_hash,
        highlights={name: parts[:MOST_HIGHLIGHTS] for name, parts in hit.highlights.items()},
        rank=hit.rank,
        search_score=hit.score,
        triage_score=shown.hit.score,
        depth=item.depth,
        versions=stamp.versions,
        trace_id=seed.trace_id,
        run_id=stamp.run.run_id,
        arm=stamp.run.arm,
        position=seed.position,
        found_at=stamp.now,
        also_found_by=tuple(
            judged.searched[name].step.candidate.query.text
            for name in finders[shown.hit.review_key]
            if name != shown.query
        ),
        near_duplicates=shown.near_duplicates,
        policy_priority=seed.policy.priority,
    )
    return item, suspect


def _audit(seed: Seed, judged: Judged, step: Step, suspects: int, stamp: Stamp) -> QueryAudit:
    entry = judged.searched.get(step.key) if step.fate is None else None
    fate, reason = (step.fate, step.reason) if step.fate else _fate(judged, entry, step)
    identity = f"{seed.flag.flag_id}\0{step.candidate.query.id}\0{stamp.run.run_id}"
    return QueryAudit(
        audit_id=hashlib.sha256(identity.encode()).hexdigest()[:32],
        flag_id=seed.flag.flag_id,
        policy=seed.policy.id,
        query=step.candidate.query,
        fate=fate,
        reason=reason,
        dsl_hash=entry.dsl_hash if entry else "",
        hits=entry.total if entry else 0,
        fetched=len(entry.hits) if entry else 0,
        suspects=suspects,
        searches=entry.searches if entry else 0,
        took_ms=entry.took_ms if entry else 0.0,
        completion_tokens=step.candidate.completion_tokens,
        versions=stamp.versions,
        run_id=stamp.run.run_id,
        arm=stamp.run.arm,
        trace_id=seed.trace_id,
        at=stamp.now,
    )


def _fate(judged: Judged, entry: Searched | None, step: Step) -> tuple[QueryFate, str]:
    if entry is None:
        return QueryFate.FAILED, "was not searched"
    if entry.refused:
        return QueryFate.FAILED, entry.refused
    if entry.step.fate is not None:
        return entry.step.fate, entry.step.reason
    if not entry.hits:
        return QueryFate.EMPTY, "finds nothing new since its last run" if step.since else "finds nothing"
    if step.key in judged.chosen:
        return QueryFate.SELECTED, ""
    new = len(judged.scored[step.key])
    if not new:
        return QueryFate.NOT_SELECTED, "all its hits are known"
    return QueryFate.NOT_SELECTED, f"its {new} new hits add nothing to what the other queries found"


def _why_empty(judged: Judged) -> str:
    """Explain an empty answer from the fates of its candidates, the commonest cause first."""
    if not judged.steps:
        return "no candidate could be made of its text"
    if not judged.searched:
        fates = {step.fate for step in judged.steps}
        banked = QueryFate.BANKED in fates
        return "all its queries have run before" if banked else "the guard refused all its candidates"
    if all(not entry.hits for entry in judged.searched.values()):
        return "its queries find nothing"
    if all(not hits for hits in judged.scored.values()):
        return "all that its queries find is known"
    merged = judged.merged
    if merged.repeats:
        return f"what is new repeats known items ({len(merged.repeats)})"
    return "triage would show nothing of what its queries find"


def _result(
    seed: Seed, reply: Reply | None, judged: Judged | None, stamp: Stamp, *, outcome: FlagOutcome, reason: str
) -> FlagResult:
    identity = f"{seed.flag.flag_id}\0{stamp.run.run_id}"
    return FlagResult(
        result_id=hashlib.sha256(identity.encode()).hexdigest()[:32],
        flag_id=seed.flag.flag_id,
        policy=seed.policy.id,
        outcome=outcome,
        reason=reason,
        prompt_tokens=reply.prompt_tokens if reply else 0,
        completion_tokens=reply.completion_tokens if reply else 0,
        ms=stamp.ms,
        position=seed.position,
        versions=stamp.versions,
        run_id=stamp.run.run_id,
        arm=stamp.run.arm,
        trace_id=seed.trace_id,
        at=stamp.now,
        **_counts(judged) if judged is not None else {},
    )


def _counts(judged: Judged) -> dict[str, Any]:
    return {
        "candidates": len(judged.steps),
        "searches": sum(entry.searches for entry in judged.searched.values()),
        "searches_saved": sum(1 for step in judged.steps if step.fate is QueryFate.BANKED),
        "hits": sum(len(entry.hits) for entry in judged.searched.values()),
        "suspects": len(judged.merged.shown),
        "unparseable": judged.proposal.unparseable,
        "repeats": judged.merged.repeats[:MOST_REPEATS],
    }


def _bank(seed: Seed, entry: Searched, suspects: int, stamp: Stamp) -> BankEntry:
    before = entry.step.banked
    return BankEntry(
        key=entry.step.key,
        policy=seed.policy.id,
        normalised=entry.step.candidate.query.normalised,
        source=entry.step.candidate.query.source.value,
        last_run_at=stamp.now,
        runs=(before.runs if before else 0) + 1,
        hits=(before.hits if before else 0) + entry.total,
        suspects=(before.suspects if before else 0) + suspects,
    )
