from enum import StrEnum
from typing import Annotated

from pydantic import AwareDatetime, Field

from schemas.base import Wire
from schemas.listing import Id
from schemas.query import Position, Versions


class DeadLetterReason(StrEnum):
    """Why a message was set aside."""

    UNREADABLE = "unreadable"
    INVALID = "invalid"
    TOO_LARGE = "too_large"
    UNKNOWN_POLICY = "unknown_policy"
    MODEL_FAILED = "model_failed"
    SEARCH_REFUSED = "search_refused"
    UNEXPECTED = "unexpected"


class DeadLetter(Wire):
    """Why and where a message was set aside.

    It travels in the header `qx-dead-letter`; the message's key, value and other headers are the original
    bytes, so that a redrive sends them again unchanged.
    """

    letter_id: Id
    position: Position
    reason: DeadLetterReason
    stage: Id
    error: str
    attempts: Annotated[int, Field(ge=1)] = 1
    versions: Versions = Versions()
    trace_id: str = ""
    at: AwareDatetime
