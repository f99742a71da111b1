"""Batches that Kafka holds and its client cannot read, or only at the price of the process.

The client gives up a partition at a header's name that is no UTF-8, at bytes that break the format of a batch and at a
wrong checksum, and it unpacks whatever a batch grows to: a megabyte of gzip is a gigabyte of blanks. Here the first is
read, and the others become one record that says so, which the worker sets aside like any other that it cannot use.
"""

import gzip
import hashlib
import io
import struct
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import cramjam
from aiokafka.consumer import fetcher
from aiokafka.record import default_records
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import decode_varint

from qexplorer.errors import BadInputError

# Thirty to sixty times what Kafka takes of a batch by default: listings shrink to a tenth at the most.
MOST_UNPACKED = 64 * 1024 * 1024
# On a record that stands for a batch: what is wrong with it. Its value is the batch as it is stored.
UNREADABLE = "qx-unreadable"

# Of a batch of format 2: offset, length, leader's epoch, magic; checksum, attributes, last offset's distance, times.
HEAD = struct.Struct(">qiibIhiqqqhii")
LENGTH, AFTER_LENGTH, MAGIC = (struct.calcsize(each) for each in (">q", ">qi", ">qii"))
CODEC, LOG_APPEND_TIME = 0x07, 0x08
XERIAL = b"\x82SNAPPY\x00"
XERIAL_HEAD = 16

# Batches whose checksum was wrong, by their bytes. What comes again as it was is stored so; else the line was at fault.
_damaged: set[bytes] = set()
MOST_DAMAGED = 1000


def guard() -> None:
    """Let all of aiokafka's consumers in this process read through `Envelopes`; a second call changes nothing."""
    fetcher.MemoryRecords = Envelopes
    # Both the compiled reader, where there is one, and the one in Python have names of their own for the decoders.
    for reader in (default_records, sys.modules.get("aiokafka.record._crecords.default_records")):
        for name, decoder in (("gzip", _gzip), ("snappy", _snappy), ("lz4", _lz4), ("zstd", _zstd)):
            if reader is not None:
                setattr(reader, f"{name}_decode", decoder)


def complaint(headers: Sequence[tuple[str, bytes | None]]) -> str:
    """Return what is wrong with the batch that a record stands for; nothing for a record that is one."""
    return next(((value or b"").decode(errors="replace") for name, value in headers if name == UNREADABLE), "")


class Envelopes:
    """The batches in a broker's answer; has the interface of aiokafka's `MemoryRecords`, and takes its place."""

    def __init__(self, data: bytes) -> None:
        self._batches: Any = MemoryRecords(data)
        self._data = memoryview(data)
        self._at = 0

    def size_in_bytes(self) -> int:
        """Return the size of the answer."""
        return int(self._batches.size_in_bytes())

    def has_next(self) -> bool:
        """Whether another whole batch is there."""
        return bool(self._batches.has_next())

    def next_batch(self) -> Any:
        """Return the next batch."""
        batch = self._batches.next_batch()
        (length,) = struct.unpack_from(">i", self._data, self._at + LENGTH)
        stored = self._data[self._at : self._at + AFTER_LENGTH + length]
        self._at += len(stored)
        return Envelope(batch, stored) if stored[MAGIC] > 1 else batch


class Envelope:
    """A batch that yields a record for whatever is in it."""

    def __init__(self, batch: Any, stored: memoryview) -> None:
        self._batch = batch
        self._stored = stored
        self._is_damaged = False

    @property
    def is_control_batch(self) -> bool:
        """Whether it is a mark of a transaction, which consumers pass over; a damaged batch says nothing of itself."""
        return not self._is_damaged and bool(self._batch.is_control_batch)

    def validate_crc(self) -> bool:
        """Whether it can be taken: its checksum is right, or was wrong before in the same way."""
        if self._batch.validate_crc():
            return True
        digest = hashlib.sha256(self._stored).digest()
        # Its end must be known beyond doubt, or messages behind it would be passed over.
        *_, last, _, _, _, _, _, count = HEAD.unpack_from(self._stored)
        self._is_damaged = digest in _damaged and count == last + 1
        if len(_damaged) >= MOST_DAMAGED:
            _damaged.clear()
        _damaged.add(digest)
        return self._is_damaged

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __iter__(self) -> Iterator[Any]:
        if self._is_damaged:
            yield self._stand_in("its checksum is wrong")
            return
        try:
            yield from self._within(self._batch)
        except BadInputError as error:
            yield self._stand_in(error.message)
        except Exception as error:  # noqa: BLE001 - who writes the bytes chooses the error
            # The fetcher passes over what it has had.
            yield from self._as_far_as_it_goes(error)

    def _within(self, records: Iterable[Any]) -> Iterator[Any]:
        # An offset far away would be taken for a gap of as many messages.
        first, behind = self._batch.base_offset, self._batch.next_offset
        for record in records:
            if not first <= record.offset < behind:
                raise ValueError(f"a record of offset {record.offset} in a batch of {first} to {behind - 1}")
            yield record

    def _as_far_as_it_goes(self, error: Exception) -> Iterator["Stored"]:
        try:
            yield from self._within(_lenient(self._stored))
        except Exception:  # noqa: BLE001 - likewise
            yield self._stand_in(f"{type(error).__name__}: {error}")

    def _stand_in(self, why: str) -> "Stored":
        said = f"a batch of Kafka's cannot be read: {why}"[:500]
        # At the last offset, so that a group that commits it is behind all of the batch.
        return Stored(
            offset=self._batch.next_offset - 1,
            timestamp=max(0, self._batch.max_timestamp),
            timestamp_type=self._batch.timestamp_type,
            value=self._stored.tobytes(),
            headers=[(UNREADABLE, said.encode())],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A record with the fields of aiokafka's own; times are milliseconds since 1970."""

    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None = None
    value: bytes | None = None
    headers: list[tuple[str, bytes | None]] = field(default_factory=list)
    checksum: None = None


def _lenient(stored: memoryview) -> Iterator[Stored]:
    """Yield the records of a batch of format 2, whatever the bytes of their headers' names.

    Format: https://kafka.apache.org/documentation/#recordbatch
    """
    base, *_, attributes, _, first_ms, last_ms, _, _, _, count = HEAD.unpack_from(stored)
    data = bytearray(_unpacked(stored[HEAD.size :], attributes & CODEC))
    at = 0

    def number() -> int:
        nonlocal at
        value, at = decode_varint(data, at)
        return int(value)

    def text() -> bytes | None:
        nonlocal at
        size = number()
        if size < 0:
            return None
        if at + size > len(data):
            raise ValueError("a record is longer than its batch")
        at += size
        return bytes(data[at - size : at])

    for _ in range(count):
        number()  # the record's length
        at += 1  # its attributes, which mean nothing yet
        since, distance = number(), number()
        key, value = text(), text()
        names = [((text() or b"").decode(errors="backslashreplace"), text()) for _ in range(number())]
        appended = bool(attributes & LOG_APPEND_TIME)
        yield Stored(
            offset=base + distance,
            timestamp=last_ms if appended else first_ms + since,
            timestamp_type=int(appended),
            key=key,
            value=value,
            headers=names,
        )


def _unpacked(data: memoryview, codec: int) -> bytes:
    if codec == 0:
        return data.tobytes()
    return (_gzip, _snappy, _lz4, _zstd)[codec - 1](data.tobytes())


def _too_large() -> BadInputError:
    return BadInputError(f"it unpacks to more than {MOST_UNPACKED} bytes")


def _gzip(data: Any) -> bytes:
    # In one go it would reserve as much as it may become.
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as source:
        unpacked = source.read(MOST_UNPACKED + 1)
    if len(unpacked) > MOST_UNPACKED:
        raise _too_large()
    return unpacked


def _snappy(data: Any) -> bytes:
    blocks = list(_snappy_blocks(bytes(data)))
    if sum(cramjam.snappy.decompress_raw_len(block) for block in blocks) > MOST_UNPACKED:
        raise _too_large()
    return b"".join(bytes(cramjam.snappy.decompress_raw(block)) for block in blocks)


def _snappy_blocks(data: bytes) -> Iterator[bytes]:
    """Yield the blocks of Java's framing (magic, two versions, then blocks with their sizes), or all as one."""
    if not data.startswith(XERIAL):
        yield data
        return
    at = XERIAL_HEAD
    while at < len(data):
        (size,) = struct.unpack_from(">i", data, at)
        at += 4
        yield data[at : at + size]
        at += size


def _lz4(data: Any) -> bytes:
    return _growing(cramjam.lz4.decompress_into, data)


def _zstd(data: Any) -> bytes:
    return _growing(cramjam.zstd.decompress_into, data)


def _growing(decompress_into: Callable[[bytes, bytearray], int], data: bytes) -> bytes:
    """Unpack into more and more room: neither format must say beforehand how much it needs."""
    room = max(64 * 1024, 16 * len(data))
    while True:
        room = min(room, MOST_UNPACKED)
        into = bytearray(room)
        try:
            size = decompress_into(data, into)
        except cramjam.DecompressionError as error:
            if "whole buffer" not in str(error):
                raise
            if room == MOST_UNPACKED:
                raise _too_large() from error
            room *= 8
        else:
            return bytes(memoryview(into)[:size])
