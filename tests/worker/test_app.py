"""The pipeline between Faust and the handler: its stages, strict order, nothing acknowledged early."""

import asyncio
from collections.abc import Sequence
from typing import Any

from worker.app import Pipeline
from worker.work import Message


class Steps:
    """A handler whose stages are released by hand, and that remembers what happened when."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.may_generate: dict[int, asyncio.Event] = {}
        self.may_search: dict[int, asyncio.Event] = {}
        self.may_deliver: dict[int, asyncio.Event] = {}

    def gate(self, gates: dict[int, asyncio.Event], number: int) -> asyncio.Event:
        """Return the event that holds a batch at a stage."""
        return gates.setdefault(number, asyncio.Event())

    async def read(self, messages: Sequence[Message]) -> Any:
        """Pass on the number of the batch."""
        number = messages[0].offset
        self.events.append(f"read {number}")
        return number

    async def generate(self, prepared: Any) -> Any:
        """Hold until released."""
        self.events.append(f"generate {prepared}")
        await self.gate(self.may_generate, prepared).wait()
        return prepared

    async def propose(self, prepared: Any) -> Any:
        """Pass on."""
        return prepared

    async def search(self, prepared: Any) -> Any:
        """Hold until released."""
        self.events.append(f"search {prepared}")
        await self.gate(self.may_search, prepared).wait()
        return prepared

    async def deliver(self, found: Any) -> None:
        """Hold until released."""
        self.events.append(f"deliver {found}")
        await self.gate(self.may_deliver, found).wait()

    def release(self, number: int) -> None:
        """Let a batch through all stages."""
        self.gate(self.may_generate, number).set()
        self.gate(self.may_search, number).set()
        self.gate(self.may_deliver, number).set()


class OneBatch:
    """A batch of one message."""

    def __init__(self, number: int, events: list[str], *, stale: bool = False) -> None:
        self.number, self.log, self.stale = number, events, stale
        message: Any = type("Raw", (), {})()
        message.topic, message.partition, message.offset, message.key, message.headers = "t", 0, number, None, None
        event: Any = type("Event", (), {})()
        event.message, event.value = message, b"x"
        self.events = [event]

    def is_stale(self) -> bool:
        """Tell whether its partition has moved."""
        return self.stale

    def ack(self) -> int:
        """Acknowledge."""
        self.log.append(f"ack {self.number}")
        return 0


async def started(steps: Steps) -> tuple[Pipeline, asyncio.Task[None]]:
    handler: Any = steps
    running = asyncio.Event()
    running.set()
    pipeline = Pipeline(handler, running)
    return pipeline, asyncio.create_task(pipeline.finish_all())


async def until(steps: Steps, event: str) -> None:
    for _ in range(10_000):
        if event in steps.events:
            return
        await asyncio.sleep(0)
    raise AssertionError(f"{event} never happened: {steps.events}")


def batch(steps: Steps, number: int, *, stale: bool = False) -> Any:
    return OneBatch(number, steps.events, stale=stale)


async def test_the_next_batch_is_generated_while_one_is_searched() -> None:
    """Batch 1 is prepared before batch 0 is finished, and acknowledged behind it."""
    steps = Steps()
    pipeline, finishing = await started(steps)
    steps.gate(steps.may_generate, 0).set()
    await pipeline.submit(batch(steps, 0))
    await until(steps, "search 0")
    second = asyncio.create_task(pipeline.submit(batch(steps, 1)))
    await until(steps, "generate 1")
    assert "ack 0" not in steps.events
    steps.release(1)
    await second
    steps.release(0)
    await until(steps, "ack 1")
    assert [event for event in steps.events if event.startswith("ack")] == ["ack 0", "ack 1"]
    finishing.cancel()


async def test_one_batch_is_read_ahead_of_the_model() -> None:
    """While batch 0 is generated batch 1 is read, and batch 2 is not even begun."""
    steps = Steps()
    pipeline, finishing = await started(steps)
    for number in range(2):
        await pipeline.submit(batch(steps, number))
    third = asyncio.create_task(pipeline.submit(batch(steps, 2)))
    await until(steps, "generate 0")
    for _ in range(20):
        await asyncio.sleep(0)
    assert steps.events == ["read 0", "read 1", "generate 0"]
    for number in range(3):
        steps.release(number)
    await third
    await until(steps, "ack 2")
    finishing.cancel()


async def test_a_slow_search_holds_the_batches_behind_it() -> None:
    """With one in the search no more than four others are begun: memory is bounded."""
    steps = Steps()
    pipeline, finishing = await started(steps)
    for number in range(9):
        steps.gate(steps.may_generate, number).set()

    async def submit_all() -> None:
        for number in range(9):
            await pipeline.submit(batch(steps, number))

    submitted = asyncio.create_task(submit_all())
    await until(steps, "search 0")
    for _ in range(100):
        await asyncio.sleep(0)
    assert pipeline.in_hand == 5
    for number in range(9):
        steps.release(number)
    await submitted
    await until(steps, "ack 8")
    finishing.cancel()


async def test_draining_takes_nothing_more_and_finishes_what_is_in_hand() -> None:
    """A submission after the signal never starts; drain returns when the work in hand is acknowledged."""
    steps = Steps()
    pipeline, finishing = await started(steps)
    steps.release(0)
    await pipeline.submit(batch(steps, 0))
    assert await pipeline.drain(5)
    assert "ack 0" in steps.events
    late = asyncio.create_task(pipeline.submit(batch(steps, 1)))
    for _ in range(20):
        await asyncio.sleep(0)
    assert "read 1" not in steps.events
    for task in (late, finishing):
        task.cancel()


async def test_draining_gives_up_in_time_and_acknowledges_nothing() -> None:
    """What is not finished within the time-out stays unacknowledged."""
    steps = Steps()
    pipeline, finishing = await started(steps)
    steps.gate(steps.may_generate, 0).set()
    await pipeline.submit(batch(steps, 0))
    assert not await pipeline.drain(0.01)
    assert "ack 0" not in steps.events
    finishing.cancel()


async def test_a_batch_of_partitions_that_have_moved_is_not_started() -> None:
    """Its new owner reads it again, so nothing is lost by leaving it; however many have moved, the next is taken."""
    steps = Steps()
    pipeline, finishing = await started(steps)
    async with asyncio.timeout(10):
        for number in range(10):
            await pipeline.submit(batch(steps, number, stale=True))
        assert steps.events == []
        steps.release(10)
        await pipeline.submit(batch(steps, 10))
    await until(steps, "ack 10")
    finishing.cancel()


async def test_the_next_batch_is_searched_while_one_is_delivered() -> None:
    """Batch 1 is searched before batch 0 is delivered, and delivered and acknowledged behind it."""
    steps = Steps()
    pipeline, finishing = await started(steps)
    for number in range(2):
        steps.gate(steps.may_generate, number).set()
        steps.gate(steps.may_search, number).set()
    await pipeline.submit(batch(steps, 0))
    await pipeline.submit(batch(steps, 1))
    await until(steps, "search 1")
    await until(steps, "deliver 0")
    assert "deliver 1" not in steps.events
    steps.gate(steps.may_deliver, 1).set()
    steps.gate(steps.may_deliver, 0).set()
    await until(steps, "ack 1")
    last = [event for event in steps.events if event.startswith(("deliver", "ack"))]
    assert last == ["deliver 0", "ack 0", "deliver 1", "ack 1"]
    finishing.cancel()


async def test_a_paused_fleet_takes_nothing_and_finishes_what_it_has() -> None:
    """The batch in hand is acknowledged; the next waits for the order to go on, and is dropped if it has moved."""
    steps = Steps()
    handler: Any = steps
    running = asyncio.Event()
    running.set()
    pipeline = Pipeline(handler, running)
    finishing = asyncio.create_task(pipeline.finish_all())
    first: Any = OneBatch(1, steps.events)
    second: Any = OneBatch(2, steps.events)
    for number in (1, 2):
        steps.release(number)
    await pipeline.submit(first)
    running.clear()
    waiting = asyncio.create_task(pipeline.submit(second))
    await until(steps, "ack 1")
    assert "read 2" not in steps.events
    running.set()
    await waiting
    await until(steps, "ack 2")
    finishing.cancel()
