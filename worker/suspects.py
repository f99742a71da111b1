"""Taking back what a bad version has published."""

from dataclasses import dataclass
from datetime import datetime

from qexplorer.clock import Clock
from qexplorer.discoveries import Discoveries
from qexplorer.policies import load_policies
from qexplorer.settings import Settings
from schemas import Retraction, Suspect, Versions, WireError
from worker.kafka import Publisher, Record
from worker.reading import read_topic

AT_ONCE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Retracted:
    """What a retraction did: how many suspects the version had published since then, and how many of them stood.

    `kept_back` had been claimed or held, and not published yet; now they never are.
    """

    found: int
    taken_back: int
    kept_back: int


async def retract(
    settings: Settings,
    publisher: Publisher,
    discoveries: Discoveries,
    clock: Clock,
    *,
    version: str,
    since: datetime,
    reason: str,
) -> Retracted:
    """Take back what a version has published from `since` on; what it finds may be published again by another.

    What it has found and not published yet goes first, so that it does not come in between. The memory is written
    before the topic: when the command dies in between, the next one finds the same suspects and goes on.
    """
    kept_back = 0
    for policy in load_policies(settings.policies).policies:
        waiting = await discoveries.unpublished(policy.id)
        bad = [key for key, record in waiting.items() if _is_from(record, version, since)]
        kept_back += len(await discoveries.retract(bad, clock.now())) if bad else 0
    standing: dict[str, bool] = {}
    async for message in read_topic(settings.kafka, settings.kafka.topics.suspects):
        key = (message.key or b"").decode("utf-8", "replace")
        if message.value is None:
            standing.pop(key, None)
        elif dict(message.headers).get("type") == b"Retraction":
            if key in standing:
                standing[key] = False
        elif _is_from(message.value, version, since):
            standing[key] = True
        else:
            standing.pop(key, None)
    keys = [key for key, stands in standing.items() if stands]
    for start in range(0, len(keys), AT_ONCE):
        part = keys[start : start + AT_ONCE]
        now = clock.now()
        await discoveries.retract(part, now)
        await publisher.publish([_retraction(settings, key, reason, now) for key in part])
    return Retracted(found=len(standing), taken_back=len(keys), kept_back=kept_back)


def _is_from(record: bytes, version: str, since: datetime) -> bool:
    try:
        suspect = Suspect.from_bytes(record)
    except WireError:
        return False
    return suspect.found_at >= since and names(suspect.versions, version)


def names(versions: Versions, version: str) -> bool:
    """Whether one of the versions is meant: by its whole name, or by what stands before its hash. "" means none."""
    meant = {name for whole in versions.model_dump().values() for name in (whole, whole.partition("@")[0])}
    return version in meant - {""}


def _retraction(settings: Settings, key: str, reason: str, now: datetime) -> Record:
    record = Retraction(review_key=key, reason=reason, run_id=settings.worker.run_id, at=now)
    return Record(settings.kafka.topics.suspects, key.encode(), record.to_bytes(), (("type", b"Retraction"),))
