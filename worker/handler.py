"""What happens to a micro-batch: decode → generate (`prepare`), then search → deliver (`finish`).

Poison is set aside as a dead letter, everything transient is retried in place: no exception leaves this module but a
cancellation. Knows no Faust.
"""

import hashlib
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import structlog

from qexplorer.answer import Run
from qexplorer.clock import Clock
from qexplorer.errors import BadInputError, ModelUnavailableError, QExplorerError
from qexplorer.explore import Explorer
from qexplorer.llm.engine import EngineVersion, Prompt, Reply, Sampling
from qexplorer.metrics import Metrics
from qexplorer.policies import Policies, Policy
from qexplorer.settings import Settings
from qexplorer.steps import Seed
from schemas import DeadLetter, DeadLetterReason, FlaggedListing, FlagResult, Position, QueryAudit
from worker.decode import Undecodable, decode
from worker.delivery import Delivery
from worker.inference import Done, Job, single
from worker.kafka import Header, Publisher, Record

log = structlog.get_logger()
T = TypeVar("T")

MOST_BACKOFF_S = 30.0
CANARY = Prompt(instruction="Write search queries.", listing="bicycle", max_listing_tokens=8)
DEAD_LETTER_HEADER = "qx-dead-letter"


class Inference(Protocol):
    """Answers jobs with replies."""

    async def generate(self, job: Job) -> Done:
        """Return the replies; raises ModelUnavailableError when there are none to be had now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message as it stands in Kafka."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...] = ()

    @property
    def position(self) -> Position:
        """Where it stands."""
        return Position(topic=self.topic, partition=self.partition, offset=self.offset)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One flag on its way: its message, its seed, the model's reply and who gave it."""

    message: Message
    seed: Seed
    reply: Reply | None
    version: EngineVersion


@dataclass(slots=True)
class Prepared:
    """A micro-batch between the two stages."""

    works: list[Work] = field(default_factory=list)
    set_aside: list[tuple[Message, DeadLetterReason, str, str]] = field(default_factory=list)


class Handler:
    """Takes micro-batches through both stages. `finish` must be called in the order of `prepare`."""

    def __init__(
        self,
        explorer: Explorer,
        delivery: Delivery,
        inference: Inference,
        publisher: Publisher,
        *,
        policies: Policies,
        settings: Settings,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._explorer = explorer
        self._delivery = delivery
        self._inference = inference
        self._publisher = publisher
        self._policies = policies
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._run = Run(run_id=settings.worker.run_id, arm=settings.worker.arm)
        self._random = random.Random()

    # Stage one

    async def prepare(self, messages: Sequence[Message]) -> Prepared:
        """Decode the messages and have the queries of their flags written."""
        prepared = Prepared()
        self._metrics.batch_size.observe(len(messages))
        flags: list[tuple[Message, FlaggedListing, Policy]] = []
        for message in messages:
            read = self._read(message)
            if isinstance(read, Undecodable):
                prepared.set_aside.append((message, read.reason, "decode", read.error))
            else:
                flags.append((message, *read))
        if flags:
            with self._metrics.timed("generate"):
                seeds = await self._persist(
                    "seeds",
                    lambda: self._explorer.seeds(
                        [(flag, policy, message.position) for message, flag, policy in flags], self._run
                    ),
                )
                # What has been answered before its acknowledgement was lost needs that alone.
                todo = [
                    (message, seed) for (message, _, _), seed in zip(flags, seeds, strict=True) if not seed.answered
                ]
                await self._generate([message for message, _ in todo], [seed for _, seed in todo], prepared)
        return prepared

    def _read(self, message: Message) -> tuple[FlaggedListing, Policy] | Undecodable:
        worker = self._settings.worker
        flag = decode(message.value, most_bytes=worker.max_message_bytes, event_map=worker.event_map)
        if isinstance(flag, Undecodable):
            return flag
        policy = self._policies.find(flag.policy, flag.kind)
        if policy is None:
            error = f"no policy {flag.policy} takes the kind {flag.kind}"
            return Undecodable(reason=DeadLetterReason.UNKNOWN_POLICY, error=error)
        return flag, policy

    async def _generate(self, messages: Sequence[Message], seeds: Sequence[Seed], prepared: Prepared) -> None:
        """Ask each engine for its flags' queries; the works keep the order of the messages."""
        works: list[Work | None] = [
            Work(message=message, seed=seed, reply=None, version=EngineVersion(model="", adapter=""))
            for message, seed in zip(messages, seeds, strict=True)
        ]
        groups: dict[Policy, list[int]] = {}
        for place, seed in enumerate(seeds):
            if seed.closed is None:
                groups.setdefault(seed.policy, []).append(place)
        for policy, places in groups.items():
            job = Job(
                engine=policy.engine,
                adapter=policy.adapter,
                prompts=tuple(self._explorer.prompts([seeds[place] for place in places])),
                sampling=Sampling(
                    greedy=True, samples=policy.candidates, temperature=policy.temperature, seed=_sampling_seed(seeds)
                ),
                deadline_s=self._settings.explore.generate_timeout_s,
            )
            done = await self._infer(job)
            for place, reply in zip(places, done.replies, strict=True):
                work = Work(message=messages[place], seed=seeds[place], reply=reply, version=done.version)
                if reply.error is None:
                    works[place] = work
                else:
                    works[place] = None
                    reason = DeadLetterReason.MODEL_FAILED
                    prepared.set_aside.append((messages[place], reason, "generate", reply.error))
        prepared.works = [work for work in works if work is not None]

    async def _infer(self, job: Job) -> Done:
        """Return the replies of a job; a prompt that alone breaks the model gets a reply with an error.

        Where a job fails twice its prompts are tried one by one. One that fails while a harmless prompt is answered is
        to blame; when that is not answered either, the engine is out of reach and everything waits.
        """
        for _ in range(2):
            try:
                return await self._inference.generate(job)
            except ModelUnavailableError as error:
                await self._back_off(error, 0)
        replies: list[Reply] = []
        version = EngineVersion(model="", adapter="")
        for prompt in job.prompts:
            done = await self._persist("generate", lambda prompt=prompt: self._alone(single(job, prompt)))  # type: ignore[misc]
            replies += done.replies
            version = done.version
        return Done(replies=tuple(replies), version=version)

    async def _alone(self, job: Job) -> Done:
        try:
            return await self._inference.generate(job)
        except ModelUnavailableError as error:
            reason = error.message
        # Raises in its turn where the engine as a whole is out of reach.
        done = await self._inference.generate(single(job, CANARY))
        return Done(replies=(Reply(error=reason),), version=done.version)

    # Stage two

    async def finish(self, prepared: Prepared) -> None:
        """Search, deliver and set aside; returns when all of the batch is safe."""
        await self._finish(prepared.works)
        await self._set_aside(prepared.set_aside)

    async def _finish(self, works: Sequence[Work]) -> None:
        if not works:
            return
        try:
            await self._answer(works)
        except Exception as error:  # the edge of the batch: one flag's bug must not stop the others
            if len(works) > 1:
                log.warning("batch failed, taking its flags one by one", flags=len(works), error=repr(error)[:300])
                for work in works:
                    await self._finish([work])
                return
            bad = isinstance(error, BadInputError)
            reason = DeadLetterReason.SEARCH_REFUSED if bad else DeadLetterReason.UNEXPECTED
            log.exception("flag set aside", trace_id=works[0].seed.trace_id)
            await self._set_aside([(works[0].message, reason, "explore", f"{type(error).__name__}: {error}"[:500])])

    async def _answer(self, works: Sequence[Work]) -> None:
        seeds = [work.seed for work in works]
        resumed = await self._persist("resume", lambda: self._delivery.resume(seeds))
        with self._metrics.timed("search"):
            answers = await self._persist(
                "search",
                lambda: self._explorer.explore(
                    seeds, [work.reply for work in works], [work.version for work in works], self._run
                ),
            )
        refused = [
            (work.message, DeadLetterReason.SEARCH_REFUSED, "search", answer.refused)
            for work, answer in zip(works, answers, strict=True)
            if answer.refused
        ]
        good = [answer for answer in answers if not answer.refused]
        with self._metrics.timed("deliver"):
            results = await self._persist("deliver", lambda: self._delivery.deliver(good, resumed))
        await self._set_aside(refused)
        self._count(results, [audit for answer in good for audit in answer.audits])

    async def _set_aside(self, letters: Sequence[tuple[Message, DeadLetterReason, str, str]]) -> None:
        if not letters:
            return
        records = [self._letter(*letter) for letter in letters]
        await self._persist("dead letters", lambda: self._publisher.publish(records))
        for message, reason, stage, error in letters:
            self._metrics.dead_letters.labels(reason.value).inc()
            log.warning(
                "dead letter",
                reason=reason.value,
                stage=stage,
                error=error,
                partition=message.partition,
                offset=message.offset,
            )

    def _letter(self, message: Message, reason: DeadLetterReason, stage: str, error: str) -> Record:
        identity = f"{message.topic}\0{message.partition}\0{message.offset}"
        letter = DeadLetter(
            letter_id=hashlib.sha256(identity.encode()).hexdigest()[:32],
            position=message.position,
            reason=reason,
            stage=stage,
            error=error[:1000],
            at=self._clock.now(),
        )
        headers = (*message.headers, (DEAD_LETTER_HEADER, letter.to_bytes()))
        return Record(self._settings.kafka.topics.dead_letters, message.key, message.value, headers)

    # Patience

    async def _persist(self, stage: str, step: Callable[[], Awaitable[T]]) -> T:
        """Run a step until it succeeds; what cannot get better by waiting is raised."""
        attempt = 0
        while True:
            try:
                return await step()
            except BadInputError:
                raise
            except QExplorerError as error:
                # A wrong password or a missing index can be mended from outside as well, so these wait too, loudly.
                write = log.warning if error.retryable else log.error
                write("waiting", stage=stage, attempt=attempt + 1, error=error.message, remedy=error.remedy)
                await self._back_off(error, attempt)
                attempt += 1

    async def _back_off(self, error: QExplorerError, attempt: int) -> None:
        self._metrics.retries.labels(type(error).__name__).inc()
        most = min(MOST_BACKOFF_S, 0.5 * 2.0 ** min(attempt, 10))
        await self._clock.sleep(most * self._random.uniform(0.5, 1.0))

    def _count(self, results: Sequence[FlagResult], audits: Sequence[QueryAudit]) -> None:
        metrics = self._metrics
        for result in results:
            metrics.flags.labels(result.policy, result.outcome.value).inc()
            metrics.suspects.labels(result.policy).inc(result.suspects)
            metrics.searches.labels(result.policy).inc(result.searches)
            metrics.searches_saved.inc(result.searches_saved)
            metrics.tokens.labels("prompt").inc(result.prompt_tokens)
            metrics.tokens.labels("completion").inc(result.completion_tokens)
            metrics.unparseable.inc(result.unparseable)
        for audit in audits:
            metrics.candidates.labels(audit.query.source.value, audit.fate.value).inc()


def _sampling_seed(seeds: Sequence[Seed]) -> int:
    """Return a seed that a repeated batch gets again."""
    return int(hashlib.sha256("\0".join(seed.flag.flag_id for seed in seeds).encode()).hexdigest()[:8], 16)
