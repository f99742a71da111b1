"""From the bytes of a message to a flag, or to the reason why it is none."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from schemas import DeadLetterReason, FlaggedListing, WireError

MOST_DEPTH = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Undecodable:
    """Why a message is no flag. `error` holds field names and causes, never the message's text."""

    reason: DeadLetterReason
    error: str


def decode(value: bytes | None, *, most_bytes: int, event_map: Mapping[str, str]) -> FlaggedListing | Undecodable:
    """Return the flag in a message, or why there is none; never raises."""
    if not value:
        return Undecodable(reason=DeadLetterReason.UNREADABLE, error="the message is empty")
    if len(value) > most_bytes:
        error = f"the message has {len(value)} bytes, more than worker.max_message_bytes = {most_bytes}"
        return Undecodable(reason=DeadLetterReason.TOO_LARGE, error=error)
    try:
        event = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        return Undecodable(reason=DeadLetterReason.UNREADABLE, error=f"not JSON: {error.msg} at {error.pos}")
    if not isinstance(event, dict):
        return Undecodable(reason=DeadLetterReason.INVALID, error=f"a JSON {type(event).__name__}, not an object")
    try:
        return FlaggedListing.from_value(mapped(event, event_map) if event_map else event)
    except WireError as error:
        return Undecodable(reason=DeadLetterReason.INVALID, error=str(error))
    except RecursionError:
        return Undecodable(reason=DeadLetterReason.INVALID, error="nested too deeply")


def mapped(event: Mapping[str, Any], event_map: Mapping[str, str]) -> dict[str, Any]:
    """Return a flag's fields taken from a platform's own event.

    `event_map` is our field → dotted path in the event, or `=text` for a constant. A path that is absent leaves its
    field out. Texts are expected for all fields but numbers, so a number found for an id becomes its digits.
    """
    flag: dict[str, Any] = {}
    for field, path in event_map.items():
        value = path[1:] if path.startswith("=") else _at(event, path)
        if value is None:
            continue
        target = flag
        *parents, leaf = field.split(".")
        for parent in parents:
            # What stands there may be the event's own, or no object at all.
            inner = target.get(parent)
            target[parent] = target = {**inner} if isinstance(inner, dict) else {}
        target[leaf] = str(value) if isinstance(value, int) and _is_text(field) else value
    return flag


def _at(event: Mapping[str, Any], path: str) -> Any:
    value: Any = event
    for part in path.split(".")[:MOST_DEPTH]:
        if isinstance(value, Mapping):
            value = value.get(part)
        elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


def _is_text(field: str) -> bool:
    return field not in {"v", "listing.v", "score", "listing.price.amount", "flagged_at", "withdrawn_at"} and (
        field != "listing.updated_at"
    )
