"""Reading from Kafka: no idle second between full buffers."""

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import CorruptRecordException
from faust.transport.drivers.aiokafka import Consumer
from faust.types import TP
from structlog.testing import capture_logs

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

    async def theirs(_: Any, timeout: float) -> tuple[None, None]:  # noqa: ASYNC109 - as the library has it
        asked.append(timeout)
        return None, None

    monkeypatch.setattr(Consumer, "_wait_next_records", theirs)
    buffers = Buffers(full_for=3)
    for name in ("flow_active", "should_stop", "_get_active_partitions", "sleep"):
        monkeypatch.setattr(PromptConsumer, name, getattr(buffers, name), raising=False)
    consumer = PromptConsumer.__new__(PromptConsumer)
    consumer._left = {}
    assert await consumer._wait_next_records(1.0) == (None, None)
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


class Line(PromptConsumer):
    """A consumer over one partition of numbered records, four at a time, without a broker."""

    flow_active = True
    should_stop = False

    def __init__(self) -> None:
        self._left = {}
        self.at = 0

    def _get_active_partitions(self) -> set[TP]:
        return {PLACE}

    def assignment(self) -> set[TP]:
        """Return the one partition."""
        return {PLACE}

    async def position(self, _: TP) -> int:
        """Return where the next fetch begins."""
        return self.at

    async def seek(self, _: TP, offset: int) -> None:
        """Move there."""
        self.at = offset

    async def fetch(self, handed_on: int) -> list[int]:
        """Fetch, hand so many on, and return their offsets: the rest is dropped, as by a rebalance."""
        records, _ = await self._wait_next_records(1.0)
        batch = records[PLACE][:handed_on]
        for record in batch:
            self._to_message(PLACE, record)
        return [record.offset for record in batch]


PLACE = TP("flags", 0)


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Line:
    async def fetched(self: Line, _: float) -> tuple[dict[TP, list[Any]], set[TP]]:
        first, self.at = self.at, self.at + 4
        return {PLACE: [SimpleNamespace(offset=offset) for offset in range(first, self.at)]}, {PLACE}

    async def committed(self: Line) -> None:
        self.at = 2

    monkeypatch.setattr(Consumer, "_wait_next_records", fetched)
    monkeypatch.setattr(Consumer, "_to_message", lambda *_: None)
    monkeypatch.setattr(Consumer, "perform_seek", committed)
    return Line()


async def test_what_was_fetched_and_dropped_is_read_again(line: Line) -> None:
    """None, some or all of a fetch may be handed on: the next one begins right behind what was."""
    assert await line.fetch(4) == [0, 1, 2, 3]
    assert await line.fetch(0) == []
    assert await line.fetch(1) == [4]
    assert await line.fetch(4) == [5, 6, 7, 8]


async def test_a_partition_that_was_moved_since_is_left_where_it_is(line: Line) -> None:
    """After a rebalance the committed offset counts, not what was dropped before it."""
    await line.fetch(1)
    await line.perform_seek()
    assert await line.fetch(4) == [2, 3, 4, 5]
    await line.fetch(1)
    line.at = 20
    assert await line.fetch(1) == [20]


async def test_what_was_dropped_of_a_partition_without_a_commit_is_read_again(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The seek after a rebalance goes to what is committed; where nothing is, it leaves the position as it is."""

    async def nowhere(_: Line) -> None:
        return None

    monkeypatch.setattr(Consumer, "perform_seek", nowhere)
    await line.fetch(0)
    await line.perform_seek()
    assert await line.fetch(4) == [0, 1, 2, 3]


async def test_a_fetch_keeps_its_partitions_though_faust_empties_its_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library takes an empty set for all partitions, also those that a rebalance has just brought."""
    live = {PLACE}
    asked: list[set[TP]] = []

    async def theirs(_: Any, places: set[TP], _timeout: float) -> dict[TP, str]:
        live.clear()
        asked.append(places)
        return {}

    monkeypatch.setattr(Consumer, "_getmany", theirs)
    consumer = object.__new__(consumer_of(["flags"]))
    await consumer._getmany(live, 1.0)
    await consumer._getmany(live, 1.0)
    assert asked == [{PLACE}]


async def test_a_rebalance_during_the_way_back_has_the_last_word(line: Line) -> None:
    """When the committed offset is sought while we seek, it is sought again behind us."""
    await line.fetch(1)
    seek = line.seek

    async def rebalanced(place: TP, offset: int) -> None:
        line._seeks += 1
        await seek(place, offset)

    line.seek = rebalanced  # type: ignore[method-assign, assignment]
    assert await line.fetch(1) == [2]


async def test_a_wrong_checksum_is_named_and_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker stays, says which partitions it has, and asks again: leaving would hand the same to the next one."""
    slept: list[float] = []

    async def theirs(_: Any, _places: set[TP], _timeout: float) -> None:
        raise CorruptRecordException("Invalid CRC")

    async def sleep(_: Any, seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(Consumer, "_getmany", theirs)
    monkeypatch.setattr(Consumer, "sleep", sleep)
    consumer = object.__new__(consumer_of(["flags"]))
    with capture_logs() as logs:
        assert await consumer._getmany({TP("flags", 1)}, 1.0) == {}
    assert logs[0]["partitions"] == ["flags/1"]
    assert slept == [10.0]
