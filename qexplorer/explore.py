"""The core: from flagged listings and the model's replies to suspects, without Kafka.

One micro-batch goes through the steps in order: `seeds` → `prompts` → (the engine) → `propose` → `plan` →
`search` → `judge`. Each can be called by itself; bank and discoveries are seams, so that an evaluation
brings its own.
"""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from qexplorer.answer import Answer, Run, Stamp, make_answer
from qexplorer.bank import BankEntry, QueryBank, bank_key, due
from qexplorer.candidates import Candidate, Proposal, propose
from qexplorer.clock import Clock
from qexplorer.discoveries import Discoveries, Known, answer_mark, item_key, review_key
from qexplorer.errors import SearchUnavailableError
from qexplorer.limiter import SearchLimiter
from qexplorer.llm.engine import EngineVersion, Prompt, Reply
from qexplorer.llm.prompt import load_template
from qexplorer.near_duplicates import Fingerprint, Group, fingerprint
from qexplorer.normalise import VERSION, normalise
from qexplorer.policies import Policy
from qexplorer.prompts import prompt_of
from qexplorer.rank import Scored, merge, select
from qexplorer.search.backend import Hit, Searcher, SearchKind, SearchProblem, SearchRequest, SearchResult
from qexplorer.search.dsl import TRACKED_HITS
from qexplorer.settings import ExploreSettings, SearchSettings
from qexplorer.steps import Judged, Searched, Seed, Step
from qexplorer.triage import Triage
from schemas import (
    FlaggedListing,
    FlagOutcome,
    Position,
    QueryFate,
    Versions,
)

SEARCH_ATTEMPTS = 3
RETRY_S = 0.5
COUNT_LIFE_S = 300.0


class Explorer:
    """The steps over their collaborators. Without a bank every query runs; without discoveries nothing is known."""

    def __init__(
        self,
        searcher: Searcher,
        *,
        clock: Clock,
        limiter: SearchLimiter,
        settings: ExploreSettings,
        search: SearchSettings,
        bank: QueryBank | None = None,
        discoveries: Discoveries | None = None,
        triage: Triage | None = None,
    ) -> None:
        self._searcher = searcher
        self._clock = clock
        self._limiter = limiter
        self._settings = settings
        self._search = search
        self._bank = bank
        self._discoveries = discoveries
        self._triage = triage
        self._counts: dict[str, tuple[float, int]] = {}

    # Before the model

    async def seeds(self, flags: Sequence[tuple[FlaggedListing, Policy, Position | None]], run: Run) -> list[Seed]:
        """Return the seeds of a micro-batch and enter them among the known items.

        Closed at once: withdrawn flags, flags too old for their policy, and items found through so many others
        that following them would feed the loop. Those that the run has answered before are marked so.
        """
        now = self._clock.now()
        lineage, known = await self._before(flags)
        seeds = [
            self._seed(flag, policy, position, lineage.get(_item_key(flag, policy), []), now)
            for flag, policy, position in flags
        ]
        if self._discoveries is None:
            return seeds
        seeds = [self._with_history(seed, known.get(seed.item.review_key), run) for seed in seeds]
        new = [seed.flagged for seed in seeds if not seed.answered and seed.closed is not FlagOutcome.WITHDRAWN]
        await self._discoveries.flagged(new, now)
        return seeds

    async def _before(
        self, flags: Sequence[tuple[FlaggedListing, Policy, Position | None]]
    ) -> tuple[dict[str, list[Known]], dict[str, Known]]:
        """Return what is known of any version of the listings, and of the flagged version itself."""
        if self._discoveries is None or not flags:
            return {}, {}
        keys = [review_key(policy.index, flag.listing.id, flag.listing.version, policy.id) for flag, policy, _ in flags]
        return await asyncio.gather(
            self._discoveries.versions([_item_key(flag, policy) for flag, policy, _ in flags]),
            self._discoveries.known(keys),
        )

    def _with_history(self, seed: Seed, known: Known | None, run: Run) -> Seed:
        if known is None or seed.closed is FlagOutcome.WITHDRAWN:
            return seed
        answered = answer_mark(run.run_id, seed.flag.flag_id) in known.answered
        return replace(seed, answered=answered, seen_before=True, earlier=known.answered)

    def _seed(
        self,
        flag: FlaggedListing,
        policy: Policy,
        position: Position | None,
        known: Sequence[Known],
        now: datetime,
    ) -> Seed:
        # A listing that was found keeps its depth when it is flagged; one that was flagged first has depth 0.
        depth = max((item.depth for item in known), default=0)
        normalised = normalise(flag.listing.text[: self._settings.max_text])
        closed, reason = self._closed(flag, policy, depth, now)
        return Seed(
            flag=flag,
            policy=policy,
            normalised=normalised,
            mark=fingerprint(normalised),
            depth=depth,
            prompt_version=load_template(policy.prompt).version,
            trace_id=hashlib.sha256(flag.flag_id.encode()).hexdigest()[:16],
            position=position,
            closed=closed,
            reason=reason,
        )

    def _closed(
        self, flag: FlaggedListing, policy: Policy, depth: int, now: datetime
    ) -> tuple[FlagOutcome | None, str]:
        if flag.withdrawn_at is not None:
            return FlagOutcome.WITHDRAWN, "the flag was withdrawn"
        if now - flag.flagged_at > policy.max_flag_age:
            return FlagOutcome.TOO_OLD, f"the flag is older than {policy.max_flag_age.days} days"
        if depth >= self._settings.max_depth:
            return FlagOutcome.TOO_DEEP, f"found through {depth} others"
        return None, ""

    def prompts(self, seeds: Sequence[Seed]) -> list[Prompt]:
        """Return one prompt for each seed, personal data removed and the listing fenced."""
        return [prompt_of(seed.flag, seed.policy, most_text=self._settings.max_text) for seed in seeds]

    # After the model

    def propose(self, seed: Seed, reply: Reply | None) -> Proposal:
        """Return the guarded candidates of a seed in the order in which they deserve a search."""
        triage = self._triage
        # Without a field of hashes a search for a contact could only be refused.
        searchable = self._search.index(seed.policy.index).fields.contacts
        key = self._settings.contact_key.get_secret_value() if searchable else ""
        return propose(
            seed.flag.listing.text[: self._settings.max_text],
            seed.normalised,
            reply,
            contact_key=key.encode(),
            weigh=triage.weigh if triage is not None else None,
        )

    async def plan(self, seeds: Sequence[Seed], proposals: Sequence[Proposal]) -> list[list[Step]]:
        """Decide which candidates run: not the refused, not what the bank has, no more than the budget.

        A query that two seeds of the batch propose runs for the first of them.
        """
        now = self._clock.now()
        keys = [
            [bank_key(seed.policy.id, seed.policy.index, c.kind, c.normalised) for c in proposal.candidates]
            for seed, proposal in zip(seeds, proposals, strict=True)
        ]
        bank = await self._bank.read([key for row in keys for key in row]) if self._bank else {}
        taken: set[str] = set()
        plans: list[list[Step]] = []
        for proposal, row in zip(proposals, keys, strict=True):
            left = self._search.max_per_seed
            steps: list[Step] = []
            for candidate, key in zip(proposal.candidates, row, strict=True):
                step = self._step(candidate, key, bank.get(key), now, left=left, repeated=key in taken)
                if step.fate is None:
                    left -= 1
                    taken.add(key)
                steps.append(step)
            plans.append(steps)
        return plans

    def _step(
        self,
        candidate: Candidate,
        key: str,
        entry: BankEntry | None,
        now: datetime,
        *,
        left: int,
        repeated: bool,
    ) -> Step:
        if candidate.refused:
            return Step(candidate=candidate, key=key, fate=QueryFate.REJECTED, reason=candidate.refused)
        if repeated:
            reason = "runs for another flag of the batch"
            return Step(candidate=candidate, key=key, fate=QueryFate.BANKED, reason=reason)
        if entry is not None and not due(entry, now, self._settings.bank_interval_s):
            reason = f"ran at {entry.last_run_at.isoformat(timespec='seconds')}"
            return Step(candidate=candidate, key=key, fate=QueryFate.BANKED, reason=reason, banked=entry)
        if left <= 0:
            reason = f"the flag's {self._search.max_per_seed} searches are spent"
            return Step(candidate=candidate, key=key, fate=QueryFate.OVER_BUDGET, reason=reason)
        since = entry.last_run_at - timedelta(seconds=self._settings.overlap_s) if entry else None
        return Step(candidate=candidate, key=key, since=since, banked=entry)

    async def search(self, seeds: Sequence[Seed], plans: Sequence[Sequence[Step]]) -> list[list[Searched]]:
        """Run all planned searches of the batch together, then further pages where little is new.

        Raises SearchUnavailableError when a search still gets no whole answer after three attempts.
        """
        jobs = [(place, step) for place, steps in enumerate(plans) for step in steps if step.fate is None]
        requests = [self._request(seeds[place], step) for place, step in jobs]
        results = await self._run(requests)
        done: list[list[Searched]] = [[] for _ in seeds]
        for (place, step), result in zip(jobs, results, strict=True):
            done[place].append(await self._searched(seeds[place].policy, step, result))
        await self._more_pages(seeds, done)
        return done

    def _request(self, seed: Seed, step: Step) -> SearchRequest:
        return SearchRequest(
            index=seed.policy.index,
            kind=step.candidate.kind,
            text=step.candidate.text,
            normalised=step.candidate.normalised,
            exclude=(seed.flag.listing.id,),
            locales=seed.policy.locales,
            since=step.since,
            size=self._search.hits,
        )

    async def _run(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        results: dict[int, SearchResult] = {}
        for attempt in range(SEARCH_ATTEMPTS):
            todo = [place for place in range(len(requests)) if place not in results]
            if not todo:
                break
            if attempt:
                self._limiter.back_off()
                await self._clock.sleep(RETRY_S * 2**attempt)
            await self._limiter.take(len(todo))
            try:
                answers = await self._searcher.search([requests[place] for place in todo])
            except SearchUnavailableError:
                self._limiter.back_off()
                raise
            reason = ""
            for place, result in zip(todo, answers, strict=True):
                if result.problem is SearchProblem.UNAVAILABLE:
                    reason = result.reason
                    continue
                results[place] = result
                if result.took_ms > self._search.slow_ms:
                    self._limiter.back_off()
        if len(results) < len(requests):
            raise SearchUnavailableError(
                f"{len(requests) - len(results)} of {len(requests)} searches got no whole answer: {reason}",
                remedy="It is tried again until the search answers",
            )
        return [results[place] for place in range(len(requests))]

    async def _searched(self, policy: Policy, step: Step, result: SearchResult) -> Searched:
        refused = result.reason or "refused" if result.problem is SearchProblem.REFUSED else ""
        hits = result.hits
        cap = min(
            TRACKED_HITS,
            max(self._search.min_share_hits, self._search.max_share * await self._size(policy.index)),
        )
        # A text match ranks, it does not filter: its long tail says nothing of it.
        if not refused and step.candidate.query.source != "whole_text" and result.total >= cap:
            step = replace(step, fate=QueryFate.REJECTED, reason=f"matches {result.total} listings: too broad")
            hits = ()
        return Searched(
            step=step,
            hits=hits,
            total=result.total,
            took_ms=result.took_ms,
            searches=1,
            dsl_hash=result.dsl_hash,
            refused=refused,
        )

    async def _size(self, index: str) -> int:
        now = self._clock.monotonic()
        kept = self._counts.get(index)
        if kept is None or now - kept[0] > COUNT_LIFE_S:
            kept = (now, await self._searcher.count(index))
            self._counts[index] = kept
        return kept[1]

    async def _more_pages(self, seeds: Sequence[Seed], done: list[list[Searched]]) -> None:
        """Read up to `pages` further pages of the searches that gave little new, within each seed's budget."""
        for page in range(1, self._settings.pages + 1):
            full = page * self._search.hits
            if not any(len(searched.hits) == full for row in done for searched in row):
                return
            known = await self._known(seeds, done)
            now = self._clock.now()
            jobs: list[tuple[int, int]] = []
            for place, row in enumerate(done):
                left = self._search.max_per_seed - sum(searched.searches for searched in row)
                thin = [
                    at
                    for at, searched in enumerate(row)
                    if len(searched.hits) == full
                    and self._new(seeds[place].policy, searched.hits, known, now) < self._settings.few_hits
                ]
                jobs += [(place, at) for at in thin[: max(0, left)]]
            if not jobs:
                return
            requests = [
                replace(self._request(seeds[place], done[place][at].step), after=done[place][at].hits[-1].sort)
                for place, at in jobs
            ]
            for (place, at), result in zip(jobs, await self._run(requests), strict=True):
                before = done[place][at]
                first = len(before.hits) + 1
                more = tuple(replace(hit, rank=rank) for rank, hit in enumerate(result.hits, start=first))
                done[place][at] = replace(
                    before,
                    hits=before.hits + more,
                    took_ms=before.took_ms + result.took_ms,
                    searches=before.searches + 1,
                )

    async def _known(self, seeds: Sequence[Seed], done: Sequence[Sequence[Searched]]) -> dict[str, Known]:
        if self._discoveries is None:
            return {}
        keys = {
            _hit_key(seed.policy, hit)
            for seed, row in zip(seeds, done, strict=True)
            for searched in row
            for hit in searched.hits
        }
        return await self._discoveries.known(sorted(keys))

    def _new(self, policy: Policy, hits: Sequence[Hit], known: Mapping[str, Known], now: datetime) -> int:
        return sum(1 for hit in hits if not self._held(known.get(_hit_key(policy, hit)), now))

    def _held(self, known: Known | None, now: datetime) -> bool:
        """Whether an item is taken: flagged, published, or about to be published by its owner."""
        return known is not None and not known.free(now, self._settings.claim_timeout_s)

    async def judge(
        self,
        seeds: Sequence[Seed],
        proposals: Sequence[Proposal],
        plans: Sequence[Sequence[Step]],
        searched: Sequence[Sequence[Searched]],
    ) -> list[Judged]:
        """Score the new hits, keep the queries that add to each other, and fold near-duplicates."""
        now = self._clock.now()
        known = await self._known(seeds, searched)
        fresh = [
            [
                (
                    row_searched,
                    [hit for hit in row_searched.hits if not self._held(known.get(_hit_key(seed.policy, hit)), now)],
                )
                for row_searched in row
            ]
            for seed, row in zip(seeds, searched, strict=True)
        ]
        scored = await asyncio.to_thread(self._score, seeds, fresh)
        chosen = [
            select(queries, seed.policy.triage_threshold, last=_text_matches(row))
            for seed, row, queries in zip(seeds, searched, scored, strict=True)
        ]
        marks = await asyncio.to_thread(_marks, seeds, scored, chosen)
        groups = await self._groups(seeds, marks, now)
        return [
            Judged(
                proposal=proposal,
                steps=tuple(steps),
                searched={entry.step.key: entry for entry in row},
                scored=queries,
                chosen=tuple(names),
                merged=merge(
                    [(name, queries[name]) for name in names],
                    groups[seed.policy.id],
                    marks,
                    threshold=seed.policy.triage_threshold,
                    cap=seed.policy.cap_per_seed,
                ),
            )
            for seed, proposal, steps, row, queries, names in zip(
                seeds, proposals, plans, searched, scored, chosen, strict=True
            )
        ]

    def _score(
        self, seeds: Sequence[Seed], fresh: Sequence[Sequence[tuple[Searched, list[Hit]]]]
    ) -> list[dict[str, list[Scored]]]:
        """Score every distinct hit of the batch once."""
        hits = {
            _hit_key(seed.policy, hit): hit
            for seed, row in zip(seeds, fresh, strict=True)
            for _, found in row
            for hit in found
        }
        texts = {key: normalise(hit.text[: self._settings.max_text]) for key, hit in hits.items()}
        scores: dict[str, float] = {}
        if self._triage is not None:
            scores = dict(zip(texts, self._triage.score(list(texts.values())), strict=True))
        return [
            {
                entry.step.key: [
                    Scored(hit=hit, review_key=key, normalised=texts[key], score=scores.get(key))
                    for hit in found
                    for key in (_hit_key(seed.policy, hit),)
                ]
                for entry, found in row
            }
            for seed, row in zip(seeds, fresh, strict=True)
        ]

    async def _groups(self, seeds: Sequence[Seed], marks: Mapping[str, Fingerprint], now: datetime) -> dict[str, Group]:
        """Return for each policy what its hits must not repeat: the batch's seeds and the known items like them."""
        groups: dict[str, Group] = {}
        for seed in seeds:
            group = groups.setdefault(seed.policy.id, Group(self._settings.near_duplicate))
            group.add(seed.item.review_key, seed.mark.hashes, seed.mark.bands)
        if self._discoveries is not None and marks:
            bands = {band for mark in marks.values() for band in mark.bands}
            for known in await self._discoveries.alike(sorted(bands)):
                if known.policy in groups and self._held(known, now):
                    groups[known.policy].add(known.review_key, known.hashes, bands.intersection(known.bands))
        return groups

    # All steps

    async def explore(
        self,
        seeds: Sequence[Seed],
        replies: Sequence[Reply | None],
        versions: Sequence[EngineVersion],
        run: Run,
    ) -> list[Answer]:
        """Take the seeds with their replies through all steps; one answer each, in order."""
        proposals = await asyncio.to_thread(
            lambda: [self.propose(seed, reply) for seed, reply in zip(seeds, replies, strict=True)]
        )
        return await self.answer(seeds, replies, versions, run, proposals)

    async def answer(
        self,
        seeds: Sequence[Seed],
        replies: Sequence[Reply | None],
        versions: Sequence[EngineVersion],
        run: Run,
        proposals: Sequence[Proposal],
    ) -> list[Answer]:
        """Take given proposals through the steps behind `propose`; closed seeds are answered without a search."""
        started = self._clock.monotonic()
        places = [place for place, seed in enumerate(seeds) if seed.closed is None]
        todo, proposed = [seeds[place] for place in places], [proposals[place] for place in places]
        plans = await self.plan(todo, proposed)
        searched = await self.search(todo, plans)
        judged = dict(zip(places, await self.judge(todo, proposed, plans, searched), strict=True))
        ms = (self._clock.monotonic() - started) * 1000
        now = self._clock.now()
        return [
            make_answer(
                seed,
                replies[place],
                judged.get(place),
                Stamp(now=now, versions=self._versions(seed, versions[place]), run=run, ms=ms),
            )
            for place, seed in enumerate(seeds)
        ]

    def _versions(self, seed: Seed, engine: EngineVersion) -> Versions:
        return Versions(
            model=engine.model,
            adapter=engine.adapter,
            prompt=seed.prompt_version,
            normaliser=VERSION,
            triage=self._triage.version if self._triage is not None else "",
        )


def _item_key(flag: FlaggedListing, policy: Policy) -> str:
    return item_key(policy.index, flag.listing.id, policy.id)


def _hit_key(policy: Policy, hit: Hit) -> str:
    return review_key(policy.index, hit.listing_id, hit.version, policy.id)


def _text_matches(row: Sequence[Searched]) -> frozenset[str]:
    return frozenset(entry.step.key for entry in row if entry.step.candidate.kind is SearchKind.WHOLE_TEXT)


def _marks(
    seeds: Sequence[Seed], scored: Sequence[Mapping[str, Sequence[Scored]]], chosen: Sequence[Sequence[str]]
) -> dict[str, Fingerprint]:
    """Return the fingerprints of the hits that could be shown, by review key."""
    return {
        hit.review_key: fingerprint(hit.normalised)
        for seed, queries, names in zip(seeds, scored, chosen, strict=True)
        for name in names
        for hit in queries[name]
        if hit.shown(seed.policy.triage_threshold)
    }
