"""What passes between the steps of the core."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from qexplorer.bank import BankEntry
from qexplorer.candidates import Candidate, Proposal
from qexplorer.discoveries import Flagged, Item
from qexplorer.near_duplicates import Fingerprint
from qexplorer.policies import Policy
from qexplorer.rank import Merged, Scored
from qexplorer.search.backend import Hit
from schemas import FlaggedListing, FlagOutcome, Position, QueryFate


@dataclass(frozen=True, slots=True, kw_only=True)
class Seed:
    """A flag to explore, with its policy, its text in normal form and its place in the lineage.

    `depth` is 0 for a flag that the platform raised by itself. `closed` names the outcome of a flag that is
    answered without a search; `answered` says that the run has delivered its answer before, `seen_before`
    that its listing was known already, `earlier` which answers it has had.
    """

    flag: FlaggedListing
    policy: Policy
    normalised: str
    mark: Fingerprint
    depth: int
    prompt_version: str
    trace_id: str
    position: Position | None = None
    closed: FlagOutcome | None = None
    reason: str = ""
    answered: bool = False
    seen_before: bool = False
    earlier: tuple[str, ...] = ()

    @property
    def flagged(self) -> Flagged:
        """The flag as it is entered among the known items."""
        return Flagged(flag_id=self.flag.flag_id, item=self.item, answered=self.earlier)

    @property
    def item(self) -> Item:
        """The flagged listing as a known item."""
        listing = self.flag.listing
        return Item(
            index=self.policy.index,
            listing_id=listing.id,
            listing_version=listing.version,
            policy=self.policy.id,
            seller=listing.seller,
            depth=self.depth,
            mark=self.mark,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What becomes of one candidate: its fate so far, and the search to run where it has none yet."""

    candidate: Candidate
    key: str
    fate: QueryFate | None = None
    reason: str = ""
    since: datetime | None = None
    banked: BankEntry | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Searched:
    """An executed step: all hits of all pages, how many searches it took, or the problem."""

    step: Step
    hits: tuple[Hit, ...]
    total: int
    took_ms: float
    searches: int
    dsl_hash: str
    refused: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What the steps found for one seed; hits and choices are keyed by the bank key of their query."""

    proposal: Proposal
    steps: tuple[Step, ...]
    searched: Mapping[str, Searched]
    scored: Mapping[str, Sequence[Scored]]
    chosen: tuple[str, ...]
    merged: Merged
