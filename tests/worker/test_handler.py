"""Micro-batches through all stages: poison is set aside, everything else waits or is answered."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson
import pytest
from structlog.testing import capture_logs

from qexplorer.bank import QueryBank
from qexplorer.discoveries import Discoveries
from qexplorer.errors import (
    AccessError,
    BadInputError,
    BrokerUnavailableError,
    ModelError,
    ModelUnavailableError,
    QExplorerError,
)
from qexplorer.explore import Explorer
from qexplorer.limiter import SearchLimiter
from qexplorer.llm.engine import EngineVersion, Generation, Prompt, Reply
from qexplorer.metrics import Metrics
from qexplorer.policies import Policies, Policy
from qexplorer.search.backend import Document, SearchProblem, WriteMode
from qexplorer.search.memory import MemoryStore
from qexplorer.settings import Settings
from qexplorer.testing import START, ManualClock, MemorySearcher, RecordingPublisher, WordTriage, a_flag, a_listing
from schemas import DeadLetter, DeadLetterReason, FlagOutcome, FlagResult, Suspect
from worker.dead_letters import DeadLetters
from worker.delivery import Delivery
from worker.handler import Handler
from worker.inference import CANARY, Done, Job
from worker.limits import DeadLetterLimits
from worker.release import Release
from worker.work import Found, Message

VERSION = EngineVersion(model="m@1")


class ByPrompt:
    """Answers each prompt with the words `plug gummies`; `breaks` says which prompts break the engine."""

    def __init__(self, breaks: Callable[[Prompt], bool] = lambda _: False) -> None:
        self.breaks = breaks
        self.jobs: list[Job] = []

    async def generate(self, job: Job) -> Done:
        """Answer, or fail as a whole when one prompt breaks it."""
        self.jobs.append(job)
        if any(self.breaks(prompt) for prompt in job.prompts):
            raise ModelUnavailableError("the inference process died")
        reply = Reply(generations=(Generation(text="plug gummies", source="greedy"),), prompt_tokens=3)
        return Done(replies=(reply,) * len(job.prompts), version=VERSION)


class Bench:
    """A handler on fakes."""

    def __init__(self, inference: ByPrompt | None = None, **settings: Any) -> None:
        self.clock = ManualClock()
        self.store = MemoryStore()
        self.publisher = RecordingPublisher()
        self.searcher = MemorySearcher(listings={"listings": [a_listing("b2", "plug gummies sauce")]})
        self.inference = inference or ByPrompt()
        self.metrics = Metrics(self.clock)
        config = Settings(**settings)
        discoveries, bank = Discoveries(self.store, "discoveries"), QueryBank(self.store, "bank")
        explorer = Explorer(
            self.searcher,
            clock=self.clock,
            limiter=SearchLimiter(1000, self.clock),
            settings=config.explore,
            search=config.search,
            bank=bank,
            discoveries=discoveries,
        )
        self.release = Release(
            name="one",
            policies=Policies(policies=(Policy(id="drugs", kinds=("drugs",)),)),
            policies_hash="",
            engines=config.engines,
            explorer=explorer,
        )
        self.tripped: list[str] = []
        limits = DeadLetterLimits(in_a_row=config.worker.dead_letters_in_a_row, share=config.worker.dead_letter_share)
        self.handler = Handler(
            Delivery(
                self.publisher, discoveries, bank, topics=config.kafka.topics, clock=self.clock, claim_timeout_s=600
            ),
            self.inference,
            DeadLetters(
                self.publisher,
                config.kafka.topics.dead_letters,
                clock=self.clock,
                metrics=self.metrics,
                limits=limits,
                trip=self._trip,
            ),
            release=self.release,
            settings=config,
            clock=self.clock,
            metrics=self.metrics,
        )

    async def _trip(self, reason: str) -> None:
        self.tripped.append(reason)

    async def found(self, *values: bytes) -> Found:
        """Take one micro-batch up to what is found, not yet delivered."""
        generated = await self.handler.generate(await self.handler.read(messages(*values)))
        return await self.handler.search(await self.handler.propose(generated))

    async def run(self, *values: bytes | None) -> None:
        """Take one micro-batch through all stages."""
        messages = [
            Message(topic="flagged-listings", partition=0, offset=n, key=b"k", value=value, headers=(("h", b"1"),))
            for n, value in enumerate(values)
        ]
        await self.handler.finish(await self.handler.read(messages))

    @property
    def letters(self) -> list[DeadLetter]:
        """The dead letters so far."""
        records = self.publisher.on("flagged-listings-dead-letters")
        return [DeadLetter.from_bytes(dict(record.headers)["qx-dead-letter"]) for record in records]

    @property
    def results(self) -> dict[str, FlagResult]:
        """The results so far by flag."""
        records = [r for r in self.publisher.on("query-audit") if dict(r.headers)["type"] == b"FlagResult"]
        return {result.flag_id: result for result in (FlagResult.from_bytes(record.value) for record in records)}


def sent(name: str, title: str = "x", **fields: Any) -> bytes:
    return a_flag(name, title, **fields).to_bytes()


async def test_a_flag_is_answered_with_suspects() -> None:
    """The thinnest path: one flag in, its suspect and its result out."""
    bench = Bench()
    await bench.run(sent("a1"))
    (suspect,) = [Suspect.from_bytes(record.value) for record in bench.publisher.on("suspect-items")]
    assert suspect.listing_id == "b2"
    assert suspect.position is not None
    assert (suspect.position.partition, suspect.position.offset) == (0, 0)
    assert bench.results["flag-a1"].outcome is FlagOutcome.SUSPECTS


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        pytest.param(b"{not json", DeadLetterReason.UNREADABLE, id="broken JSON"),
        pytest.param(b"", DeadLetterReason.UNREADABLE, id="empty"),
        pytest.param(None, DeadLetterReason.UNREADABLE, id="tombstone"),
        pytest.param(b"\xff\xfe\x00", DeadLetterReason.UNREADABLE, id="random bytes"),
        pytest.param(b"[1, 2]", DeadLetterReason.INVALID, id="not an object"),
        pytest.param(b'{"flag_id": 7}', DeadLetterReason.INVALID, id="wrong types"),
        pytest.param(b"[" * 100_000, DeadLetterReason.UNREADABLE, id="deep nesting"),
        pytest.param(b'{"flag_id": "' + b"a" * 2_000_000 + b'"}', DeadLetterReason.TOO_LARGE, id="huge"),
        pytest.param(sent("a1", kind="unknown"), DeadLetterReason.UNKNOWN_POLICY, id="no policy"),
    ],
)
async def test_poison_is_set_aside_with_its_original_bytes(value: bytes | None, reason: DeadLetterReason) -> None:
    """Key, value and headers are as they came, and a header says where it stood and why; the others are answered."""
    bench = Bench()
    await bench.run(sent("good"), value)
    (record,) = bench.publisher.on("flagged-listings-dead-letters")
    (letter,) = bench.letters
    assert (record.key, record.value) == (letter.letter_id.encode(), value or b"")
    assert ("qx-null" in dict(record.headers)) == (value is None)
    assert {("h", b"1"), ("qx-key", b"k")} <= set(record.headers)
    assert (letter.reason, letter.position.offset) == (reason, 1)
    assert set(bench.results) == {"flag-good"}


async def test_a_dead_letter_names_fields_and_never_their_text() -> None:
    """What is wrong is said without the listing's words."""
    bench = Bench()
    event = orjson.loads(sent("a1", "secret words"))
    event["listing"]["price"] = "secret words"
    await bench.run(orjson.dumps(event))
    assert "listing.price" in bench.letters[0].error
    assert "secret" not in bench.letters[0].error


async def test_a_prompt_that_breaks_the_model_is_found_and_set_aside_alone() -> None:
    """The batch fails twice, its prompts are tried one by one, and only the guilty one is a dead letter."""
    bench = Bench(ByPrompt(lambda prompt: "boom" in prompt.listing))
    await bench.run(sent("a1", "fine"), sent("b1", "boom"), sent("c1", "fine too"))
    assert [(letter.reason, letter.position.offset) for letter in bench.letters] == [(DeadLetterReason.MODEL_FAILED, 1)]
    assert set(bench.results) == {"flag-a1", "flag-c1"}


async def test_an_engine_that_is_down_sets_nothing_aside() -> None:
    """While even a harmless prompt gets no answer, the flag waits; when the engine is back it is answered."""
    down = {"left": 9}

    def breaks(_: Prompt) -> bool:
        down["left"] -= 1
        return down["left"] > 0

    bench = Bench(ByPrompt(breaks))
    await bench.run(sent("a1"))
    assert not bench.letters
    assert set(bench.results) == {"flag-a1"}
    assert any(job.prompts == (CANARY,) for job in bench.inference.jobs)


@pytest.mark.parametrize("calls", range(1, 8))
async def test_an_engine_that_comes_back_at_any_moment_sets_nothing_aside(calls: int) -> None:
    """Also when it does so between a prompt of its own and the harmless one: that alone proves nothing."""
    asked = iter(range(100))
    bench = Bench(ByPrompt(lambda _: next(asked) < calls))
    await bench.run(sent("a1"))
    assert not bench.letters
    assert set(bench.results) == {"flag-a1"}


async def test_a_dead_search_is_waited_for() -> None:
    """A search outage causes retries with growing pauses, no dead letter and no loss."""
    bench = Bench()
    bench.searcher.down = True
    bench.clock.after_sleeps(6, lambda: setattr(bench.searcher, "down", False))
    await bench.run(sent("a1"))
    assert not bench.letters
    assert set(bench.results) == {"flag-a1"}
    assert bench.clock.slept[5] > bench.clock.slept[0]
    assert max(bench.clock.slept) <= 30


async def test_a_search_that_is_out_of_reach_is_asked_again_every_ten_seconds() -> None:
    """Nothing is searched meanwhile: neither is there a debt to be waited for, nor was anything overloaded."""
    bench = Bench()
    asked: list[float] = []

    class Noting(MemorySearcher):
        async def search(self, requests: Any) -> Any:
            asked.append(bench.clock.monotonic())
            self.down = len(asked) < 20
            return await MemorySearcher.search(self, requests)

    limiter = SearchLimiter(0.5, bench.clock)
    searching = bench.release.explorer._searching
    searching._limiter, searching._searcher = limiter, Noting(listings=bench.searcher.listings)
    await bench.run(*[sent(f"a{n}", f"plug word{n} gummies") for n in range(8)])
    assert len(bench.results) == 8
    assert max(later - sooner for sooner, later in itertools.pairwise(asked)) <= 10
    assert limiter.rate == 0.5


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(BrokerUnavailableError("down"), id="broker"),
        pytest.param(AccessError("no rights"), id="permission"),
    ],
)
async def test_a_broker_that_refuses_is_waited_for(error: QExplorerError) -> None:
    """Nothing is lost and nothing set aside while records cannot be delivered."""
    bench = Bench()
    bench.publisher.failures = [error] * 4
    await bench.run(sent("a1"), b"poison")
    assert set(bench.results) == {"flag-a1"}
    assert len(bench.letters) == 1


@pytest.mark.parametrize(
    "error", [AccessError("the key was refused"), ModelError("no such adapter")], ids=["key", "model"]
)
async def test_an_engine_that_refuses_is_waited_for(error: QExplorerError) -> None:
    """A key that was changed, or a server that has not loaded its adapter yet, is mended from outside."""

    class Refusing(ByPrompt):
        failures = [error] * 5

        async def generate(self, job: Job) -> Done:
            if self.failures:
                raise self.failures.pop()
            return await ByPrompt.generate(self, job)

    bench = Bench(Refusing())
    await bench.run(sent("a1"), sent("c1", "zaza lean bottle"))
    assert set(bench.results) == {"flag-a1", "flag-c1"}
    assert not bench.letters


@pytest.mark.parametrize("broken", ["all", "one"])
async def test_an_engine_that_refuses_all_prompts_is_waited_for(broken: str) -> None:
    """A quota that is used up or a dead GPU answers a harmless prompt with an error, too: no prompt is to blame."""

    class Refusing(ByPrompt):
        asked = 0

        async def generate(self, job: Job) -> Done:
            self.asked += 1
            done = await ByPrompt.generate(self, job)
            down = broken == "all" and self.asked < 12
            replies = [
                Reply(error="402") if down or "zaza" in prompt.listing else reply
                for prompt, reply in zip(job.prompts, done.replies, strict=True)
            ]
            return replace(done, replies=tuple(replies))

    bench = Bench(Refusing())
    await bench.run(sent("a1"), sent("c1", "lean bottle" if broken == "all" else "zaza lean bottle"))
    assert set(bench.results) == ({"flag-a1", "flag-c1"} if broken == "all" else {"flag-a1"})
    assert [letter.reason for letter in bench.letters] == ([] if broken == "all" else [DeadLetterReason.MODEL_FAILED])


async def test_a_message_larger_than_the_dead_letters_take_is_set_aside_without_it() -> None:
    """Where the topic was made with Kafka's own limit; one that takes not even the reason is waited for, loudly."""

    class Small(RecordingPublisher):
        most = 1_000_000

        async def publish(self, records: Any) -> None:
            if any(record.size() > self.most and "dead" in record.topic for record in records):
                raise BadInputError("a record is larger than Kafka takes")
            await RecordingPublisher.publish(self, records)

    bench = Bench()
    small = Small()
    bench.handler._dead_letters._publisher = bench.publisher = small
    bench.handler._delivery._publisher = small
    small.most = 100
    bench.clock.after_sleeps(3, lambda: setattr(small, "most", 1_000_000))
    with capture_logs() as logs:
        await bench.run(b"x" * 1_500_000, b"poison", sent("a1"))
    assert any("max.message.bytes" in entry.get("remedy", "") for entry in logs)
    large, poison = bench.publisher.on("flagged-listings-dead-letters")
    assert (large.value, poison.value) == (b"", b"poison")
    assert dict(large.headers)["qx-truncated"] == b"1500000"


async def test_nothing_is_said_to_wait_any_more_when_a_stage_has_given_up() -> None:
    """The alert of a stage that waits ends with the stage, whatever its end."""
    bench = Bench()
    bench.publisher.failures = [BrokerUnavailableError("down"), BadInputError("too large")]
    await bench.run(sent("a1"))
    assert [letter.reason for letter in bench.letters] == [DeadLetterReason.SEARCH_REFUSED]
    assert not bench.metrics.registry.get_sample_value("qexplorer_waiting_seconds", {"stage": "deliver"})


async def test_who_is_held_back_is_told_by_policy_and_no_longer_than_that_is_so() -> None:
    """A policy that is gone has no figure of its own any more; what it had held back is counted without a name."""
    bench = Bench()
    held = {"policy": "drugs", "state": "held", "at": START.isoformat(), "suspect": "s", "score": 0.5}
    await bench.store.write("discoveries", [Document(id=key, source=held) for key in "kl"], WriteMode.CREATE)
    capped = Policy(id="drugs", kinds=("drugs",), cap_per_hour=1)
    bench.handler.use(replace(bench.release, policies=Policies(policies=(capped,))))
    read = bench.metrics.registry.get_sample_value
    await bench.handler.free()
    assert read("qexplorer_held", {"policy": "drugs"}) == 1
    assert read("qexplorer_suspects_total", {"policy": "drugs"}) == 1
    bench.handler.use(replace(bench.release, policies=Policies(policies=(Policy(id="spam", kinds=("spam",)),))))
    await bench.handler.free()
    assert read("qexplorer_held", {"policy": "drugs"}) is None
    assert (read("qexplorer_held", {"policy": ""}), read("qexplorer_held", {"policy": "spam"})) == (1, 0)


async def test_a_store_that_is_down_is_waited_for() -> None:
    """Discoveries and bank out of reach hold the batch, and it goes on by itself."""
    bench = Bench()
    bench.store.down = True
    bench.clock.after_sleeps(3, lambda: setattr(bench.store, "down", False))
    await bench.run(sent("a1"))
    assert set(bench.results) == {"flag-a1"}


async def test_a_flag_that_meets_a_bug_is_set_aside_alone() -> None:
    """An unexpected error in one flag of a batch does not take the others with it."""

    class Buggy(MemorySearcher):
        async def search(self, requests: Any) -> Any:
            if any("bad" in request.exclude for request in requests):
                raise ZeroDivisionError("a bug")
            return await MemorySearcher.search(self, requests)

    bench = Bench()
    bench.release.explorer._searching._searcher = Buggy(listings=bench.searcher.listings)
    await bench.run(sent("a1"), sent("bad", "zaza lean bottle"), sent("c1"))
    assert [(letter.reason, letter.position.offset) for letter in bench.letters] == [(DeadLetterReason.UNEXPECTED, 1)]
    assert set(bench.results) == {"flag-a1", "flag-c1"}


@pytest.mark.parametrize("prompt", ["short", "known"])
async def test_a_flag_whose_text_breaks_the_proposing_is_set_aside_alone(prompt: str) -> None:
    """An unexpected error while a prompt or candidates are made costs that flag alone, and asks no other twice."""

    class Buggy(WordTriage):
        def siblings(self, text: str, most: int, policy: str = "") -> list[str]:
            if "zaza" in text:
                raise ZeroDivisionError("a bug")
            return WordTriage.siblings(self, text, most, policy)

    bench = Bench()
    bench.release.explorer._triage = Buggy(frozenset({"gummies"}))
    policy = Policy(id="drugs", kinds=("drugs",), prompt=prompt)
    bench.handler.use(replace(bench.release, policies=Policies(policies=(policy,))))
    await bench.run(sent("a1"), sent("bad", "zaza lean bottle"), sent("c1"))
    assert [(letter.reason, letter.position.offset) for letter in bench.letters] == [(DeadLetterReason.UNEXPECTED, 1)]
    assert set(bench.results) == {"flag-a1", "flag-c1"}
    assert len(bench.inference.jobs) == 1


async def test_a_batch_of_poison_is_no_measure_of_the_stages_behind_reading() -> None:
    """Their times would be those of nothing."""
    bench = Bench()
    await bench.run(b"poison", b"more")
    read = bench.metrics.registry.get_sample_value
    for stage in ("generate", "propose", "search"):
        assert not read("qexplorer_stage_seconds_count", {"stage": stage})


async def test_a_flag_whose_searches_are_refused_is_set_aside() -> None:
    """OpenSearch's refusal is final; it is a dead letter with OpenSearch's reason."""
    bench = Bench()
    bench.searcher.script = [SearchProblem.REFUSED] * 9
    await bench.run(sent("a1"))
    assert [letter.reason for letter in bench.letters] == [DeadLetterReason.SEARCH_REFUSED]
    assert not bench.results


async def test_flags_that_are_all_refused_stop_the_fleet() -> None:
    """A filter that OpenSearch refuses must not drain the topic into the dead letters."""
    bench = Bench()
    for batch in range(4):
        bench.searcher.script = [SearchProblem.REFUSED] * 900
        await bench.run(*[sent(f"a{batch}-{n}", f"plug word{batch}x{n} gummies") for n in range(16)])
    assert bench.tripped == ["64 dead letters in a row"]
    assert not bench.results


async def test_an_unavailable_search_never_becomes_a_dead_letter() -> None:
    """Partial answers are repeated until they are whole."""
    bench = Bench()
    bench.searcher.script = [SearchProblem.UNAVAILABLE] * 7
    await bench.run(sent("a1"))
    assert not bench.letters
    assert set(bench.results) == {"flag-a1"}


async def test_a_platforms_own_event_is_mapped_by_settings() -> None:
    """Dotted paths and constants make a flag of a foreign event, without code."""
    event_map = {
        "flag_id": "event.uuid",
        "listing.id": "item.id",
        "listing.version": "item.rev",
        "listing.title": "item.texts.0",
        "kind": "=drugs",
        "policy": "=drugs",
        "flagged_at": "event.time",
    }
    bench = Bench(worker={"event_map": event_map})
    event = {"event": {"uuid": "u1", "time": "2026-01-01T00:00:00Z"}, "item": {"id": 7, "rev": 3, "texts": ["x", "y"]}}
    await bench.run(orjson.dumps(event))
    assert set(bench.results) == {"u1"}


async def test_what_happens_is_counted() -> None:
    """Flags, suspects, candidates, tokens and dead letters are metrics."""
    bench = Bench()
    await bench.run(sent("a1"), b"poison")
    value = bench.metrics.registry.get_sample_value
    assert value("qexplorer_flags_total", {"policy": "drugs", "outcome": "suspects"}) == 1
    assert value("qexplorer_suspects_total", {"policy": "drugs"}) == 1
    assert value("qexplorer_candidates_total", {"source": "greedy", "fate": "selected"}) == 1
    assert value("qexplorer_dead_letters_total", {"reason": "unreadable"}) == 1
    assert value("qexplorer_tokens_total", {"direction": "prompt"}) == 3


async def test_a_flag_that_is_read_again_is_only_acknowledged() -> None:
    """When the acknowledgement was lost, the first answer stays on record: nothing is generated or sent again."""
    bench = Bench()
    await bench.run(sent("a1"))
    before = len(bench.publisher.records)
    await bench.run(sent("a1"))
    assert len(bench.publisher.records) == before
    assert len(bench.inference.jobs) == 1


async def test_bad_input_is_not_waited_for() -> None:
    """What no retry can mend is set aside at once, without a pause."""

    class Refusing(MemorySearcher):
        async def search(self, requests: Any) -> Any:
            del requests
            raise BadInputError("OpenSearch refused the request")

    bench = Bench()
    bench.release.explorer._searching._searcher = Refusing()
    await bench.run(sent("a1"))
    assert [letter.reason for letter in bench.letters] == [DeadLetterReason.SEARCH_REFUSED]
    assert bench.clock.slept == []


def messages(*values: bytes) -> list[Message]:
    return [
        Message(topic="flagged-listings", partition=0, offset=n, key=b"k", value=value)
        for n, value in enumerate(values)
    ]


async def test_each_answered_flag_has_one_line_in_the_log() -> None:
    """The line says who, what and how long, and no word of the listing."""
    bench = Bench()
    with capture_logs() as lines:
        await bench.run(sent("a1", "secretive words"), sent("c3"))
    said = [line for line in lines if line["event"] == "flag answered"]
    assert [line["flag_id"] for line in said] == ["flag-a1", "flag-c3"]
    assert set(said[0]) == {
        "event", "log_level", "trace_id", "flag_id", "policy", "outcome", "suspects", "searches", "ms",
    }  # fmt: skip
    assert (said[0]["outcome"], said[0]["suspects"], said[0]["log_level"]) == ("suspects", 1, "info")
    assert "secretive" not in repr(lines)


async def test_what_is_found_is_known_to_the_next_batch_before_it_is_delivered() -> None:
    """A batch that is searched while the one before it is delivered shows nothing twice and repeats no query."""
    bench = Bench()
    first = await bench.found(sent("a1"))
    searches = len(bench.searcher.history)
    second = await bench.found(sent("c3"))
    assert len(bench.searcher.history) == searches
    await bench.handler.deliver(first)
    await bench.handler.deliver(second)
    assert len(bench.publisher.on("suspect-items")) == 1
    assert bench.results["flag-c3"].reason == "all its queries have run before"


async def test_an_announcement_ends_with_the_delivery() -> None:
    """What was announced and could not be delivered is free again for the next flag."""
    bench = Bench()
    first = await bench.found(sent("a1"))
    bench.handler._delivery.withdraw(first.answers)
    await bench.run(sent("c3"))
    assert bench.results["flag-c3"].suspects == 1


async def test_the_wait_of_the_oldest_flag_is_measured() -> None:
    """Two flags that came 3 and 1 seconds before their batch began make one observation of 3 seconds."""
    bench = Bench()
    bench.clock.advance(10)
    came = [replace(message, arrived=at) for message, at in zip(messages(sent("a1"), sent("c3")), (7, 9), strict=True)]
    await bench.handler.read(came)
    read = bench.metrics.registry.get_sample_value
    assert read("qexplorer_stage_seconds_count", {"stage": "wait"}) == 1
    assert read("qexplorer_stage_seconds_sum", {"stage": "wait"}) == 3


async def test_a_batch_ends_with_the_release_that_it_began_with() -> None:
    """New policies hold from the next batch on, and every record says which release answered."""
    bench = Bench()
    message = Message(topic="flagged-listings", partition=0, offset=0, key=None, value=sent("a1"))
    prepared = await bench.handler.read([message])
    other = Policies(policies=(Policy(id="weapons", kinds=("weapons",)),))
    bench.handler.use(replace(bench.release, name="two", policies=other))
    await bench.handler.finish(prepared)
    await bench.run(sent("b1"), sent("c1", kind="weapons", policy="weapons"))
    assert [letter.reason for letter in bench.letters] == [DeadLetterReason.UNKNOWN_POLICY]
    releases = {flag: result.versions.release for flag, result in bench.results.items()}
    assert releases == {"flag-a1": "one", "flag-c1": "two"}


async def test_too_many_dead_letters_stop_the_fleet() -> None:
    """A run of them trips once it is too long; one good flag in between begins it anew."""
    bench = Bench(worker={"dead_letters_in_a_row": 6, "dead_letter_share": 1.0})
    await bench.run(b"x", b"x", b"x", b"x")
    await bench.run(b"x", sent("a1"))
    await bench.run(b"x", b"x", b"x", b"x")
    assert bench.tripped == []
    await bench.run(b"x", b"x")
    assert bench.tripped == ["7 dead letters in a row"]


async def test_a_trip_waits_for_the_broker() -> None:
    """The order to pause is as safe as everything else that the worker sends."""
    bench = Bench(worker={"dead_letters_in_a_row": 2})
    attempts: list[str] = []

    async def trip(reason: str) -> None:
        attempts.append(reason)
        if len(attempts) < 3:
            raise BrokerUnavailableError("down")

    bench.handler._dead_letters._trip = trip
    await bench.run(b"x", b"x")
    assert len(attempts) == 3


async def test_the_time_that_a_stage_waits_is_seen() -> None:
    """While search is down a gauge says for how long; it is 0 again when the work goes on."""
    bench = Bench()
    seen: list[float] = []
    bench.searcher.down = True
    bench.clock.after_sleeps(3, lambda: seen.append(waiting(bench)))
    bench.clock.after_sleeps(6, lambda: setattr(bench.searcher, "down", False))
    await bench.run(sent("a1"))
    assert seen[0] > 0
    assert waiting(bench) == 0


def waiting(bench: Bench) -> float:
    return bench.metrics.registry.get_sample_value("qexplorer_waiting_seconds", {"stage": "search"}) or 0.0


async def test_half_an_hour_without_search_costs_nothing_but_time() -> None:
    """On a clock by hand: the worker asks every few seconds, sets nothing aside, and goes on at once afterwards."""
    bench = Bench()
    bench.searcher.down = True
    asked = 0

    class Counting(ManualClock):
        async def sleep(self, seconds: float) -> None:
            nonlocal asked
            asked += 1
            if self.monotonic() >= 1800:
                bench.searcher.down = False
            await ManualClock.sleep(self, seconds)

    bench.handler._clock = clock = Counting()
    await bench.run(sent("a1"), sent("b1"))
    assert set(bench.results) == {"flag-a1", "flag-b1"}
    assert bench.letters == []
    assert 1800 <= clock.monotonic() <= 1830
    assert asked <= 1800 / 5 + 10


async def test_a_message_that_is_too_large_for_its_letter_leaves_the_letter_alone() -> None:
    """What cannot be sent again must not block its partition: where it stood and why is kept, and how large it was."""
    bench = Bench()
    await bench.run(b"x" * 3_000_000)
    (record,) = bench.publisher.on("flagged-listings-dead-letters")
    assert record.value == b""
    assert dict(record.headers)["qx-truncated"] == b"3000000"
    assert bench.letters[0].reason is DeadLetterReason.TOO_LARGE


async def test_a_senders_own_headers_do_not_lie_about_its_letter() -> None:
    """Headers of our names that came with the message are not taken for ours."""
    bench = Bench()
    forged = tuple((name, b"forged") for name in ("qx-dead-letter", "qx-key", "qx-null", "qx-state", "qx-truncated"))
    message = Message(
        topic="flagged-listings", partition=0, offset=0, key=b"k", value=b"x", headers=(*forged, ("h", b"1"))
    )
    await bench.handler.finish(await bench.handler.read([message]))
    (record,) = bench.publisher.on("flagged-listings-dead-letters")
    assert b"forged" not in [data for _, data in record.headers]
    assert {("h", b"1"), ("qx-key", b"k")} <= set(record.headers)
