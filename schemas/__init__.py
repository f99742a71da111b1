"""The records that QExplorer reads and writes, as frozen and versioned pydantic models."""

from schemas.base import Wire, WireError
from schemas.control import Command, Control
from schemas.dead_letter import DeadLetter, DeadLetterReason
from schemas.flag import FlaggedListing
from schemas.listing import Listing, ListingStatus, Price
from schemas.query import (
    FlagOutcome,
    FlagResult,
    Position,
    Query,
    QueryAudit,
    QueryFate,
    QuerySource,
    Versions,
)
from schemas.review import Decision, Retraction, Verdict
from schemas.suspect import SeedFlag, Suspect

__all__ = [
    "Command",
    "Control",
    "DeadLetter",
    "DeadLetterReason",
    "Decision",
    "FlagOutcome",
    "FlagResult",
    "FlaggedListing",
    "Listing",
    "ListingStatus",
    "Position",
    "Price",
    "Query",
    "QueryAudit",
    "QueryFate",
    "QuerySource",
    "Retraction",
    "SeedFlag",
    "Suspect",
    "Verdict",
    "Versions",
    "Wire",
    "WireError",
]
