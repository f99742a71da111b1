"""The two writes of a suspect, and the order in which an answer is delivered.

claim in `discoveries` → publish to `suspect-items` → mark published → audit and result → bank, and the flag's mark.
What is above the hour's cap of its policy is held in `discoveries` instead of published, and comes later (`Caps`).
A crash between any two steps leaves a pending claim that the flag's own retry publishes again; nothing is banked before
it is delivered, and a flag that is read again behind its last mark is only acknowledged.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Container, Mapping, Sequence
from datetime import datetime, timedelta

from qexplorer.answer import Answer
from qexplorer.bank import QueryBank
from qexplorer.clock import Clock
from qexplorer.discoveries import Claim, Discoveries, State
from qexplorer.policies import Policy
from qexplorer.settings import Topics
from qexplorer.steps import Seed
from schemas import FlagOutcome, FlagResult, Suspect
from worker.kafka import Publisher, Record

# Every ten seconds.
FREED_AT_ONCE = 1_000


class Delivery:
    """Delivers answers at least once, under identities that let a reader drop repeats."""

    def __init__(
        self,
        publisher: Publisher,
        discoveries: Discoveries,
        bank: QueryBank,
        *,
        topics: Topics,
        clock: Clock,
        claim_timeout_s: float,
    ) -> None:
        self._caps = Caps(discoveries, clock)
        self._publisher = publisher
        self._discoveries = discoveries
        self._bank = bank
        self._topics = topics
        self._clock = clock
        self._claim_timeout_s = claim_timeout_s

    def announce(self, answers: Sequence[Answer]) -> None:
        """Let this process see what the answers claim and bank before that is written."""
        self._discoveries.announce([claim for answer in answers for claim in answer.claims], self._clock.now())
        self._bank.announce([entry for answer in answers for entry in answer.bank])

    def withdraw(self, answers: Sequence[Answer]) -> None:
        """Forget what was announced: it has been written, or never will be."""
        self._discoveries.withdraw([claim for answer in answers for claim in answer.claims])
        self._bank.withdraw([entry for answer in answers for entry in answer.bank])

    async def resume(self, seeds: Sequence[Seed]) -> dict[str, set[str]]:
        """Publish what earlier attempts of the flags had claimed and not published; return its keys by flag."""
        again = [seed.flag.flag_id for seed in seeds if seed.seen_before]
        if not again:
            return {}
        left = {
            flag: [Suspect.from_bytes(record) for record in records]
            for flag, records in (await self._discoveries.pending(again)).items()
        }
        suspects = {suspect.review_key: suspect for row in left.values() for suspect in row}
        if suspects:
            await self._publisher.publish([self._record(key, each.to_bytes()) for key, each in suspects.items()])
            await self._discoveries.resumed(list(suspects), self._clock.now())
        return {flag: {suspect.review_key for suspect in row} for flag, row in left.items()}

    async def deliver(self, answers: Sequence[Answer], resumed: Mapping[str, set[str]]) -> list[FlagResult]:
        """Deliver the answers of a batch, all of one step before the next; return the results as sent."""
        claims = {claim.item.review_key: claim for answer in answers for claim in answer.claims}
        granted = await self._discoveries.claim(list(claims.values()), self._clock.now(), self._claim_timeout_s)
        before = await self._before(claims, granted)
        mine = [{c.item.review_key for c in answer.claims} & (granted | before.keys()) for answer in answers]
        # A suspect is sent as its claim holds it, so that a retry after a crash sends the same bytes.
        ready = [claim for key, claim in claims.items() if key in granted]
        held = await self._caps.over(ready, {a.seed.policy.id: a.seed.policy.cap_per_hour for a in answers})
        await self._discoveries.hold([claim for claim in ready if claim.item.review_key in held], self._clock.now())
        sent = [claim for claim in ready if claim.item.review_key not in held]
        if sent:
            await self._publisher.publish([self._record(claim.item.review_key, claim.suspect) for claim in sent])
            await self._discoveries.published(sent, self._clock.now())
            self._caps.note(sent)
        held |= {key for key, state in before.items() if state is State.HELD}
        results = [
            _counted(answer.result, keys, held, resumed.get(answer.seed.flag.flag_id, set()))
            for answer, keys in zip(answers, mine, strict=True)
        ]
        records = [
            Record(self._topics.audit, key.encode(), record.to_bytes(), (("type", kind),))
            for kind, group in (
                (b"QueryAudit", [(audit.audit_id, audit) for answer in answers for audit in answer.audits]),
                (b"FlagResult", [(result.result_id, result) for result in results]),
            )
            for key, record in group
        ]
        await self._publisher.publish(records)
        done = [answer.seed.flagged for answer in answers if answer.result.outcome is not FlagOutcome.WITHDRAWN]
        await asyncio.gather(
            self._bank.write([entry for answer in answers for entry in answer.bank]),
            self._discoveries.answered(done, results[0].run_id if results else "", self._clock.now()),
        )
        return results

    async def _before(self, claims: Mapping[str, Claim], granted: set[str]) -> dict[str, State]:
        """Return the state of what the same flags have published or held before: this is delivered once more.

        They died, or the audit could not be written, right behind that.
        """
        known = await self._discoveries.known([key for key in claims if key not in granted])
        own = {key: each.state for key, each in known.items() if each.owner == claims[key].owner}
        return {key: state for key, state in own.items() if state in {State.PUBLISHED, State.HELD}}

    async def free(
        self, policies: Sequence[Policy], published: Callable[[str, int], None] = lambda _policy, _count: None
    ) -> dict[str, int]:
        """Publish held suspects as far as the caps allow now, the best first; return how many are left by policy.

        `published` is told of each policy how many of its suspects are out now.

        Those of policies that are gone, or not known here yet, wait for them, and are counted under "". Two workers
        that do it at the same moment send a suspect twice under the same key.
        """
        counts = {policy.id: await self._discoveries.held_count(policy.id) for policy in policies}
        left = {"": max(0, await self._discoveries.held_count() - sum(counts.values()))}
        for policy in policies:
            left[policy.id] = counts[policy.id]
            if counts[policy.id] and (room := await self._caps.room(policy.id, policy.cap_per_hour)) != 0:
                freed = await self._free(policy.id, FREED_AT_ONCE if room is None else room)
                published(policy.id, freed)
                left[policy.id] -= freed
        return {policy: count for policy, count in left.items() if count > 0}

    async def _free(self, policy: str, room: int) -> int:
        keys = await self._discoveries.held(policy, min(room, FREED_AT_ONCE))
        # What was freed a moment ago may still be found.
        records = await self._discoveries.held_records(keys)
        if records:
            await self._publisher.publish([self._record(key, record) for key, record in records.items()])
            await self._discoveries.resumed(list(records), self._clock.now())
            self._caps.count(policy, len(records))
        return len(records)

    def _record(self, key: str, suspect: bytes) -> Record:
        return Record(self._topics.suspects, key.encode(), suspect, (("type", b"Suspect"),))


class Caps:
    """How many suspects a policy may still publish in this hour.

    The memory of the fleet says so, but does not show this worker's last moments yet: the greater count holds.
    """

    def __init__(self, discoveries: Discoveries, clock: Clock) -> None:
        self._discoveries = discoveries
        self._clock = clock
        self._mine: dict[str, deque[tuple[datetime, int]]] = {}

    async def room(self, policy: str, cap: int | None) -> int | None:
        """Return how many more may be published; None for any number."""
        if cap is None:
            return None
        known = await self._discoveries.published_since(policy, self._hour_ago())
        return max(0, cap - max(known, sum(count for _, count in self._last_hour(policy))))

    async def over(self, claims: Sequence[Claim], caps: Mapping[str, int | None]) -> set[str]:
        """Return the review keys for which there is no room, the least likely ones."""
        over: set[str] = set()
        for policy, cap in caps.items():
            if cap is not None:
                ranked = sorted((c for c in claims if c.item.policy == policy), key=lambda claim: -claim.score)
                over |= {claim.item.review_key for claim in ranked[await self.room(policy, cap) :]}
        return over

    def note(self, claims: Sequence[Claim]) -> None:
        """Count what was published."""
        for policy, count in Counter(claim.item.policy for claim in claims).items():
            self.count(policy, count)

    def count(self, policy: str, published: int) -> None:
        """Count what was published for a policy."""
        self._last_hour(policy).append((self._clock.now(), published))

    def _last_hour(self, policy: str) -> deque[tuple[datetime, int]]:
        mine = self._mine.setdefault(policy, deque())
        while mine and mine[0][0] < self._hour_ago():
            mine.popleft()
        return mine

    def _hour_ago(self) -> datetime:
        return self._clock.now() - timedelta(hours=1)


def _counted(result: FlagResult, keys: set[str], held: Container[str], resumed: set[str]) -> FlagResult:
    """Return the result with what was really published: another replica may have been first with some."""
    waiting = sum(key in held for key in keys)
    suspects = len({key for key in keys if key not in held} | resumed)
    if suspects == result.suspects:
        return result
    outcome, reason = result.outcome, result.reason
    if waiting:
        outcome, reason = FlagOutcome.SUSPECTS, f"{waiting} wait for the hour's cap of the policy"
    elif suspects and outcome is FlagOutcome.EMPTY:
        outcome, reason = FlagOutcome.SUSPECTS, ""
    elif not suspects and outcome is FlagOutcome.SUSPECTS:
        outcome, reason = FlagOutcome.EMPTY, "all its finds were published by others"
    return result.model_copy(update={"suspects": suspects, "held": waiting, "outcome": outcome, "reason": reason})
