"""The two writes of a suspect: a crash between any two steps loses nothing and shows nothing twice."""

from collections.abc import Sequence
from typing import Any

import orjson
import pytest

from qexplorer.answer import Answer, Run
from qexplorer.bank import QueryBank
from qexplorer.discoveries import FOUND_AT_ONCE, Discoveries, State
from qexplorer.errors import BrokerUnavailableError
from qexplorer.explore import Explorer
from qexplorer.limiter import SearchLimiter
from qexplorer.llm.engine import EngineVersion, Generation, Reply
from qexplorer.policies import Policy
from qexplorer.search.backend import Document, WriteMode
from qexplorer.search.memory import MemoryStore
from qexplorer.settings import ExploreSettings, SearchSettings, Topics
from qexplorer.steps import Seed
from qexplorer.testing import START, ManualClock, MemorySearcher, RecordingPublisher, WordTriage, a_flag, a_listing
from qexplorer.triage import Triage
from schemas import FlagOutcome, FlagResult, Suspect
from worker.delivery import Caps, Delivery

POLICY = Policy(id="drugs", kinds=("drugs",))


class KilledError(BaseException):
    """Stands for a process that ends at once: nothing may catch it."""


class MortalStore(MemoryStore):
    """A store whose owner is killed right before or after its n-th write."""

    def __init__(self) -> None:
        super().__init__()
        self.writes = 0
        self.die_before = self.die_after = -1

    async def write(self, *args: Any, **kwargs: Any) -> set[str]:
        """Write, or die on the way."""
        self.writes += 1
        if self.writes == self.die_before:
            raise KilledError
        conflicts = await super().write(*args, **kwargs)
        if self.writes == self.die_after:
            raise KilledError
        return conflicts


class MortalPublisher(RecordingPublisher):
    """A publisher whose owner is killed right before or after its n-th call."""

    calls = 0
    die_before = die_after = -1

    async def publish(self, records: Any) -> None:
        """Publish, or die on the way."""
        self.calls += 1
        if self.calls == self.die_before:
            raise KilledError
        await super().publish(records)
        if self.calls == self.die_after:
            raise KilledError


class Worker:
    """What a worker process has in memory; store and topic outlive it."""

    def __init__(
        self,
        store: MemoryStore,
        publisher: RecordingPublisher,
        clock: ManualClock,
        said: str,
        *,
        policy: Policy = POLICY,
        triage: Triage | None = None,
    ) -> None:
        self.clock = clock
        self.policy = policy
        discoveries, bank = Discoveries(store, "discoveries"), QueryBank(store, "bank")
        searcher = MemorySearcher(
            listings={"listings": [a_listing("b2", "plug gummies sauce"), a_listing("c3", "zaza lean plug")]}
        )
        self.explorer = Explorer(
            searcher,
            clock=clock,
            limiter=SearchLimiter(1000, clock),
            settings=ExploreSettings(),
            search=SearchSettings(),
            bank=bank,
            discoveries=discoveries,
            triage=triage,
        )
        self.delivery = Delivery(publisher, discoveries, bank, topics=Topics(), clock=clock, claim_timeout_s=600)
        self.reply = Reply(generations=(Generation(text=said, source="greedy"),))

    async def seeds(self, flag: str) -> list[Seed]:
        """Read one flag."""
        return await self.explorer.seeds([(a_flag(flag, "x"), self.policy, None)], Run(run_id="r"))

    async def run(self, flag: str) -> list[FlagResult]:
        """Take one flag all the way."""
        seeds = await self.seeds(flag)
        resumed = await self.delivery.resume(seeds)
        answers: list[Answer] = await self.explorer.explore(
            seeds, [self.reply], [EngineVersion(model="m")], Run(run_id="r")
        )
        return await self.delivery.deliver(answers, resumed)


STEPS = [
    pytest.param({"publisher": ("die_before", 1)}, id="claimed, not published"),
    pytest.param({"publisher": ("die_after", 1)}, id="published, not marked"),
    pytest.param({"store": ("die_before", 2)}, id="before the claim"),
    pytest.param({"store": ("die_after", 2)}, id="right after the claim"),
    pytest.param({"store": ("die_before", 3)}, id="before marking"),
    pytest.param({"store": ("die_after", 3)}, id="right after marking"),
    pytest.param({"publisher": ("die_before", 2)}, id="before the audit"),
    pytest.param({"publisher": ("die_after", 2)}, id="audit delivered, not banked"),
    pytest.param({"store": ("die_before", 4)}, id="before the bank"),
    pytest.param({"store": ("die_after", 4)}, id="banked, not acknowledged"),
]


@pytest.mark.parametrize("death", STEPS)
@pytest.mark.parametrize("retry_says", ["plug", "lean"], ids=["same queries", "other queries"])
async def test_a_crash_between_any_two_steps_loses_nothing(death: dict[str, tuple[str, int]], retry_says: str) -> None:
    """The flag is read again by another process, which may ask other queries, and every suspect is out once by key."""
    store, publisher, clock = MortalStore(), MortalPublisher(), ManualClock()
    for name, (how, when) in death.items():
        setattr({"store": store, "publisher": publisher}[name], how, when)
    with pytest.raises(KilledError):
        await Worker(store, publisher, clock, "plug").run("a1")
    claimed = {doc.id for doc in store._documents["discoveries"].values() if doc.source["state"] != State.FLAGGED}
    store.die_before = store.die_after = publisher.die_before = publisher.die_after = -1
    (result,) = await Worker(store, publisher, clock, retry_says).run("a1")
    shown = [Suspect.from_bytes(record.value) for record in publisher.on("suspect-items")]
    assert claimed <= {suspect.review_key for suspect in shown}
    assert {suspect.listing_id for suspect in shown} >= ({"b2", "c3"} if retry_says == "plug" else {"c3"})
    states = {doc.source["state"] for doc in store._documents["discoveries"].values()}
    assert states == {State.FLAGGED, State.PUBLISHED}
    published_by_retry = len(shown) - len({suspect.review_key for suspect in shown})
    assert published_by_retry <= 2
    assert [r.value for r in publisher.on("query-audit")][-1] == result.to_bytes()


async def test_what_was_claimed_is_found_beside_much_that_was_published() -> None:
    """A flag that is read again long after its finds were published still has its last claim published."""
    store, publisher, clock = MemoryStore(), MortalPublisher(), ManualClock()
    crowd = [Document(id=f"p{n}", source={"owner": "flag-a1", "state": "published"}) for n in range(FOUND_AT_ONCE)]
    await store.write("discoveries", crowd, WriteMode.CREATE)
    publisher.die_before = 1
    worker = Worker(store, publisher, clock, "plug")
    with pytest.raises(KilledError):
        await worker.run("a1")
    publisher.die_before = -1
    resumed = await worker.delivery.resume(await worker.seeds("a1"))
    assert {flag: len(keys) for flag, keys in resumed.items()} == {"flag-a1": 2}


@pytest.mark.parametrize("cap", [None, 1])
async def test_an_answer_that_is_delivered_once_more_counts_what_is_out(cap: int | None) -> None:
    """Where the audit could not be written behind the suspects, the result still says how many there are."""
    publisher, clock = MortalPublisher(), ManualClock()
    policy = POLICY.model_copy(update={"cap_per_hour": cap, "triage_threshold": 0.0})
    worker = Worker(MemoryStore(), publisher, clock, "plug", policy=policy)
    seeds = await worker.seeds("a1")
    answers = await worker.explorer.explore(seeds, [worker.reply], [EngineVersion(model="m")], Run(run_id="r"))
    publisher.die_before = 2
    with pytest.raises(KilledError):
        await worker.delivery.deliver(answers, {})
    (result,) = await worker.delivery.deliver(answers, {})
    waiting = 0 if cap is None else 1
    assert len(listings_of(publisher)) == 2 - waiting
    assert (result.outcome, result.suspects, result.held) == (FlagOutcome.SUSPECTS, 2 - waiting, waiting)


async def test_records_carry_the_review_key_so_that_repeats_can_be_dropped() -> None:
    """The key of a suspect's message is its review key, that of an audit record or result its own id."""
    publisher = RecordingPublisher()
    await Worker(MemoryStore(), publisher, ManualClock(), "plug").run("a1")
    for record in publisher.on("suspect-items"):
        assert record.key.decode() == Suspect.from_bytes(record.value).review_key
    for record in publisher.on("query-audit"):
        fields = orjson.loads(record.value)
        assert record.key.decode() == fields.get("audit_id", fields.get("result_id"))


async def test_another_flag_does_not_publish_what_is_held() -> None:
    """Two flags that race for an item: the first claim wins, the other's result says so."""
    store, publisher, clock = MemoryStore(), RecordingPublisher(), ManualClock()
    first, second = Worker(store, publisher, clock, "plug"), Worker(store, publisher, clock, "plug")
    seeds = [
        (await worker.explorer.seeds([(a_flag(name, "x"), POLICY, None)], Run(run_id="r")))[0]
        for worker, name in ((first, "a1"), (second, "z9"))
    ]
    answers = [
        (await worker.explorer.explore([seed], [worker.reply], [EngineVersion(model="m")], Run(run_id="r")))[0]
        for worker, seed in zip((first, second), seeds, strict=True)
    ]
    await first.delivery.deliver([answers[0]], {})
    (result,) = await second.delivery.deliver([answers[1]], {})
    assert len(publisher.on("suspect-items")) == 2
    assert (result.suspects, result.reason) == (0, "all its finds were published by others")


async def test_a_retracted_item_may_be_published_again() -> None:
    """After a retraction the same key goes out again for the next flag that finds it."""
    store, publisher, clock = MemoryStore(), RecordingPublisher(), ManualClock()
    await Worker(store, publisher, clock, "gummies").run("a1")
    key = Suspect.from_bytes(publisher.on("suspect-items")[0].value).review_key
    assert await Discoveries(store, "discoveries").retract([key], clock.now()) == [key]
    await Worker(store, publisher, clock, "sauce").run("z9")
    assert [record.key.decode() for record in publisher.on("suspect-items")] == [key, key]


async def test_nothing_is_banked_when_the_audit_is_not_delivered() -> None:
    """A query is banked only behind its delivered record."""
    store, publisher = MemoryStore(), RecordingPublisher()
    worker = Worker(store, publisher, ManualClock(), "plug")
    publisher.failures = [BrokerUnavailableError("down")]
    with pytest.raises(BrokerUnavailableError):
        await worker.run("a1")
    assert "bank" not in store._documents or not store._documents["bank"]


def listings_of(publisher: RecordingPublisher) -> list[str]:
    return [Suspect.from_bytes(record.value).listing_id for record in publisher.on("suspect-items")]


class Likely(WordTriage):
    """All are likely, those with a wanted word more so."""

    def score(self, texts: Sequence[str]) -> list[float]:
        """Return 0.95 for a text with a wanted word, else 0.8."""
        return [0.95 if score > 0.5 else 0.8 for score in WordTriage.score(self, texts)]


async def test_what_is_above_the_cap_of_the_hour_waits_and_the_best_comes_first() -> None:
    """The likely one is published, the other is held, not lost: an hour later it comes, once."""
    store, publisher, clock = MemoryStore(), RecordingPublisher(), ManualClock()
    policy = POLICY.model_copy(update={"cap_per_hour": 1, "triage_threshold": 0.0})
    triage = Likely(wanted=frozenset({"lean"}))
    worker = Worker(store, publisher, clock, "plug", policy=policy, triage=triage)
    (result,) = await worker.run("a1")
    assert listings_of(publisher) == ["c3"]
    assert (result.suspects, result.held) == (1, 1)
    assert await worker.delivery.free([policy]) == {"drugs": 1}
    clock.advance(3590)
    assert await worker.delivery.free([policy]) == {"drugs": 1}
    # Another worker has only the memory of the fleet to go by.
    other = Worker(store, publisher, clock, "plug", policy=policy, triage=triage)
    assert await other.delivery.free([policy]) == {"drugs": 1}
    clock.advance(20)
    assert await other.delivery.free([policy]) == {}
    assert await worker.delivery.free([policy]) == {}
    assert listings_of(publisher) == ["c3", "b2"]


async def test_held_items_are_known_and_come_at_once_when_the_cap_is_lifted() -> None:
    """Another flag does not find them again; without a cap nothing waits."""
    store, publisher, clock = MemoryStore(), RecordingPublisher(), ManualClock()
    policy = POLICY.model_copy(update={"cap_per_hour": 1, "triage_threshold": 0.0})
    worker = Worker(store, publisher, clock, "plug", policy=policy)
    await worker.run("a1")
    (again,) = await Worker(store, publisher, clock, "plug", policy=policy).run("z9")
    assert (again.suspects, again.held) == (0, 0)
    assert await worker.delivery.free([POLICY]) == {}
    assert sorted(listings_of(publisher)) == ["b2", "c3"]


async def hold(store: MemoryStore, policy: str, scores: Sequence[float]) -> None:
    """Put held suspects into the memory, each with its score as its listing's id."""
    held = [
        Document(
            id=f"{policy}-{place}",
            source={
                "policy": policy,
                "state": "held",
                "owner": "f",
                "at": START.isoformat(),
                "score": score,
                "suspect": "s",
            },
        )
        for place, score in enumerate(scores)
    ]
    await store.write("discoveries", held, WriteMode.CREATE)


async def test_many_held_suspects_of_one_policy_do_not_keep_those_of_another() -> None:
    """Each policy has its own hour, and its best come first however many there are."""
    store, publisher = MemoryStore(), RecordingPublisher()
    await hold(store, "spam", [*([0.5] * FOUND_AT_ONCE), 0.9])
    await hold(store, "drugs", [0.6, 0.8])
    worker = Worker(store, publisher, ManualClock(), "plug")
    spam = Policy(id="spam", kinds=("spam",), cap_per_hour=1)
    left = await worker.delivery.free([spam, POLICY.model_copy(update={"cap_per_hour": 1})])
    assert left == {"spam": FOUND_AT_ONCE, "drugs": 1}
    assert [record.key.decode() for record in publisher.records] == [f"spam-{FOUND_AT_ONCE}", "drugs-1"]


async def test_held_suspects_of_a_policy_that_is_not_known_here_wait() -> None:
    """A worker that has an older file of policies must not let them all out as if they had no cap."""
    store, publisher = MemoryStore(), RecordingPublisher()
    await hold(store, "new", [0.5, 0.6])
    assert await Worker(store, publisher, ManualClock(), "plug").delivery.free([POLICY]) == {"": 2}
    assert not publisher.records


async def test_a_worker_that_dies_while_it_holds_loses_nothing() -> None:
    """Killed between claim and hold, its retry publishes what it had claimed."""
    store, publisher, clock = MortalStore(), RecordingPublisher(), ManualClock()
    policy = POLICY.model_copy(update={"cap_per_hour": 1, "triage_threshold": 0.0})
    store.die_before = 3
    with pytest.raises(KilledError):
        await Worker(store, publisher, clock, "plug", policy=policy).run("a1")
    await Worker(store, publisher, clock, "plug", policy=policy).run("a1")
    assert sorted(listings_of(publisher)) == ["b2", "c3"]


async def test_what_was_published_an_hour_ago_is_not_kept_in_mind() -> None:
    """A worker that runs for months counts the last hour alone, also for a policy without a cap."""
    clock = ManualClock()
    caps = Caps(Discoveries(MemoryStore(), "discoveries"), clock)
    for _ in range(100):
        caps.count("drugs", 1)
        clock.advance(60)
    assert len(caps._mine["drugs"]) <= 61
