"""Reading from Kafka: no idle second between full buffers."""

from typing import Any

import pytest
from faust.transport.drivers.aiokafka import Consumer
from faust.types import TP

from worker.batches import FULL_S, PromptConsumer, consumer_of


class Buffers:
    """The part of a consumer that its waiting looks at: room comes after some sleeps."""

    flow_active = True
    should_stop = False

    def __init__(self, full_for: int) -> None:
        self.full_for = full_for
        self.slept: list[float] = []

    def _get_active_partitions(self) -> set[int]:
        return {0} if len(self.slept) >= self.full_for else set()

    async def sleep(self, seconds: float) -> None:
        """Remember it."""
        self.slept.append(seconds)


async def test_a_full_buffer_is_looked_at_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library is only asked once a partition has room; its own wait would be a second."""
    asked: list[float] = []

    async def theirs(_: Any, timeout: float) -> str:  # noqa: ASYNC109 - as the library has it
        asked.append(timeout)
        return "records"

    monkeypatch.setattr(Consumer, "_wait_next_records", theirs)
    buffers = Buffers(full_for=3)
    for name in ("flow_active", "should_stop", "_get_active_partitions", "sleep"):
        monkeypatch.setattr(PromptConsumer, name, getattr(buffers, name), raising=False)
    assert await PromptConsumer.__new__(PromptConsumer)._wait_next_records(1.0) == "records"
    assert (buffers.slept, asked) == ([FULL_S] * 3, [1.0])


async def test_urgent_topics_are_read_first_and_the_others_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the urgent topic has records, three of four reads are from it; without any, all are asked at once."""
    urgent, other = TP("urgent", 0), TP("other", 0)
    full = {urgent, other}

    async def theirs(_: Any, places: set[TP], _timeout: float) -> dict[TP, str]:
        return {place: "records" for place in sorted(places) if place in full} if places != {urgent, other} else {}

    monkeypatch.setattr(Consumer, "_getmany", theirs)
    consumer = object.__new__(consumer_of(["urgent", "other"]))
    read = [next(iter(await consumer._getmany({urgent, other}, 1.0))).topic for _ in range(8)]
    assert read == ["urgent", "urgent", "urgent", "other"] * 2
    full.remove(urgent)
    assert [place.topic for place in await consumer._getmany({urgent, other}, 1.0)] == ["other"]
    assert await consumer._getmany({urgent}, 1.0) == {}
