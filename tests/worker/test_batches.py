"""Reading from Kafka: no idle second between full buffers."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import CorruptRecordException
from faust.transport.drivers.aiokafka import Consumer
from faust.types import TP
from mode.utils.locks import Event
from mode.utils.queues import ThrowableQueue
from structlog.testing import capture_logs

import worker.batches
from worker.batches import KeptFlow, PromptConsumer, batches, consumer_of


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
        self._room = asyncio.Event()
        self._stopped, self._crashed, self._loop = Event(), Event(), None
        self._buffered_partitions: set[TP] = set()
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


PLACE, OTHER = TP("flags", 0), TP("flags", 1)


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


async def test_reading_goes_on_when_all_partitions_have_room(line: Line) -> None:
    """While one is full the others have records, which aiokafka would have handed out before it fetches again."""
    line._buffered_partitions = {PLACE, OTHER}
    fetching = asyncio.create_task(line.fetch(4))
    for place in (PLACE, OTHER):
        await asyncio.sleep(0)
        assert not fetching.done()
        line.on_buffer_drop(place)
    assert await fetching == [0, 1, 2, 3]


async def test_a_partition_without_room_does_not_stop_the_others_for_long(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that has gone to another worker never tells of room."""
    monkeypatch.setattr(worker.batches, "FULL_S", 0.0)
    line._buffered_partitions = {OTHER}
    assert await line.fetch(4) == [0, 1, 2, 3]


class Handing:
    """Hands on a message: at once, or when there is room."""

    def __init__(self, room: asyncio.Event) -> None:
        self.room = room
        self.took: list[str] = []

    async def take(self, message: str) -> str:
        """Wait for room as often as there is none."""
        while not self.room.is_set():
            try:
                await self.room.wait()
            except asyncio.CancelledError:
                self.took.append(f"not {message}")
                raise
        self.took.append(message)
        return message


async def test_a_message_for_which_there_is_room_is_handed_on_at_once(line: Line) -> None:
    """Without a turn of the event loop."""
    room, stopped = asyncio.Event(), asyncio.Event()
    room.set()
    handing = Handing(room)
    step = line.wait_first(handing.take("a"), stopped.wait())
    with pytest.raises(StopIteration) as ended:
        step.send(None)
    assert ended.value.value.results == ["a"]
    assert handing.took == ["a"]


async def test_a_message_waits_for_room_or_the_end_of_the_flow(line: Line) -> None:
    """It is handed on when there is room, and dropped when the flow is stopped before."""
    room, stopped = asyncio.Event(), asyncio.Event()
    handing = Handing(room)
    waiting = asyncio.create_task(line.wait_first(handing.take("a"), stopped.wait()))
    await asyncio.sleep(0)
    room.set()
    assert (await waiting).results == ["a"]
    room.clear()
    waiting = asyncio.create_task(line.wait_first(handing.take("b"), stopped.wait()))
    await asyncio.sleep(0)
    stopped.set()
    await waiting
    room.set()
    await asyncio.sleep(0)
    assert handing.took == ["a", "not b"]


async def test_an_error_in_handing_on_is_raised(line: Line) -> None:
    """At once or after a wait."""

    async def fails(turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        raise ValueError(turns)

    for turns in range(3):
        with pytest.raises(ValueError, match=str(turns)):
            await line.wait_first(fails(turns), asyncio.Event().wait())


class FakeApp:
    """What `batches` asks of the app."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.consumer_generation_id = 1
        self.monitor = SimpleNamespace(stream_inbound_time={}, time=lambda: 7.0)


def event(number: int, generation: int = 1) -> Any:
    return SimpleNamespace(number=number, message=SimpleNamespace(generation_id=generation, tp=PLACE))


class Channel:
    """A channel that is iterated already."""

    def __init__(self, queue: Any = None) -> None:
        self.queue: asyncio.Queue[Any] = queue or asyncio.Queue()

    def __aiter__(self) -> "Channel":
        return self

    async def __anext__(self) -> Any:
        return await self.queue.get()


async def test_a_batch_is_full_or_has_waited() -> None:
    """In order, none lost and none twice, whether they are there or come while it waits."""
    app: Any = FakeApp()
    channel = Channel()
    made = batches(app, SimpleNamespace(channel=channel), 3, 0.02)
    for number in range(4):
        channel.queue.put_nowait(event(number))
    got = [[each.number for each in (await anext(made)).events] for _ in range(2)]
    assert got == [[0, 1, 2], [3]]
    nothing_yet = asyncio.create_task(anext(made))
    await asyncio.sleep(0)
    assert not nothing_yet.done()
    for number in range(4, 6):
        channel.queue.put_nowait(event(number))
        await asyncio.sleep(0)
    assert [each.number for each in (await nothing_yet).events] == [4, 5]
    channel.queue.put_nowait(event(6))
    assert [each.number for each in (await anext(made)).events] == [6]
    assert app.monitor.stream_inbound_time == {PLACE: 7.0}
    await made.aclose()


async def test_a_channel_that_is_closed_ends_the_batches() -> None:
    """As at the end of the worker; what waits to be yielded is not acknowledged, so it is read again."""
    app: Any = FakeApp()
    flow = KeptFlow()
    flow.resume()
    queue: Any = ThrowableQueue(flow_control=flow)
    for before in (0, 1):
        made = batches(app, SimpleNamespace(channel=Channel(queue)), 3, 1.0)
        for number in range(before):
            queue.put_nowait(event(number))
        ended = asyncio.create_task(anext(made, None))
        await asyncio.sleep(0)
        await queue.throw(StopAsyncIteration())
        assert await ended is None


async def test_what_belongs_to_another_worker_by_now_is_in_no_batch() -> None:
    """A rebalance while a batch fills: its new owner reads it again."""
    app: Any = FakeApp()
    channel = Channel()
    made = batches(app, SimpleNamespace(channel=channel), 2, 0.0)
    for number, generation in enumerate([0, 0, 1, 0, 1]):
        channel.queue.put_nowait(event(number, generation))
    assert [[each.number for each in (await anext(made)).events] for _ in range(2)] == [[2], [4]]
    await made.aclose()


async def test_what_came_while_the_flow_was_resumed_twice_is_kept() -> None:
    """As when two rebalances follow closely; the library's own flow would empty the queue."""
    flow = KeptFlow()
    queue: Any = ThrowableQueue(maxsize=4, flow_control=flow, clear_on_resume=True)
    flow.resume()
    queue.put_nowait(event(0))
    flow.resume()
    flow.clear()
    assert queue.qsize() == 1
