"""Batches as the client reads them: odd names of headers, every codec, broken bytes, and what grows without bound."""

from collections.abc import Sequence

import pytest
from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from aiokafka.structs import ConsumerRecord, TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from worker import envelopes
from worker.envelopes import Envelopes, complaint, guard

NONE, GZIP, SNAPPY, LZ4, ZSTD = range(5)
CODECS = [NONE, GZIP, SNAPPY, LZ4, ZSTD]
PLACE = TopicPartition("flags", 0)


class OddName(str):
    """A header's name as a broken producer sends it."""

    __slots__ = ()

    def encode(self, *_: str) -> bytes:
        """Return no UTF-8."""
        return b"\xff\xfe"


@pytest.fixture(autouse=True)
def _guarded() -> None:
    guard()
    envelopes._damaged.clear()


def batch(values: Sequence[bytes], codec: int = NONE, headers: Sequence[tuple[str, bytes]] = ()) -> bytes:
    """Return a batch as a broker stores it; only the pure Python builder takes an odd name."""
    builder = _DefaultRecordBatchBuilderPy(
        2, codec, is_transactional=0, producer_id=-1, producer_epoch=-1, base_sequence=0, batch_size=2**31
    )
    for number, value in enumerate(values):
        builder.append(number, 1000 + number, key=b"k%d" % number, value=value, headers=list(headers))
    return bytes(builder.build())


def read(data: bytes) -> list[ConsumerRecord[bytes, bytes]]:
    """Read as aiokafka's consumers do."""
    records = PartitionRecords(PLACE, Envelopes(data), [], 0, None, None, True, 0)
    return list(records)


@pytest.mark.parametrize("codec", CODECS)
def test_a_name_that_is_no_utf_8_is_read(codec: int) -> None:
    """The message is read with its bytes, its key, its time and its other headers, and so are its neighbours."""
    records = read(batch([b"a", b"b"], codec, [(OddName("x"), b"1"), ("plain", b"2")]))
    assert [(record.offset, record.timestamp, record.key, record.value) for record in records] == [
        (0, 1000, b"k0", b"a"),
        (1, 1001, b"k1", b"b"),
    ]
    assert records[0].headers == (("\\xff\\xfe", b"1"), ("plain", b"2"))
    assert not complaint(records[0].headers)


@pytest.mark.parametrize("codec", CODECS[1:])
def test_a_batch_that_grows_without_bound_is_one_record(codec: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stands at the last offset, so that the group moves behind all of it, and holds the batch as stored."""
    stored = batch([b" " * 60_000] * 10, codec)
    assert len(read(stored)) == 10
    monkeypatch.setattr(envelopes, "MOST_UNPACKED", 500_000)
    (record,) = read(stored)
    assert record.offset == 9
    assert record.value == stored
    assert "it unpacks to more than 500000 bytes" in complaint(record.headers)


@pytest.mark.parametrize("codec", CODECS[1:])
def test_what_is_within_the_bound_is_read_whole(codec: int) -> None:
    """Also what needs more room than was first thought of."""
    value = bytes(range(256)) * 40_000
    (record,) = read(batch([value], codec))
    assert record.value == value


def test_behind_a_broken_batch_reading_goes_on() -> None:
    """A batch of garbage is one record; the next batch is read."""
    good = batch([b"good"])
    broken = bytearray(batch([b"x" * 100] * 3, ZSTD))
    broken[80:] = bytes(len(broken) - 80)
    bad = resealed(broken, base=0)
    records = read(bad + resealed(bytearray(good), base=3))
    assert [record.offset for record in records] == [2, 3]
    assert "cannot be read" in complaint(records[0].headers)
    assert records[1].value == b"good"


def test_an_unknown_codec_is_one_record() -> None:
    """Attributes may name a codec that is not invented yet."""
    stored = bytearray(batch([b"x"]))
    stored[22] |= 7
    (record,) = read(resealed(stored, base=0))
    assert "cannot be read" in complaint(record.headers)


def test_a_damaged_batch_is_asked_for_again_and_then_set_aside() -> None:
    """The line may have been at fault; what comes again with the same bytes is stored so, and reading goes on."""
    damaged = bytearray(batch([b"one", b"two"]))
    damaged[-2] ^= 1
    data = bytes(damaged) + resealed(bytearray(batch([b"three"])), base=2)
    with pytest.raises(CorruptRecordException):
        read(data)
    records = read(data)
    assert [(record.offset, record.value) for record in records] == [(1, bytes(damaged)), (2, b"three")]
    assert "its checksum is wrong" in complaint(records[0].headers)


@pytest.mark.parametrize("where", [26, 60], ids=["last offset", "count"])
def test_a_damaged_batch_of_which_no_end_is_known_is_waited_for(where: int) -> None:
    """Nobody can say which messages are behind it: a person must."""
    damaged = bytearray(batch([b"one", b"two"]))
    damaged[where] ^= 4
    for _ in range(3):
        with pytest.raises(CorruptRecordException):
            read(bytes(damaged))


def test_damage_that_looks_like_the_mark_of_a_transaction_is_set_aside_too() -> None:
    """Such marks are passed over, and the messages of the batch would be with them."""
    damaged = bytearray(batch([b"one", b"two"]))
    damaged[22] ^= 0x20
    with pytest.raises(CorruptRecordException):
        read(bytes(damaged))
    assert [record.offset for record in read(bytes(damaged))] == [1]


def test_noise_on_the_line_costs_nothing() -> None:
    """Other bytes each time, and then the right ones."""
    right = batch([b"one", b"two"])
    for place in (-2, -3):
        noisy = bytearray(right)
        noisy[place] ^= 1
        with pytest.raises(CorruptRecordException):
            read(bytes(noisy))
    assert [record.value for record in read(right)] == [b"one", b"two"]


@given(st.binary(max_size=300), st.sampled_from(CODECS))
def test_no_bytes_break_the_reading(noise: bytes, codec: int) -> None:
    """Whatever stands in a batch, what comes out ends at its last offset."""
    stored = bytearray(batch([b"a"] * 3, NONE))
    stored[61:] = noise
    stored[22] = codec
    records = read(resealed(stored, base=0))
    assert not records or records[-1].offset <= 2
    assert all(record.headers is not None for record in records)


def resealed(stored: bytearray, base: int) -> bytes:
    """Return a batch at another offset, with the length and the checksum that belong to its bytes."""
    from aiokafka.record.util import calc_crc32c

    stored[0:8] = base.to_bytes(8, "big")
    stored[8:12] = (len(stored) - 12).to_bytes(4, "big")
    stored[17:21] = calc_crc32c(bytes(stored[21:])).to_bytes(4, "big")
    return bytes(stored)


def test_what_is_far_above_the_size_that_kafka_takes_by_default_is_read() -> None:
    """A batch of a megabyte of listings is never taken for a bomb: they would have to shrink to a thirtieth."""
    value = b"a listing that shrinks well " * (30 * 2**20 // 28)
    (record,) = read(batch([value], ZSTD))
    assert record.value == value
