"""Hostile and broken messages from a seed: each names its mutation and says what must become of it."""

import base64
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from qexplorer.testing import a_flag
from schemas import Listing, Price

# Stands in every text of a message, in unknown names and in keys of attributes: no error may repeat it.
CANARY = "zqcanaryqz"
# Kafka refuses a larger batch by default.
MOST_BYTES = 900_000
# Never read as UTF-8: a broken surrogate, an overlong slash, a byte that cannot occur.
BROKEN_UTF8 = (b"\xed\xa0\x80", b"\xc0\xaf", b"\xff", b"\xf5\x80\x80\x80")
RESERVED = ("qx-dead-letter", "qx-key", "qx-null", "qx-state", "qx-redriven", "type")

Event = dict[str, Any]


class Fate(StrEnum):
    """What must become of a message: answered, set aside, or either of them."""

    ANSWERED = "answered"
    SET_ASIDE = "set aside"
    EITHER = "either"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fuzzed:
    """One message as it is sent; `name` is that of its mutation."""

    name: str
    fate: Fate
    value: bytes | None
    key: bytes | None = b"key"
    headers: tuple[tuple[str, bytes | None], ...] = ()


def fuzzed(seed: int, count: int, *, flagged_at: datetime) -> Iterator[Fuzzed]:
    """Yield messages; every mutation comes in turn, and each flag has an id of its own."""
    names = list(MUTATIONS)
    for number in range(count):
        name = names[number % len(names)]
        mutate, fate = MUTATIONS[name]
        random_ = random.Random(f"{seed}:{number}")
        made = mutate(random_, _event(random_, f"{seed}-{number}", flagged_at))
        if isinstance(made, Fuzzed):
            yield made
            continue
        value = json.dumps(made).encode() if isinstance(made, dict) else made
        key = None if random_.random() < 0.1 else random_.randbytes(random_.choice((0, 1, 8, 600)))
        yield Fuzzed(name=name, fate=fate, value=value, key=key)


def _event(random_: random.Random, name: str, flagged_at: datetime) -> Event:
    words = " ".join(f"{random_.choice(WORDS)}{random_.randrange(500)}x" for _ in range(4))
    listing = Listing(
        id=f"listing-{name}",
        version="1",
        title=f"{words} {CANARY}",
        description=f"{CANARY} fresh today",
        seller=CANARY,
        locale="en",
        price=Price(amount=5, currency="EUR"),
        images=("a.jpg",),
        updated_at=flagged_at,
        attributes={"colour": CANARY},
    )
    flag = a_flag(name, flag_id=f"fuzz-{name}", listing=listing, score=0.5, source="classifier", flagged_at=flagged_at)
    event: Event = json.loads(flag.to_bytes())
    return event


WORDS = "zaza lean gummies sauce cart bars pressed plug 电子烟 ваниль".split()
REQUIRED = ("flag_id", "kind", "policy", "flagged_at", "listing.id", "listing.version")
OPTIONAL = ("v", "source", "score", "withdrawn_at", "listing.v", "listing.title", "listing.description",
            "listing.seller", "listing.category", "listing.price", "listing.locale", "listing.images",
            "listing.status", "listing.updated_at", "listing.attributes")  # fmt: skip
TEXTS = ("source", "listing.title", "listing.description", "listing.seller", "listing.category", "listing.locale")


def _at(event: Event, path: str) -> tuple[Event, str]:
    parent, _, leaf = path.rpartition(".")
    return (event[parent] if parent else event), leaf


def _set(event: Event, path: str, value: Any) -> Event:
    target, leaf = _at(event, path)
    target[leaf] = value
    return event


def _dropped(event: Event, path: str) -> Event:
    target, leaf = _at(event, path)
    target.pop(leaf, None)
    return event


def _raw(event: Event, path: str, literal: str) -> bytes:
    """Put JSON that no writer would make in the place of a field."""
    return json.dumps(_set(event, path, "@raw@")).replace('"@raw@"', literal).encode()


# What a mutation does; those that yield bytes break what JSON, UTF-8 or Kafka promise.


def _older(random_: random.Random, event: Event) -> Event:
    """Leave out what an older producer did not know, or all that is optional."""
    for path in random_.sample(OPTIONAL, random_.randint(1, len(OPTIONAL))):
        _dropped(event, path)
    return event


def _newer(random_: random.Random, event: Event) -> Event:
    """Add what a newer producer of the same major version says, at every level."""
    for target in (event, event["listing"], event["listing"]["price"]):
        for number in range(random_.randint(1, 4)):
            target[f"{CANARY}_{number}"] = random_.choice(
                (1, None, [CANARY], {"a": {"b": CANARY}}, 1.5, "x" * 999, True)
            )
    return event


def _rename(random_: random.Random, event: Event) -> Event:
    path = random_.choice(REQUIRED)
    target, leaf = _at(event, path)
    target[random_.choice((leaf.upper(), f"{leaf} ", f"\u200b{leaf}", f"{leaf}{CANARY}"))] = target.pop(leaf)
    return event


def _wrong_type(random_: random.Random, event: Event) -> Event:
    path = random_.choice(("flag_id", "kind", "policy", "flagged_at", "listing", *OPTIONAL[5:]))
    wrong = {
        "listing": (CANARY, 5, None, [], True),
        "listing.images": (CANARY, {"a": CANARY}, 5, [5], [[CANARY]], None),
        "listing.attributes": (CANARY, {CANARY: 5}, [CANARY], {f"{CANARY} +1 212 555 0147": {"a": 1}}, None),
        "listing.price": (CANARY, {"amount": -1, "currency": "EUR"}, {"amount": 1, "currency": CANARY}, [], 5),
        "listing.updated_at": (CANARY, {}, [], True, "2026-02-30T00:00:00Z"),
        "listing.status": (CANARY, 5, None, [CANARY]),
    }.get(path, (None, 5, [], {}, [CANARY], {CANARY: CANARY}))
    return _set(event, path, random_.choice(wrong))


def _number(random_: random.Random, event: Event) -> bytes:
    path = random_.choice(("score", "listing.price", "flag_id", "flagged_at", "v", "unknown", "listing.unknown"))
    literal = random_.choice(
        ("1e400", "-1e400", "NaN", "Infinity", "-Infinity", "9" * 5000, "-" + "9" * 5000, "1e-400", "0" * 40, "0x10",
         "1_000", "1" * 400 + ".5", "1e", "+1", ".5", "18446744073709551616", "-9223372036854775809", "-0")
    )  # fmt: skip
    return _raw(event, path, literal)


def _nesting(random_: random.Random, event: Event) -> bytes:
    depth = random_.choice((30, 200, 1000, 1100, 20_000, 100_000))
    opening, closing = random_.choice((("[", "]"), ('{"a":', "}")))
    path = random_.choice(("unknown", "listing.attributes", "listing.images", "flag_id", "listing"))
    inner = "1" if opening != "[" else ""
    return _raw(event, path, opening * depth + inner + closing * random_.choice((depth, depth, 0)))


PIECES = ("a", f"{CANARY} ", "🍁", "電子", "g u ", "+1 212 555 0147 ", "ﷺ", "a@b.", "\u200b", "<|", "'\"\\")


def _long(random_: random.Random, event: Event) -> Event:
    length = random_.choice((1_000, 5_000, 20_000, 20_001, 60_000, 250_000))
    piece = random_.choice(PIECES)
    return _set(event, random_.choice(TEXTS), piece * (length // len(json.dumps(piece))))


def _long_id(random_: random.Random, event: Event) -> Event:
    return _set(event, random_.choice(REQUIRED), CANARY * random_.choice((60, 5_000)))


def _many(random_: random.Random, event: Event) -> Event:
    count = random_.choice((100, 5_000))
    if random_.random() < 0.5:
        return _set(event, "listing.attributes", {f"{CANARY}{n}": random_.choice((CANARY, "")) for n in range(count)})
    return _set(event, "listing.images", [f"{CANARY}{n}.jpg" for n in range(count)])


POINTS = [*range(32), 0x7F, 0x85, 0xA0, 0xAD, 0x200B, 0x200E, 0x202E, 0x2028, 0x2029, 0x2066, 0xFEFF, 0xFFFD,
          0xFFFE, 0xFFFF, 0xE000, 0x1F3F4, 0xE0067, 0x10FFFF, 0x301, 0x20E3, 0xFDFA, 0x130, 0x1D7D8]  # fmt: skip


def _strange(random_: random.Random, event: Event) -> Event:
    """Fill a text with characters that are hard on whoever reads it; all of them are text."""
    text = "".join(chr(random_.choice(POINTS)) + random_.choice(("", "a", "7", CANARY)) for _ in range(200))
    return _set(event, random_.choice(TEXTS), text)


def _surrogate(random_: random.Random, event: Event) -> Event:
    half = random_.choice(("\ud800", "\udfff", "\udc00\ud800", f"{CANARY}\udbff"))
    return _set(event, random_.choice((*TEXTS, "flag_id", "unknown")), half)


DATES = ("9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "2026-01-01T00:00:00", "2026-01-01", 1e300, -1e18,
         253402300799, "2026-01-01T24:00:00Z", "2026-01-01T00:00:60Z", "2026-13-01T00:00:00Z", f"{CANARY}Z",
         "2026-01-01T00:00:00+99:99", "0000-01-01T00:00:00Z", "10000-01-01T00:00:00Z",
         "٢٠٢٦-01-01T00:00:00Z")  # fmt: skip


def _date(random_: random.Random, event: Event) -> Event:
    return _set(event, random_.choice(("flagged_at", "listing.updated_at")), random_.choice(DATES))


def _encoded(random_: random.Random, event: Event) -> bytes:
    text = json.dumps(_set(event, "listing.title", f"Übung für {CANARY}"), ensure_ascii=False)
    return text.encode(random_.choice(("utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "utf-7", "utf-8-sig")))


def _broken_utf8(random_: random.Random, event: Event) -> bytes:
    return json.dumps(event).encode().replace(CANARY.encode(), CANARY.encode() + random_.choice(BROKEN_UTF8))


def _raw_control(random_: random.Random, event: Event) -> bytes:
    return json.dumps(event).encode().replace(CANARY.encode(), bytes([random_.randrange(32)]) + CANARY.encode())


def _truncated(random_: random.Random, event: Event) -> bytes:
    value = json.dumps(event).encode()
    return value[: random_.randrange(1, len(value))]


def _flipped(random_: random.Random, event: Event) -> bytes:
    value = bytearray(json.dumps(event).encode())
    for _ in range(random_.choice((1, 1, 2, 20))):
        value[random_.randrange(len(value))] ^= 1 << random_.randrange(8)
    return bytes(value)


def _spliced(random_: random.Random, event: Event) -> bytes:
    """Cut a piece out, double it, or put it elsewhere."""
    value = json.dumps(event).encode()
    start, stop = sorted(random_.sample(range(len(value)), 2))
    at = random_.randrange(len(value))
    piece = value[start:stop]
    return random_.choice((value[:start] + value[stop:], value[:stop] + value[start:], value[:at] + piece + value[at:]))


def _doubled_keys(random_: random.Random, event: Event) -> bytes:
    """Say a field twice: readers that disagree about which of the two counts can be played against each other."""
    leaf = random_.choice(("flag_id", "policy", "listing", "v"))
    other = random_.choice((f'"{CANARY}"', "5", "null", "{}", json.dumps(event[leaf])))
    inside = json.dumps(event)[1:-1]
    pair = f'"{leaf}": {other}'
    return ("{" + ", ".join((pair, inside) if random_.random() < 0.5 else (inside, pair)) + "}").encode()


def _random_bytes(random_: random.Random, event: Event) -> bytes:
    del event
    return random_.randbytes(random_.choice((1, 2, 16, 300, 5_000)))


def _not_an_object(random_: random.Random, event: Event) -> bytes:
    text = json.dumps(event)
    return random_.choice((f"[{text}]", f"{text}{text}", f"{text}\n{text}", json.dumps(text), "null", "true", "5", '""',
                           f"{text} {CANARY}", f"// {CANARY}\n{text}", "[]", "{}", " ", "\n")).encode()  # fmt: skip


def _foreign(random_: random.Random, event: Event) -> bytes:
    """Send what another system would: compressed, wrapped, framed by a schema registry, or as base64."""
    import gzip

    value = json.dumps(event).encode()
    return random_.choice((gzip.compress(value), b"\x00\x00\x00\x00\x05" + value, base64.b64encode(value),
                           b"--frame\r\n" + value, f"<flag>{CANARY}</flag>".encode(), b"\x1f\x8b" + value))  # fmt: skip


def _too_large(random_: random.Random, event: Event) -> Event:
    length = random_.choice((*[random_.randint(110_000, 140_000)] * 9, MOST_BYTES))
    filler = base64.b64encode(random_.randbytes(length * 3 // 4)).decode()
    return _set(event, "listing.description", filler)


def _other_major(random_: random.Random, event: Event) -> Event:
    return _set(event, random_.choice(("v", "listing.v")), random_.choice((2, 0, -1, 99, 2**62)))


def _unknown_policy(random_: random.Random, event: Event) -> Event:
    return _set(
        event, random_.choice(("policy", "kind")), random_.choice(("weapons", "drugs2", "DRUGS", "*", "drugs\u200b"))
    )


def _headers(random_: random.Random, event: Event) -> Fuzzed:
    """Keep the flag whole and lay it in an envelope that is not."""
    kinds: list[list[tuple[str, bytes | None]]] = [
        [("h", random_.randbytes(200_000))],
        [(f"h{n}", b"x") for n in range(3_000)],
        [("h", None), ("h", b""), ("", b"x"), ("\u0000", b"\xff"), ("é\u2028" * 200, b"x")],
        [(name, CANARY.encode()) for name in RESERVED],
        [("qx-redriven", b"x")] * 50,
    ]
    key = random_.choice((None, b"", b"\xff\xfe\x00", random_.randbytes(50_000)))
    headers = tuple(random_.choice(kinds))
    return Fuzzed(name="headers", fate=Fate.ANSWERED, value=json.dumps(event).encode(), key=key, headers=headers)


def _poison_in_headers(random_: random.Random, event: Event) -> Fuzzed:
    """Set aside a message that forges the headers of a dead letter."""
    made = _headers(random_, event)
    value = random_.choice((b"", None, b"poison"))
    return Fuzzed(name="poison in headers", fate=Fate.SET_ASIDE, value=value, key=made.key, headers=made.headers)


Mutation = Callable[[random.Random, Event], Event | bytes | Fuzzed]
MUTATIONS: dict[str, tuple[Mutation, Fate]] = {
    "untouched": (lambda _, event: event, Fate.ANSWERED),
    "older producer": (_older, Fate.ANSWERED),
    "newer producer": (_newer, Fate.ANSWERED),
    "newer and older": (lambda r, event: _older(r, _newer(r, event)), Fate.ANSWERED),
    "required field dropped": (lambda r, event: _dropped(event, r.choice(REQUIRED)), Fate.SET_ASIDE),
    "required field renamed": (_rename, Fate.SET_ASIDE),
    "fields in another order": (lambda _, event: dict(reversed(event.items())), Fate.ANSWERED),
    "field said twice": (_doubled_keys, Fate.EITHER),
    "wrong type": (_wrong_type, Fate.EITHER),
    "strange number": (_number, Fate.EITHER),
    "deep nesting": (_nesting, Fate.EITHER),
    "long text": (_long, Fate.EITHER),
    "long id": (_long_id, Fate.SET_ASIDE),
    "many values": (_many, Fate.EITHER),
    "strange characters": (_strange, Fate.ANSWERED),
    "half a surrogate": (_surrogate, Fate.SET_ASIDE),
    "strange date": (_date, Fate.EITHER),
    "another encoding": (_encoded, Fate.EITHER),
    "broken UTF-8": (_broken_utf8, Fate.SET_ASIDE),
    "raw control character": (_raw_control, Fate.SET_ASIDE),
    "truncated": (_truncated, Fate.SET_ASIDE),
    "bits flipped": (_flipped, Fate.EITHER),
    "spliced": (_spliced, Fate.EITHER),
    "random bytes": (_random_bytes, Fate.SET_ASIDE),
    "not an object": (_not_an_object, Fate.SET_ASIDE),
    "foreign format": (_foreign, Fate.SET_ASIDE),
    "too large": (_too_large, Fate.SET_ASIDE),
    "other major version": (_other_major, Fate.SET_ASIDE),
    "unknown policy": (_unknown_policy, Fate.SET_ASIDE),
    "empty": (lambda _, __: b"", Fate.SET_ASIDE),
    "no value": (lambda _, __: Fuzzed(name="no value", fate=Fate.SET_ASIDE, value=None), Fate.SET_ASIDE),
    "headers": (_headers, Fate.ANSWERED),
    "poison in headers": (_poison_in_headers, Fate.SET_ASIDE),
}
