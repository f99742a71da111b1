from enum import StrEnum

from pydantic import AwareDatetime

from schemas.base import Wire
from schemas.listing import Id


class Decision(StrEnum):
    """What a reviewer decided."""

    VIOLATING = "violating"
    NOT_VIOLATING = "not_violating"
    UNSURE = "unsure"


class Verdict(Wire):
    """A reviewer's decision on one suspect."""

    review_key: Id
    decision: Decision
    kind: str = ""
    reviewer: str = ""
    at: AwareDatetime


class Retraction(Wire):
    """Takes a suspect back from review; the same key may be published again later."""

    review_key: Id
    reason: Id
    run_id: str = ""
    at: AwareDatetime
