"""Phones, addresses and handles of a listing stay in it: not in the logs, the dead letters' errors, or the prompt."""

from pathlib import Path
from typing import Any

import orjson
import pytest
from structlog.testing import capture_logs

from qexplorer.demo.workers import workers
from qexplorer.llm.prompt import load_template, render
from qexplorer.redact import redact
from qexplorer.settings import Settings
from qexplorer.stack import Endpoints
from qexplorer.testing import MemorySearcher, a_flag, a_listing
from schemas import DeadLetter, FlaggedListing
from tests.bench.overlap import handler
from tests.integration.site import Site
from tests.worker.test_any_text import InLine
from worker.work import Message

COUNT = 50
SENTENCES = (
    "call {phone} any time",
    "text me: {phone}, or write to {email}",
    "{handle} on telegram",
    "telegram: {handle}",
    "wechat id {plain}7, mail {email}",
    "whatsapp {phone} {phone}",
    "微信: {plain}8 电话 {phone}",
    "{email} / {phone} / {handle}",
    "sauce {phone}\n{email}",
    "insta {handle} t.me/{plain}9",
)


def contacts_of(number: int) -> dict[str, str]:
    """Return the contacts of one listing: known texts that no other part of a message has."""
    plain = f"seller_{number}_zq"
    return {
        "phone": f"+1 212 555 {1000 + number * 7}",
        "email": f"mail{number}zq@example{number}.com",
        "handle": f"@{plain}",
        "plain": plain,
    }


def described(number: int) -> str:
    return SENTENCES[number % len(SENTENCES)].format(**contacts_of(number))


def needles() -> set[str]:
    """Return what must not be found: the contacts, and the telling part of each."""
    found: set[str] = set()
    for number in range(COUNT):
        known = contacts_of(number)
        found |= {known["phone"], known["phone"][3:], known["email"], known["email"].split("@")[0], known["plain"]}
        found.add(known["phone"].replace(" ", ""))
    return found


def flag(number: int) -> FlaggedListing:
    listing = a_listing(f"a{number}", f"sauce{number}x gummies{number}x", description=described(number), seller="s")
    return a_flag(f"a{number}", listing=listing)


def broken(number: int) -> list[bytes]:
    """Return ways to break a listing with its contacts in the place that breaks."""
    known, event = contacts_of(number), orjson.loads(flag(number).to_bytes())
    listing = event["listing"]
    return [
        orjson.dumps({**event, "flagged_at": described(number)}),
        orjson.dumps({**event, "listing": {**listing, "attributes": {known["phone"]: 5, known["email"]: {}}}}),
        orjson.dumps({**event, "listing": {**listing, "status": known["email"], "price": known["phone"]}}),
        orjson.dumps({**event, "listing": described(number)}),
        orjson.dumps({**event, "listing": {**listing, "images": [{known["handle"]: 1}]}}),
        flag(number).to_bytes()[:-30],
        described(number).encode(),
        orjson.dumps([described(number)]),
    ]


def leaked(text: str) -> list[str]:
    return sorted(needle for needle in needles() if needle.lower() in text.lower())


def test_the_needles_are_in_the_messages() -> None:
    """Else the other tests would show nothing."""
    assert len(leaked("".join(described(number) for number in range(COUNT)))) > COUNT
    assert len(leaked(repr([broken(number) for number in range(COUNT)]))) > COUNT


def test_no_contact_is_in_a_prompt() -> None:
    """In whichever field they stand, the model does not see them."""
    template = load_template()
    for number in range(COUNT):
        text = described(number)
        prompt = render(template, title=text, description=text, kind="drugs", locale="en")
        assert leaked(f"{prompt.instruction}{prompt.listing}") == [], text


@pytest.mark.parametrize(
    "text",
    [
        "+1 212 555 1035 +1 212 555 1036 +1 212 555 1037",
        "+1 212 555 1035/+44 20 7946 0958",
        "13812345678 13912345678",
        "13812345678/13912345678 13712345678",
        "call 07911 123456 07911 123457",
        "0049 30 901820 0049 30 901821",
    ],
)
def test_numbers_beside_each_other_are_several(text: str) -> None:
    """A run of more digits than a phone has is cut where the next number begins, and no digit is left."""
    assert not any(char.isdigit() for char in redact(text))


async def test_no_contact_is_in_the_logs_or_the_errors() -> None:
    """Good flags and broken ones: what is logged and what a dead letter says names fields, never what they hold."""
    made = handler(InLine(), MemorySearcher(listings={"listings": [a_listing("b2")]}), Settings())
    with capture_logs() as lines:
        for number in range(COUNT):
            values = [flag(number).to_bytes(), *broken(number)]
            batch = [
                Message(topic="flagged-listings", partition=0, offset=100 * number + at, key=None, value=value)
                for at, value in enumerate(values)
            ]
            await made.finish(await made.read(batch))
    records: list[Any] = made._delivery._publisher.records  # type: ignore[attr-defined]
    letters = [record for record in records if record.topic == "flagged-listings-dead-letters"]
    others = [record.value for record in records if record.topic != "flagged-listings-dead-letters"]
    assert len(letters) == COUNT * len(broken(0))
    assert leaked(repr([DeadLetter.from_bytes(dict(letter.headers)["qx-dead-letter"]) for letter in letters])) == []
    assert leaked(repr(lines)) == []
    assert leaked(repr(others)) == []


async def test_no_contact_is_in_the_output_of_a_worker(engines: Endpoints, tmp_path: Path) -> None:
    """All that a real process writes at its usual level, its libraries included, is free of them."""
    site = Site(engines, tmp_path, {"kind": "scripted"})
    site.settings["worker"] |= {"dead_letters_in_a_row": 10**6, "dead_letter_share": 1.0}
    site.settings["explore"] = {"contact_key": "k"}
    await site.prepare()
    await site.send(*(value for number in range(COUNT) for value in (flag(number).to_bytes(), *broken(number))))
    with workers(1, site.settings, site.folder) as (worker,):
        async with site.reading() as seen:
            names = {flag(number).flag_id for number in range(COUNT)}
            await seen.until_answered(names, letters=COUNT * len(broken(0)))
            assert worker.process.is_running
    # What it still says while it ends is there too.
    log = worker.process.output()
    assert log.count('"dead letter"') == COUNT * len(broken(0))
    assert leaked(log) == []
    assert leaked(repr(seen.results)) == []
