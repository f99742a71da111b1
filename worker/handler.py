"""What happens to a micro-batch: `read` → `generate` → `propose` → `search` → `deliver`.

Poison is set aside as a dead letter, everything transient is retried in place: no exception leaves this module but a
cancellation. Knows no Faust.
"""

import hashlib
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

import structlog

from qexplorer.answer import Answer, Run
from qexplorer.clock import Clock
from qexplorer.errors import BadInputError, ModelUnavailableError, QExplorerError
from qexplorer.llm.engine import EngineVersion, Prompt, Reply, Sampling
from qexplorer.metrics import Metrics
from qexplorer.policies import Policies, Policy
from qexplorer.settings import Settings
from qexplorer.steps import Seed
from qexplorer.turns import in_turns
from schemas import DeadLetterReason, FlaggedListing, FlagResult, QueryAudit
from worker.dead_letters import DeadLetters
from worker.decode import Undecodable, decode
from worker.delivery import Delivery
from worker.envelopes import complaint
from worker.inference import CANARY, Done, Job, single
from worker.release import Release
from worker.work import Found, Message, Prepared, SetAside, Work

log = structlog.get_logger()
T = TypeVar("T")

# How long after a service is back the work may still be waiting.
MOST_BACKOFF_S = 10.0


class Inference(Protocol):
    """Answers jobs with replies."""

    async def generate(self, job: Job) -> Done:
        """Return the replies; raises ModelUnavailableError when there are none to be had now."""


class Handler:
    """Takes micro-batches through its five stages, each of which must be called in the order of the one before.

    Each stage may have a batch at the same time.
    """

    def __init__(
        self,
        delivery: Delivery,
        inference: Inference,
        dead_letters: DeadLetters,
        *,
        release: Release,
        settings: Settings,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._delivery = delivery
        self._inference = inference
        self._dead_letters = dead_letters
        self._release = release
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._random = random.Random()

    @property
    def release(self) -> Release:
        """What answers the next batch."""
        return self._release

    def use(self, release: Release) -> None:
        """Answer with another release from the next batch on; those in hand end with the one they began with."""
        self._release = release

    def _run(self, release: Release) -> Run:
        return Run(run_id=self._settings.worker.run_id, arm=self._settings.worker.arm, release=release.name)

    # Before the model

    async def read(self, messages: Sequence[Message]) -> Prepared:
        """Decode the messages and look up what is known of their flags."""
        release = self._release
        prepared = Prepared(release=release)
        self._metrics.batch_size.observe(len(messages))
        if arrivals := [message.arrived for message in messages if message.arrived is not None]:
            self._metrics.stage_seconds.labels("wait").observe(self._clock.monotonic() - min(arrivals))
        flags: list[tuple[Message, FlaggedListing, Policy]] = []
        for message in messages:
            read = self._read(message, release.policies)
            if isinstance(read, Undecodable):
                prepared.set_aside.append((message, read.reason, "decode", read.error))
            else:
                flags.append((message, *read))
        if flags:
            with self._metrics.timed("read"):
                seeds = await self._persist(
                    "seeds",
                    lambda: release.explorer.seeds(
                        [(flag, policy, message.position) for message, flag, policy in flags], self._run(release)
                    ),
                )
            # What has been answered before its acknowledgement was lost needs that alone.
            prepared.works = [
                Work(message=message, seed=seed)
                for (message, _, _), seed in zip(flags, seeds, strict=True)
                if not seed.answered
            ]
        return prepared

    def _read(self, message: Message, policies: Policies) -> tuple[FlaggedListing, Policy] | Undecodable:
        worker = self._settings.worker
        if error := complaint(message.headers):
            return Undecodable(reason=DeadLetterReason.UNREADABLE, error=error)
        flag = decode(message.value, most_bytes=worker.max_message_bytes, event_map=worker.event_map)
        if isinstance(flag, Undecodable):
            return flag
        policy = policies.find(flag.policy, flag.kind)
        if policy is None:
            error = f"no policy {flag.policy} takes the kind {flag.kind}"
            return Undecodable(reason=DeadLetterReason.UNKNOWN_POLICY, error=error)
        return flag, policy

    # The model

    async def generate(self, prepared: Prepared) -> Prepared:
        """Ask each engine for its flags' queries; the works keep the order of the messages."""
        works: list[Work | None] = list(prepared.works)
        seeds = [work.seed for work in prepared.works]
        asked = [place for place, seed in enumerate(seeds) if seed.closed is None]
        if not asked:
            return prepared
        with self._metrics.timed("generate"):
            made = await in_turns(
                lambda place: _prompted(prepared.release, prepared.works[place]),
                asked,
                lambda place: len(seeds[place].flag.listing.text),
            )
            prompts: dict[int, Prompt] = {}
            groups: dict[Policy, list[int]] = {}
            for place, prompt in zip(asked, made, strict=True):
                if isinstance(prompt, Prompt):
                    prompts[place] = prompt
                    groups.setdefault(seeds[place].policy, []).append(place)
                else:
                    works[place] = None
                    prepared.set_aside.append(prompt)
            for policy, places in groups.items():
                job = Job(
                    engine=prepared.release.engine(policy),
                    prompts=tuple(prompts[place] for place in places),
                    sampling=Sampling(
                        greedy=True,
                        samples=policy.candidates,
                        temperature=policy.temperature,
                        seed=_sampling_seed(seeds),
                    ),
                    deadline_s=self._settings.explore.generate_timeout_s,
                )
                done = await self._infer(job)
                for place, reply in zip(places, done.replies, strict=True):
                    work = prepared.works[place]
                    if reply.error is None:
                        works[place] = replace(work, reply=reply, version=done.version)
                    else:
                        works[place] = None
                        reason = DeadLetterReason.MODEL_FAILED
                        prepared.set_aside.append((work.message, reason, "generate", reply.error))
        prepared.works = [work for work in works if work is not None]
        return prepared

    async def _infer(self, job: Job) -> Done:
        """Return the replies of a job; a prompt that alone breaks the model gets a reply with an error.

        Where a job fails twice its prompts are tried one by one. One that fails, and again, while a harmless prompt is
        answered behind it each time, is to blame; when that is not answered either, the engine is out of reach and
        everything waits. So it is, too, where an engine refuses a prompt and refuses a harmless one behind it.
        """
        for _ in range(2):
            try:
                done = await self._ask(job)
                if any(reply.error is not None for reply in done.replies):
                    await self._canary(job)
            except ModelUnavailableError as error:
                await self._back_off(error, 0)
            else:
                return done
        replies: list[Reply] = []
        version = EngineVersion(model="", adapter="")
        for prompt in job.prompts:
            done = await self._persist("generate", lambda prompt=prompt: self._alone(single(job, prompt)))  # type: ignore[misc]
            replies += done.replies
            version = done.version
        return Done(replies=tuple(replies), version=version)

    async def _alone(self, job: Job) -> Done:
        # Twice: the engine may have come back just between the prompt and the canary.
        for _ in range(2):
            try:
                done = await self._ask(job)
            except ModelUnavailableError as error:
                reason = error.message
            else:
                if done.replies[0].error is None:
                    return done
                reason = done.replies[0].error
            done = await self._canary(job)
        return Done(replies=(Reply(error=reason),), version=done.version)

    async def _canary(self, job: Job) -> Done:
        """Return the reply to a harmless prompt; raises ModelUnavailableError where the engine has none either."""
        done = await self._ask(single(job, CANARY))
        if error := done.replies[0].error:
            raise ModelUnavailableError(
                f"the engine answers not even a harmless prompt: {error}", remedy="Look at the model server, or its GPU"
            )
        return done

    async def _ask(self, job: Job) -> Done:
        """Return the replies of a job; a key that is refused or a model that is not there is waited for.

        Raises ModelUnavailableError when there are no replies to be had now: a prompt may be to blame.
        """
        return await self._persist("generate", lambda: self._inference.generate(job), but=ModelUnavailableError)

    # Behind the model

    async def finish(self, prepared: Prepared) -> None:
        """Take what was read through all other stages; returns when all of the batch is safe."""
        await self.deliver(await self.search(await self.propose(await self.generate(prepared))))

    async def propose(self, prepared: Prepared) -> Prepared:
        """Make candidates of the replies; a flag whose text breaks that is set aside alone."""
        if not prepared.works:
            return prepared
        with self._metrics.timed("propose"):
            proposed = await in_turns(
                lambda work: _proposed(prepared.release, work),
                prepared.works,
                lambda work: len(work.seed.flag.listing.text),
            )
        prepared.works = [each for each in proposed if isinstance(each, Work)]
        prepared.set_aside += [each for each in proposed if not isinstance(each, Work)]
        return prepared

    async def search(self, prepared: Prepared) -> Found:
        """Search for the flags of a batch; what they lead to is seen by the next batch before it is delivered."""
        found = Found(set_aside=list(prepared.set_aside))
        if prepared.works:
            with self._metrics.timed("search"):
                await self._search(prepared.release, prepared.works, found)
        self._delivery.announce(found.answers)
        return found

    async def _search(self, release: Release, works: Sequence[Work], found: Found) -> None:
        try:
            answers = await self._persist(
                "search",
                lambda: release.explorer.answer(
                    [work.seed for work in works],
                    [work.reply for work in works],
                    [work.version for work in works],
                    self._run(release),
                    [work.proposal for work in works],
                ),
            )
        except Exception as error:  # noqa: BLE001 - the edge of the batch: one flag's bug must not stop the others
            if len(works) == 1:
                found.set_aside.append(_broken(works[0], error))
                return
            log.warning("batch failed, taking its flags one by one", flags=len(works), error=repr(error)[:300])
            found.one_by_one = True
            for work in works:
                await self._search(release, [work], found)
            return
        found.answered += zip(works, answers, strict=True)

    async def deliver(self, found: Found) -> None:
        """Deliver and set aside; returns when all of the batch is safe."""
        before = len(found.set_aside)
        try:
            for group in [[pair] for pair in found.answered] if found.one_by_one else [found.answered]:
                await self._deliver(group, found.set_aside)
        finally:
            self._delivery.withdraw(found.answers)
        await self._persist("dead letters", lambda: self._dead_letters.publish(found.set_aside))
        # A flag that was searched for and set aside while it was delivered has no answer.
        answered = len(found.answered) - (len(found.set_aside) - before)
        if why := self._dead_letters.count(answered, found.set_aside):
            await self._persist("pause", lambda: self._dead_letters.trip(why))

    async def _deliver(self, pairs: Sequence[tuple[Work, Answer]], set_aside: list[SetAside]) -> None:
        if not pairs:
            return
        good = [answer for _, answer in pairs if not answer.refused]
        try:
            resumed = await self._persist("resume", lambda: self._delivery.resume([work.seed for work, _ in pairs]))
            with self._metrics.timed("deliver"):
                results = await self._persist("deliver", lambda: self._delivery.deliver(good, resumed))
        except Exception as error:  # noqa: BLE001 - the same edge: what breaks here is one flag's records
            if len(pairs) == 1:
                set_aside.append(_broken(pairs[0][0], error))
                return
            log.warning("batch failed, taking its flags one by one", flags=len(pairs), error=repr(error)[:300])
            for pair in pairs:
                await self._deliver([pair], set_aside)
            return
        set_aside += [
            (work.message, DeadLetterReason.SEARCH_REFUSED, "search", answer.refused)
            for work, answer in pairs
            if answer.refused
        ]
        self._count(results, [audit for answer in good for audit in answer.audits])
        for result in results:
            _say(result)

    async def free(self) -> None:
        """Publish held suspects as far as the caps of the hour allow."""
        metrics = self._metrics

        def published(policy: str, count: int) -> None:
            metrics.suspects.labels(policy).inc(count)

        left = await self._persist("held", lambda: self._delivery.free(self._release.policies.policies, published))
        # Policies that are gone must not stand there for ever.
        self._metrics.held.clear()
        for policy in self._release.policies.policies:
            self._metrics.held.labels(policy.id).set(left.pop(policy.id, 0))
        for policy_id, count in left.items():
            self._metrics.held.labels(policy_id).set(count)

    # Patience

    async def _persist(
        self, stage: str, step: Callable[[], Awaitable[T]], *, but: type[QExplorerError] = BadInputError
    ) -> T:
        """Run a step until it succeeds; what cannot get better by waiting, and `but`, is raised."""
        attempt, since = 0, self._clock.monotonic()
        try:
            while True:
                try:
                    return await step()
                except (BadInputError, but):
                    raise
                except QExplorerError as error:
                    # A wrong password or a missing index can be mended from outside as well: these wait too, loudly.
                    write = log.warning if error.retryable else log.error
                    write("waiting", stage=stage, attempt=attempt + 1, error=error.message, remedy=error.remedy)
                    await self._back_off(error, attempt)
                    attempt += 1
                    self._metrics.waiting.labels(stage).set(self._clock.monotonic() - since)
        finally:
            if attempt:
                self._metrics.waiting.labels(stage).set(0)

    async def _back_off(self, error: QExplorerError, attempt: int) -> None:
        self._metrics.retries.labels(type(error).__name__).inc()
        most = min(MOST_BACKOFF_S, 0.5 * 2.0 ** min(attempt, 10))
        await self._clock.sleep(most * self._random.uniform(0.5, 1.0))

    def _count(self, results: Sequence[FlagResult], audits: Sequence[QueryAudit]) -> None:
        metrics = self._metrics
        for (policy, outcome), flags in Counter((result.policy, result.outcome.value) for result in results).items():
            metrics.flags.labels(policy, outcome).inc(flags)
        for policy in {result.policy for result in results}:
            of_policy = [result for result in results if result.policy == policy]
            metrics.suspects.labels(policy).inc(sum(result.suspects for result in of_policy))
            metrics.searches.labels(policy).inc(sum(result.searches for result in of_policy))
        metrics.searches_saved.inc(sum(result.searches_saved for result in results))
        metrics.tokens.labels("prompt").inc(sum(result.prompt_tokens for result in results))
        metrics.tokens.labels("completion").inc(sum(result.completion_tokens for result in results))
        metrics.unparseable.inc(sum(result.unparseable for result in results))
        for (source, fate), count in Counter((a.query.source.value, a.fate.value) for a in audits).items():
            metrics.candidates.labels(source, fate).inc(count)


def _prompted(release: Release, work: Work) -> Prompt | SetAside:
    try:
        return release.explorer.prompt(work.seed)
    except Exception as error:  # noqa: BLE001 - the edge of the batch: one flag's bug must not stop the others
        return _broken(work, error)


def _proposed(release: Release, work: Work) -> Work | SetAside:
    if work.seed.closed is not None:
        return work
    try:
        return replace(work, proposal=release.explorer.propose(work.seed, work.reply))
    except Exception as error:  # noqa: BLE001 - the edge of the batch: one flag's bug must not stop the others
        return _broken(work, error)


def _broken(work: Work, error: Exception) -> SetAside:
    bad = isinstance(error, BadInputError)
    reason = DeadLetterReason.SEARCH_REFUSED if bad else DeadLetterReason.UNEXPECTED
    log.error("flag set aside", trace_id=work.seed.trace_id, exc_info=error)
    return work.message, reason, "explore", f"{type(error).__name__}: {error}"[:500]


def _say(result: FlagResult) -> None:
    """Log one flag's answer; never a word of its listing."""
    log.info(
        "flag answered",
        trace_id=result.trace_id,
        flag_id=result.flag_id,
        policy=result.policy,
        outcome=result.outcome.value,
        suspects=result.suspects,
        searches=result.searches,
        ms=round(result.ms),
    )


def _sampling_seed(seeds: Sequence[Seed]) -> int:
    """Return a seed that a repeated batch gets again."""
    return int(hashlib.sha256("\0".join(seed.flag.flag_id for seed in seeds).encode()).hexdigest()[:8], 16)
