"""What the demo works on: a marketplace whose prohibited listings are known, split into history, seeds and the rest."""

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from qexplorer.corpus import Refused, read_truth
from qexplorer.errors import BadInputError
from qexplorer.near_duplicates import near_groups
from qexplorer.normalise import normalise
from qexplorer.policies import Policies
from qexplorer.rows import Row
from qexplorer.triage import KnownFlag
from schemas import FlaggedListing, Listing, WireError

FEWEST_PROHIBITED = 60
HISTORY_SHARE = 0.5
MOST_HISTORY = 1_500
UNLABELLED = 4_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What the demo knows of a prohibited listing and the system does not."""

    kind: str
    campaign: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoData:
    """The split: `listings` are searched, `seeds` (among them) are flagged, `history` was flagged long ago.

    `truth` holds the prohibited listings of the index by id; `unlabelled` are random ones of it, whatever they are,
    for the triage.
    """

    name: str
    listings: tuple[Listing, ...]
    seeds: tuple[FlaggedListing, ...]
    history: tuple[KnownFlag, ...]
    unlabelled: tuple[str, ...]
    truth: Mapping[str, Truth]
    refused: int
    first_refused: str = ""


def prepare(
    name: str, rows: Iterable[Row], policies: Policies, *, seeds: int, seed: int, on_rows: Callable[[int], None]
) -> DemoData:
    """Split rows with ground truth (`toxic` and `kind` beside the listing's own columns).

    Of the prohibited listings' campaigns (the column `campaign`, else near-duplicates) half are history: the
    triage learns from them and they are no longer on sale. Seeds come from the others, spread over kinds and campaigns.
    Raises BadInputError where there is too little to show.
    """
    draw = random.Random(seed)
    listings: list[Listing] = []
    prohibited: list[tuple[Listing, str, str]] = []
    refused = Refused()
    seen: set[str] = set()
    for row in rows:
        on_rows(1)
        try:
            read = read_truth(row)
            if read[0].id in seen:
                # An index keeps one of them, and two flags of one id would get one answer.
                raise WireError("a row before it has its id")  # noqa: TRY301 - refused as any other
        except WireError as error:
            refused.add(row, error)
            continue
        listing, kind, _ = read
        seen.add(listing.id)
        if kind:
            prohibited.append(read)
        else:
            listings.append(listing)
    if len(prohibited) < FEWEST_PROHIBITED or len(listings) < FEWEST_PROHIBITED:
        raise BadInputError(
            f"{name} has {len(prohibited)} prohibited and {len(listings)} other listings{refused}",
            remedy=f"The demo needs {FEWEST_PROHIBITED} of each, told apart by the column toxic, with a kind",
        )
    campaigns = _campaigns(prohibited)
    names = sorted(campaigns)
    draw.shuffle(names)
    past = set(names[: int(len(names) * HISTORY_SHARE)])
    open_rows = [(entry, campaign) for campaign in names if campaign not in past for entry in campaigns[campaign]]
    flagged = [entry for campaign in past for entry in campaigns[campaign]]
    draw.shuffle(flagged)
    flagged = flagged[:MOST_HISTORY]
    chosen = _spread(open_rows, seeds, draw)
    now = datetime.now(UTC)
    flags = tuple(flag for listing, kind in chosen if (flag := _flag(listing, kind, policies, now)) is not None)
    if not flags:
        raise BadInputError(
            f"no policy takes the kinds of {name}: {', '.join(sorted({kind for _, kind, _ in prohibited}))}",
            remedy="Name them as qexplorer/policies.yaml does",
        )
    on_sale = (*listings, *(listing for (listing, _), _ in open_rows))
    return DemoData(
        name=name,
        listings=on_sale,
        seeds=flags,
        history=tuple(KnownFlag.of(listing, policies.of_kind(kind)) for listing, kind in flagged),
        unlabelled=tuple(normalise(listing.text) for listing in draw.sample(on_sale, min(UNLABELLED, len(on_sale)))),
        truth={listing.id: Truth(kind=kind, campaign=campaign) for (listing, kind), campaign in open_rows},
        refused=refused.count,
        first_refused=refused.first,
    )


def _campaigns(rows: Sequence[tuple[Listing, str, str]]) -> dict[str, list[tuple[Listing, str]]]:
    groups = near_groups([normalise(listing.text) for listing, _, _ in rows])
    campaigns: dict[str, list[tuple[Listing, str]]] = defaultdict(list)
    for (listing, kind, campaign), first in zip(rows, groups, strict=True):
        campaigns[campaign or rows[first][0].id].append((listing, kind))
    return campaigns


def _spread(
    rows: Sequence[tuple[tuple[Listing, str], str]], most: int, draw: random.Random
) -> list[tuple[Listing, str]]:
    """Return up to `most` rows, one a campaign, the kinds in turn."""
    by_kind: dict[str, list[tuple[Listing, str]]] = defaultdict(list)
    seen: set[str] = set()
    for entry, campaign in draw.sample(rows, len(rows)):
        if campaign not in seen:
            seen.add(campaign)
            by_kind[entry[1]].append(entry)
    chosen: list[tuple[Listing, str]] = []
    while len(chosen) < most and any(by_kind.values()):
        for kind in sorted(by_kind):
            if by_kind[kind] and len(chosen) < most:
                chosen.append(by_kind[kind].pop())
    return chosen


def _flag(listing: Listing, kind: str, policies: Policies, now: datetime) -> FlaggedListing | None:
    policy = policies.of_kind(kind)
    if not policy:
        return None
    return FlaggedListing(
        flag_id=f"demo-{listing.id}", listing=listing, kind=kind, policy=policy, source="demo", flagged_at=now
    )
