"""A corpus with ground truth, split so that nothing is judged by what it was trained on.

The unit of a split is the cluster: listings that say nearly the same, or that share a campaign where the rows name
one. Where every prohibited listing has a date the oldest clusters are for training and the newest for the test; else
chance decides.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from qexplorer.errors import BadInputError
from qexplorer.near_duplicates import NEAR, joined, near_groups
from qexplorer.normalise import normalise
from qexplorer.rows import Row, read_rows, to_listing
from schemas import Listing, WireError

Part = Literal["train", "dev", "test"]
PARTS: tuple[Part, ...] = ("train", "dev", "test")
SHARES: Mapping[Part, float] = {"train": 0.5, "dev": 0.15, "test": 0.35}
FEWEST = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A prohibited listing, its text in normal form and what it belongs to.

    `campaign` joins listings whose token sets have a Jaccard above one half, also through others; `cluster` joins
    campaigns that the rows call one. `held_out` marks a kind that no training may see.
    """

    listing: Listing
    kind: str
    normalised: str
    campaign: str
    cluster: str
    part: Part
    held_out: bool = False


@dataclass(slots=True)
class Refused:
    """How many rows were refused, and which was the first and why."""

    count: int = 0
    first: str = ""

    def add(self, row: Row, why: WireError) -> None:
        """Count a row."""
        self.count += 1
        self.first = self.first or f"row {row.number}: {row.problem or why}"

    def __str__(self) -> str:
        return f"; {self.count} rows refused, the first: {self.first}" if self.count else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """Prohibited items and all others, of which nothing is known but that nobody has flagged them.

    `refused` counts the rows that are neither, `first_refused` says which was the first and why. `digest` follows the
    listings, their kinds and campaigns, and the settings of the split.
    """

    name: str
    items: tuple[Item, ...]
    others: tuple[Listing, ...]
    refused: int
    first_refused: str
    digest: str

    def of(self, part: Part) -> tuple[Item, ...]:
        """Return the prohibited items of one part."""
        return tuple(item for item in self.items if item.part == part)


def open_corpus(
    path: Path, *, name: str = "", sources: Sequence[str] = (), held_out: Sequence[str] = (), seed: int = 0
) -> Corpus:
    """Read a file with the columns of a listing (or `text`), `toxic` and `kind`; see `make_corpus`."""
    return make_corpus(name or path.name.split(".")[0], read_rows(path), sources=sources, held_out=held_out, seed=seed)


def make_corpus(
    name: str, rows: Iterable[Row], *, sources: Sequence[str] = (), held_out: Sequence[str] = (), seed: int = 0
) -> Corpus:
    """Read rows with ground truth and split the prohibited ones.

    `sources` keeps only rows of those sources: prohibited and harmless rows from different sources can be told apart by
    their source alone. Clusters with a kind of `held_out` are for the test only. Raises BadInputError when there are
    too few of either class.
    """
    prohibited: list[tuple[Listing, str, str]] = []
    others: list[Listing] = []
    refused = Refused()
    digest = hashlib.sha256(f"{NEAR}\0{SHARES}\0{sources}\0{held_out}\0{seed}".encode())
    for row in rows:
        if row.value is not None and sources and row.value.get("source") not in sources:
            continue
        try:
            listing, kind, campaign = read_truth(row)
        except WireError as error:
            refused.add(row, error)
            continue
        digest.update(f"{listing.model_dump_json()}\0{kind}\0{campaign}\0".encode())
        if kind:
            prohibited.append((listing, kind, campaign))
        else:
            others.append(listing)
    if len(prohibited) < FEWEST or len(others) < FEWEST:
        raise BadInputError(
            f"{name} has {len(prohibited)} prohibited and {len(others)} other listings{refused}",
            remedy=f"Give {FEWEST} of each at least, told apart by the column toxic, with a kind",
        )
    return Corpus(
        name=name,
        items=_split(_items(prohibited), held_out, seed),
        others=tuple(others),
        refused=refused.count,
        first_refused=refused.first,
        digest=digest.hexdigest()[:16],
    )


def read_truth(row: Row) -> tuple[Listing, str, str]:
    """Return a row's listing, its kind ("" when harmless) and the campaign that it names.

    Raises WireError for a row that is no listing, or is prohibited and does not say of which kind.
    """
    if row.value is None:
        raise WireError(row.problem)
    value = row.value
    listing = to_listing(value, {})
    # A number is a name too, also 0.
    kind, campaign = ("" if value.get(name) is None else str(value[name]) for name in ("kind", "campaign"))
    if not is_toxic(value.get("toxic")):
        return listing, "", campaign
    if not kind:
        raise WireError("toxic, and without a kind")
    return listing, kind, campaign


def is_toxic(label: object) -> bool:
    """Whether a label says prohibited, as a truth value, a number or a word: `"false"` does not."""
    return str(label).lower() in {"true", "1", "1.0", "yes"}


def _items(prohibited: Sequence[tuple[Listing, str, str]]) -> list[Item]:
    texts = [normalise(listing.text) for listing, _, _ in prohibited]
    campaigns = near_groups(texts)
    named: dict[str, list[int]] = {}
    for place, (_, _, campaign) in enumerate(prohibited):
        named.setdefault(campaign, []).append(place)
    same = [(places[0], place) for name, places in named.items() if name for place in places[1:]]
    same += [(campaigns[place], place) for place in range(len(texts))]
    clusters = joined(len(texts), same)
    return [
        Item(
            listing=listing,
            kind=kind,
            normalised=texts[place],
            campaign=prohibited[campaigns[place]][0].id,
            cluster=prohibited[clusters[place]][0].id,
            part="train",
        )
        for place, (listing, kind, _) in enumerate(prohibited)
    ]


def _split(items: Sequence[Item], held_out: Sequence[str], seed: int) -> tuple[Item, ...]:
    clusters: dict[str, list[Item]] = {}
    for item in items:
        clusters.setdefault(item.cluster, []).append(item)
    dated = all(item.listing.updated_at is not None for item in items)
    transfer = {name for name, members in clusters.items() if any(item.kind in held_out for item in members)}

    def order(name: str) -> Any:
        if dated:
            # As moments: written down, those of two time zones have another order.
            return min(item.listing.updated_at for item in clusters[name] if item.listing.updated_at)
        return hashlib.sha256(f"{seed}\0{name}".encode()).hexdigest()

    ordered = sorted(set(clusters) - transfer, key=lambda name: (order(name), name))
    parts: dict[str, Part] = dict.fromkeys(transfer, "test")
    for place, name in enumerate(ordered):
        # Clusters are counted, not their items: one flood of copies must not be half of the test.
        share = (place + 0.5) / len(ordered)
        parts[name] = "train" if share < SHARES["train"] else "dev" if share < 1 - SHARES["test"] else "test"
    return tuple(
        replace(item, part=parts[item.cluster], held_out=item.kind in held_out and item.cluster in transfer)
        for item in items
    )
