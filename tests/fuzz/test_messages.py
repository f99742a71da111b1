"""What the worker reads is a flag or a reason why it is none: nothing raises, nothing leaks, nothing is lost."""

from collections import Counter
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from qexplorer.settings import Settings
from qexplorer.testing import START, MemorySearcher, a_flag, a_listing
from schemas import DeadLetter, FlaggedListing, FlagResult
from tests.bench.overlap import handler
from tests.fuzz.messages import CANARY, MUTATIONS, Fate, Fuzzed, fuzzed
from tests.worker.test_any_text import InLine
from worker.decode import Undecodable, decode, mapped
from worker.work import Message

COUNT = 3_000
MOST_BYTES = 100_000
A_FLAG = a_flag("a1").to_bytes()


def checked(value: bytes | None, event_map: dict[str, str] | None = None) -> FlaggedListing | Undecodable:
    """Decode, and hold the outcome to what is promised of it."""
    read = decode(value, most_bytes=MOST_BYTES, event_map=event_map or {})
    if isinstance(read, Undecodable):
        assert read.error
        assert CANARY not in read.error
    else:
        again = decode(read.to_bytes(), most_bytes=10 * MOST_BYTES, event_map={})
        assert again == read
    return read


def test_every_mutation_is_read_as_it_must_be() -> None:
    """A flag of a newer or older producer is read, what is broken is not, and errors never repeat the message."""
    wrong: Counter[str] = Counter()
    for message in fuzzed(1, COUNT, flagged_at=START):
        accepted = isinstance(checked(message.value), FlaggedListing)
        # Which policies there are is not known to the decoder.
        if message.name != "unknown policy" and message.fate is not (Fate.ANSWERED if accepted else Fate.SET_ASIDE):
            wrong[message.name] += message.fate is not Fate.EITHER
    assert +wrong == {}


JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**64), 2**64) | st.floats() | st.text(max_size=20) | st.just(CANARY),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8) | st.just(CANARY), inner, max_size=4)
    ),
    max_leaves=12,
)
FIELDS = ["flag_id", "listing", "listing.id", "listing.price", "listing.price.amount", "listing.attributes.colour",
          "listing.images", "score", "kind", "v", "flagged_at", "listing.updated_at"]  # fmt: skip
PATHS = st.sampled_from(["a", "a.b", "a.0", "a.b.0.c", "=5", "=", "", ".", "a..b", "flag_id", "listing", "listing.id"])


@settings(max_examples=400, deadline=None)
@given(JSON, st.dictionaries(st.sampled_from(FIELDS), PATHS, max_size=6), st.booleans())
def test_any_event_under_any_map_is_a_flag_or_a_reason(event: Any, event_map: dict[str, str], whole: bool) -> None:
    """No event of a platform raises, whatever its map says, and none is changed or repeated by its error."""
    body = {**orjson.loads(A_FLAG), "a": event} if whole else event
    try:
        value = orjson.dumps(body)
    except TypeError:
        value = repr(body).encode("utf-8", "surrogatepass")
    checked(value, event_map)


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=400), st.integers(0, len(A_FLAG)), st.integers(0, 40))
def test_any_bytes_are_a_flag_or_a_reason(piece: bytes, at: int, length: int) -> None:
    """Bytes alone, and bytes in the middle of a good flag."""
    checked(piece)
    checked(A_FLAG[:at] + piece + A_FLAG[at + length :])


def test_names_that_the_sender_chose_are_not_repeated() -> None:
    """A key of the attributes is the sender's text: the error says where it stands, and not what it says."""
    event = orjson.loads(A_FLAG)
    event["listing"]["attributes"] = {CANARY: 5}
    read = checked(orjson.dumps(event))
    assert isinstance(read, Undecodable)
    assert read.error == "FlaggedListing: listing.attributes.?: Input should be a valid string"


def test_a_listing_of_another_major_version_is_refused() -> None:
    """The listing in a flag is a record of its own, with a version of its own."""
    event = orjson.loads(A_FLAG)
    event["listing"]["v"] = 2
    read = checked(orjson.dumps(event))
    assert isinstance(read, Undecodable)
    assert read.error == "Listing: major version 2 is not supported, only 1 is"


@pytest.mark.parametrize("item", ["text", 5, None, [], {"id": "other", "version": "1"}])
def test_a_map_may_take_an_object_and_change_a_field_of_it(item: Any) -> None:
    """Whatever stands where the map expects an object, the event is a flag or a reason, and is left as it was."""
    event_map = {
        "listing": "item",
        "listing.id": "id",
        "flag_id": "=f",
        "kind": "=k",
        "policy": "=p",
        "flagged_at": "at",
    }
    event = {"item": item, "id": 7, "at": "2026-01-01T00:00:00Z"}
    before = orjson.dumps(event)
    read = checked(before, event_map)
    assert isinstance(read, FlaggedListing) == isinstance(item, dict)
    mapped(event, event_map)
    assert orjson.dumps(event) == before


async def test_each_message_is_accounted_for_once() -> None:
    """Of thousands of hostile messages each leads to a result or a dead letter, never both; none raises or leaks."""
    searcher = MemorySearcher(listings={"listings": [a_listing("b2", "plug gummies sauce")]})
    made = handler(InLine(), searcher, Settings(worker={"max_message_bytes": MOST_BYTES}))
    sent: dict[int, Fuzzed] = dict(enumerate(fuzzed(2, COUNT, flagged_at=START)))
    with capture_logs() as lines:
        for start in range(0, COUNT, 16):
            batch = [as_message(at, sent[at]) for at in range(start, min(start + 16, COUNT))]
            await made.finish(await made.read(batch))
    records = made._delivery._publisher.records  # type: ignore[attr-defined]
    seen: Counter[int] = Counter()
    for record in records:
        headers = dict(record.headers)
        if record.topic == "flagged-listings-dead-letters":
            letter = DeadLetter.from_bytes(headers["qx-dead-letter"])
            message = sent[letter.position.offset]
            assert record.value == (message.value or b"")
            assert message.fate is not Fate.ANSWERED, message.name
            assert letter.reason != "unexpected", letter.error
            # The policy that is asked for is no text of the listing, and the letter says which one is missing.
            assert CANARY not in letter.error or letter.reason == "unknown_policy"
            seen[letter.position.offset] += 1
        elif headers.get("type") == b"FlagResult":
            result = FlagResult.from_bytes(record.value)
            assert result.position is not None
            assert sent[result.position.offset].fate is not Fate.SET_ASIDE, sent[result.position.offset].name
            seen[result.position.offset] += 1
    assert {at for at in range(COUNT) if seen[at] != 1} == set()
    assert {sent[at].name for at in seen} == set(MUTATIONS)
    said = [{key: value for key, value in line.items() if key != "flag_id"} for line in lines]
    assert CANARY not in repr([line for line in said if line.get("reason") != "unknown_policy"])


def as_message(offset: int, message: Fuzzed) -> Message:
    return Message(
        topic="flagged-listings",
        partition=0,
        offset=offset,
        key=message.key,
        value=message.value,
        headers=message.headers,  # type: ignore[arg-type]  # Kafka lets a header have no value
    )
