from pydantic import AwareDatetime

from schemas.base import Wire
from schemas.listing import Id, Listing


class FlaggedListing(Wire):
    """A listing that a classifier, a user report or a reviewer has flagged: the seed of an exploration."""

    flag_id: Id
    listing: Listing
    kind: Id
    policy: Id
    source: str = ""
    score: float | None = None
    flagged_at: AwareDatetime
    withdrawn_at: AwareDatetime | None = None
