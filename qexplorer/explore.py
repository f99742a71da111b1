"""The core: from flagged listings and the model's replies to suspects, without Kafka.

One micro-batch goes through the steps in order: `seeds` → `prompts` → (the engine) → `propose` → `plan` →
`search` → `judge`. Each can be called by itself; bank and discoveries are seams, so that an evaluation
brings its own.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from qexplorer.answer import Answer, Run, Stamp, make_answer
from qexplorer.bank import BankEntry, QueryBank, bank_key, due
from qexplorer.candidates import Candidate, Proposal, propose
from qexplorer.clock import Clock
from qexplorer.discoveries import Discoveries, Known, answer_mark, item_key, review_key
from qexplorer.judging import Judging
from qexplorer.limiter import SearchLimiter
from qexplorer.llm.engine import EngineVersion, Prompt, Reply
from qexplorer.llm.prompt import load_template
from qexplorer.near_duplicates import fingerprint
from qexplorer.normalise import VERSION, normalise
from qexplorer.policies import Policy
from qexplorer.prompts import prompt_of
from qexplorer.search.backend import Searcher
from qexplorer.searching import Searching
from qexplorer.settings import ExploreSettings, SearchSettings
from qexplorer.steps import Judged, Searched, Seed, Step
from qexplorer.triage import Triage
from qexplorer.turns import in_turns
from schemas import FlaggedListing, FlagOutcome, Position, QueryFate, Versions


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
        self._clock = clock
        self._settings = settings
        self._search = search
        self._bank = bank
        self._discoveries = discoveries
        self._triage = triage
        self._searching = Searching(
            searcher, clock=clock, limiter=limiter, settings=settings, search=search, discoveries=discoveries
        )
        self._judging = Judging(self._searching, settings=settings, discoveries=discoveries, triage=triage)

    # Before the model

    async def seeds(self, flags: Sequence[tuple[FlaggedListing, Policy, Position | None]], run: Run) -> list[Seed]:
        """Return the seeds of a micro-batch and enter them among the known items.

        Closed at once: withdrawn flags, flags too old for their policy, and items found through so many others
        that following them would feed the loop. Those that the run has answered before are marked so.
        """
        now = self._clock.now()
        lineage, known = await self._before(flags)
        seeds = await in_turns(
            lambda flag: self._seed(*flag, lineage.get(_item_key(*flag[:2]), []), now),
            flags,
            lambda flag: len(flag[0].listing.text),
        )
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
            return FlagOutcome.TOO_OLD, f"the flag is older than {str(policy.max_flag_age).removesuffix(', 0:00:00')}"
        if depth >= self._settings.max_depth:
            return FlagOutcome.TOO_DEEP, f"found through {depth} others"
        return None, ""

    def prompt(self, seed: Seed) -> Prompt:
        """Return the prompt of a seed, personal data removed and the listing fenced."""
        return prompt_of(
            seed.flag, seed.policy, seed.normalised, most_text=self._settings.max_text, triage=self._triage
        )

    # After the model

    def propose(self, seed: Seed, reply: Reply | None) -> Proposal:
        """Return the guarded candidates of a seed in the order in which they deserve a search."""
        # Without a field of hashes a search for a contact could only be refused.
        searchable = self._search.index(seed.policy.index).fields.contacts
        key = self._settings.contact_key.get_secret_value() if searchable else ""
        return propose(
            seed.flag.listing.text[: self._settings.max_text],
            seed.normalised,
            reply,
            contact_key=key.encode(),
            triage=self._triage,
            policy=seed.policy.id,
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
        return await self._searching.search(seeds, plans)

    async def judge(
        self,
        seeds: Sequence[Seed],
        proposals: Sequence[Proposal],
        plans: Sequence[Sequence[Step]],
        searched: Sequence[Sequence[Searched]],
    ) -> list[Judged]:
        """Score the new hits, keep the queries that add to each other, and fold near-duplicates."""
        return await self._judging.judge(seeds, proposals, plans, searched, self._clock.now())

    # All steps

    async def explore(
        self,
        seeds: Sequence[Seed],
        replies: Sequence[Reply | None],
        versions: Sequence[EngineVersion],
        run: Run,
    ) -> list[Answer]:
        """Take the seeds with their replies through all steps; one answer each, in order."""
        proposals = await in_turns(
            lambda pair: self.propose(*pair),
            list(zip(seeds, replies, strict=True)),
            lambda pair: len(pair[0].flag.listing.text),
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
                Stamp(now=now, versions=self._versions(seed, versions[place], run), run=run, ms=ms),
            )
            for place, seed in enumerate(seeds)
        ]

    def _versions(self, seed: Seed, engine: EngineVersion, run: Run) -> Versions:
        return Versions(
            release=run.release,
            model=engine.model,
            adapter=engine.adapter,
            prompt=seed.prompt_version,
            normaliser=VERSION,
            triage=self._triage.version if self._triage is not None else "",
        )


def _item_key(flag: FlaggedListing, policy: Policy) -> str:
    return item_key(policy.index, flag.listing.id, policy.id)
