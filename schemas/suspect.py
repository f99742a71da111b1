from typing import Annotated

from pydantic import AwareDatetime, Field

from schemas.base import Wire, WireValue
from schemas.flag import FlaggedListing
from schemas.listing import Id
from schemas.query import Position, Query, Versions


class SeedFlag(WireValue):
    """The flag that led to a suspect, without the listing's text."""

    flag_id: Id
    listing_id: Id
    listing_version: Id
    kind: Id
    policy: Id
    source: str = ""
    score: float | None = None
    flagged_at: AwareDatetime

    @classmethod
    def of(cls, flag: FlaggedListing) -> "SeedFlag":
        """Return what a suspect keeps of a flag."""
        return cls(
            flag_id=flag.flag_id,
            listing_id=flag.listing.id,
            listing_version=flag.listing.version,
            kind=flag.kind,
            policy=flag.policy,
            source=flag.source,
            score=flag.score,
            flagged_at=flag.flagged_at,
        )


class Suspect(Wire):
    """A listing for people to review, with everything that explains why it is shown.

    `review_key` is the same whatever the seed, retry or model version: hash of index, listing id, content
    version and policy. `rank` counts from 1 within the query; `depth` is 1 for the sibling of a flag that
    the platform raised by itself, 2 for the sibling of one that was found through a suspect, and so on.
    `also_found_by` are the words of the seed's other searches that found it: the more, the stronger the evidence.
    `near_duplicates` are the ids of listings found with it that say nearly the same. `policy_priority` is that of its
    policy, 1 the most urgent: queues that are not one pool can be ordered by it first. `highlights` are parts of the
    listing by field, as it has them, with what matched between U+2068 and U+2069: a page has to escape them.
    """

    review_key: Id
    seed: SeedFlag
    listing_id: Id
    listing_version: Id
    index: Id
    seller: str = ""
    query: Query
    dsl_hash: Id
    highlights: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    rank: Annotated[int, Field(ge=1)]
    search_score: float | None = None
    triage_score: Annotated[float, Field(ge=0, le=1)] | None = None
    depth: Annotated[int, Field(ge=1)] = 1
    versions: Versions = Versions()
    trace_id: str = ""
    run_id: str = ""
    arm: str = ""
    position: Position | None = None
    found_at: AwareDatetime
    also_found_by: tuple[str, ...] = ()
    near_duplicates: tuple[str, ...] = ()
    policy_priority: Annotated[int, Field(ge=1, le=9)] = 5
