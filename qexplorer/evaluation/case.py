"""One evaluation on one corpus: the index that is searched, its labels, the known flags and the groups of seeds."""

import hashlib
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from qexplorer.clock import Clock
from qexplorer.corpus import Corpus, Item, Part
from qexplorer.errors import BadInputError
from qexplorer.evaluation.disguised import disguised
from qexplorer.evaluation.results import hash_of
from qexplorer.evaluation.seeds import Knowledge, Seed
from qexplorer.near_duplicates import NEAR, jaccard, terms
from qexplorer.normalise import normalise
from qexplorer.search.client import OpenSearchClient
from qexplorer.search.load import load_listings
from qexplorer.triage import FORMAT, KnownFlag, Triage, open_triage, train_triage
from schemas import Listing, ListingStatus

Unit = Literal["cluster", "campaign"]
MOST_UNLABELLED = 4_000


class Documents:
    """The listings of the judged index with what is worked out of each only once: normal form, words, score.

    `originals` are the same listings before they were disguised, for the reviewers: who looks at a listing sees what it
    is, and that it says the same as another one. Numbers follow a hash of the ids: methods see them, and in the order
    of the corpus they would tell the prohibited listings, which come last there.
    """

    def __init__(
        self,
        listings: Sequence[Listing],
        items: Sequence[Item],
        triage: Triage | None,
        *,
        originals: Sequence[Listing] | None = None,
    ) -> None:
        self._listings = sorted(listings, key=_drawn)
        self._originals = self._listings if originals is None else sorted(originals, key=_drawn)
        self._triage = triage
        self._places = {listing.id: place for place, listing in enumerate(self._listings)}
        self._labels = {item.listing.id: item for item in items if item.listing.id in self._places}
        self._texts: dict[int, str] = {}
        self._words: dict[int, frozenset[str]] = {}
        self._scores: dict[int, float] = {}

    def __len__(self) -> int:
        return len(self._listings)

    def place(self, listing_id: str) -> int:
        """Return the number of a listing; raises BadInputError for one that the corpus does not have."""
        try:
            return self._places[listing_id]
        except KeyError:
            raise BadInputError(
                f"the index holds {listing_id}, which the corpus does not", remedy="Delete the index and run again"
            ) from None

    def text(self, place: int) -> str:
        """Return the normal form of a listing."""
        if place not in self._texts:
            self._texts[place] = normalise(self._listings[place].text)
        return self._texts[place]

    def words(self, place: int) -> frozenset[str]:
        """Return the distinct words of a listing as it was before any disguise."""
        if place not in self._words:
            same = self._originals[place] is self._listings[place]
            text = self.text(place) if same else normalise(self._originals[place].text)
            self._words[place] = frozenset(terms(text))
        return self._words[place]

    def scores(self, places: Sequence[int]) -> list[float | None]:
        """Return the triage score of each listing; None each without a triage."""
        if self._triage is None:
            return [None] * len(places)
        new = [place for place in dict.fromkeys(places) if place not in self._scores]
        self._scores |= dict(zip(new, self._triage.score([self.text(place) for place in new]), strict=True))
        return [self._scores[place] for place in places]

    def label(self, place: int) -> Item | None:
        """Return the prohibited item that a listing is, else None. Only reviewers and metrics may ask."""
        return self._labels.get(self._listings[place].id)

    def items(self) -> list[Item]:
        """Return all prohibited items of the index. Only reviewers and metrics may ask."""
        return list(self._labels.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A seed with the item that it is."""

    seed: Seed
    item: Item


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """All that an evaluation needs of one corpus; `groups` are disjoint, one seed a cluster."""

    name: str
    digest: str
    part: Part
    index: str
    documents: Documents
    knowledge: Knowledge
    groups: tuple[tuple[Judged, ...], ...]
    campaigns: frozenset[str]
    postings: Mapping[str, tuple[int, ...]] = field(repr=False)
    # Not taken along by `replace`: other documents have other places.
    _known: dict[int, bool] = field(init=False, repr=False, default_factory=dict)

    def is_known(self, place: int) -> bool:
        """Whether a listing is a near-duplicate of a known flag: a token Jaccard above one half."""
        if place not in self._known:
            self._known[place] = self._is_known(self.documents.words(place))
        return self._known[place]

    def _is_known(self, words: frozenset[str]) -> bool:
        # It shares more than half of its words with such a flag, so at least one of its rarer half.
        rarer = sorted(words, key=lambda word: len(self.postings.get(word, ())))[: (len(words) + 1) // 2]
        flags = {flag for word in rarer for flag in self.postings.get(word, ())}
        return any(jaccard(self.knowledge.flags[flag].words, words) > NEAR for flag in flags)


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseSettings:
    """What of a corpus is judged, and with which seeds.

    `groups` is how many groups of `group_size` seeds at most, 0 for as many as there are; `unit` is what gives one
    seed: a cluster, or a campaign where a corpus has few sellers with many campaigns each; `held_out` keeps only seeds
    of kinds that the training part lacks.
    """

    part: Part = "dev"
    group_size: int = 20
    groups: int = 0
    unit: Unit = "cluster"
    triage: bool = True
    held_out: bool = False
    seed: int = 0


def make_case(corpus: Corpus, settings: CaseSettings, folder: Path) -> Case:
    """Return the evaluation of one part of a corpus; `folder` keeps the triage that is trained for it.

    Raises BadInputError when there are too few seeds for one group.
    """
    known = corpus.of("train")
    flags = tuple(Seed.of(item.listing, item.kind) for item in known)
    listings = indexed(corpus, settings.part)
    # Whatever their label: to draw harmless ones alone would tell the triage which listings of the index these are.
    drawn = random.Random(settings.seed).sample(listings, min(MOST_UNLABELLED, len(listings)))
    sample = tuple(normalise(listing.text) for listing in drawn)
    history = [KnownFlag.of(item.listing, flag.policy) for item, flag in zip(known, flags, strict=True)]
    triage = _triage(corpus.name, history, sample, folder, settings.seed) if settings.triage else None
    judged = corpus.of(settings.part)
    documents = Documents(listings, judged, triage)
    postings: dict[str, list[int]] = {}
    for place, flag in enumerate(flags):
        for word in flag.words:
            postings.setdefault(word, []).append(place)
    return Case(
        name=corpus.name,
        digest=corpus.digest,
        part=settings.part,
        index=f"evaluate-{corpus.digest}-{settings.part}",
        documents=documents,
        knowledge=Knowledge(flags=flags, triage=triage, sample=sample),
        groups=make_groups(corpus.name, judged, settings),
        campaigns=frozenset(item.campaign for item in documents.items()),
        postings={word: tuple(places) for word, places in postings.items()},
    )


def disguise_case(case: Case, corpus: Corpus, *, seed: int) -> tuple[Case, list[Listing]]:
    """Return the same evaluation over an index in which half of the prohibited listings are disguised.

    The seeds stay as they were flagged. The listings are those to fill its index with.
    """
    originals = indexed(corpus, case.part)
    seeds = [judged.item.listing.id for group in case.groups for judged in group]
    items = corpus.of(case.part)
    listings = disguised(originals, items, seeds, seed=seed)
    documents = Documents(listings, items, case.knowledge.triage, originals=originals)
    # Other seeds stay as they are in another index: one that is kept would hold the listings of these disguised.
    return replace(case, documents=documents, index=f"{case.index}-disguised-{seed}-{hash_of(seeds)}"), listings


def indexed(corpus: Corpus, part: Part) -> list[Listing]:
    """Return the listings of the judged index: all others and the prohibited ones of the part, if they are active.

    A removed listing may be a seed, for it was flagged, but no search can find it.
    """
    listings = {listing.id: listing for listing in corpus.others}
    listings |= {item.listing.id: item.listing for item in corpus.of(part)}
    return [listing for listing in listings.values() if listing.status is ListingStatus.ACTIVE]


async def fill(client: OpenSearchClient, index: str, listings: Sequence[Listing], clock: Clock) -> None:
    """Load an index, leaving one that is full; raises BadInputError when it holds other listings than these."""
    await load_listings(client, index, listings, clock=clock)
    count = await client.count(index)
    if count != len(listings):
        raise BadInputError(
            f"the index {index} has {count} listings and not the {len(listings)} of the corpus, so it misses seeds",
            remedy="Delete it and run again",
        )


def make_groups(name: str, items: Sequence[Item], settings: CaseSettings) -> tuple[tuple[Judged, ...], ...]:
    """Return disjoint groups with one seed a cluster; the kinds are spread evenly and come in turn within a group."""
    draw = random.Random(settings.seed)
    units: dict[str, list[Item]] = {}
    for item in items:
        if item.held_out or not settings.held_out:
            units.setdefault(item.cluster if settings.unit == "cluster" else item.campaign, []).append(item)
    chosen = [draw.choice(members) for _, members in sorted(units.items())]
    draw.shuffle(chosen)
    count = len(chosen) // settings.group_size
    if count == 0:
        raise BadInputError(
            f"{name} has {len(chosen)} {settings.unit}s to take seeds from in the part {settings.part}",
            remedy=f"At least {settings.group_size} are needed for one group: make it smaller or give more rows",
        )
    # What fills no group is left out before kinds are spread: behind, it would be the last kinds of the alphabet.
    chosen = sorted(chosen[: count * settings.group_size], key=lambda item: item.kind)
    groups = [_in_turn(chosen[start::count]) for start in range(count)]
    return tuple(groups[: settings.groups or count])


def seeds_of(corpora: Iterable[Corpus], settings: CaseSettings) -> list[Seed]:
    """Return the seeds of all groups of some corpora."""
    groups = [make_groups(corpus.name, corpus.of(settings.part), settings) for corpus in corpora]
    return [judged.seed for made in groups for group in made for judged in group]


def _drawn(listing: Listing) -> bytes:
    return hashlib.sha256(listing.id.encode()).digest()


def _in_turn(items: Sequence[Item]) -> tuple[Judged, ...]:
    seen: dict[str, int] = {}
    turns = []
    for item in items:
        turns.append((seen.get(item.kind, 0), item.kind, item))
        seen[item.kind] = seen.get(item.kind, 0) + 1
    turns.sort(key=lambda turn: turn[:2])
    return tuple(Judged(seed=Seed.of(item.listing, item.kind), item=item) for _, _, item in turns)


def _triage(name: str, flags: Sequence[KnownFlag], sample: Sequence[str], folder: Path, seed: int) -> Triage | None:
    """Train on the known flags against the sample; the same inputs and seed are trained on once."""
    fields = [field for flag in flags for field in (flag.text, flag.policy, flag.seller, flag.shown)]
    digest = hashlib.sha256("\0".join([FORMAT, *fields, "", *sample]).encode()).hexdigest()[:16]
    path = folder / f"triage-{name}-{digest}-{seed}.safetensors"
    if not path.exists():
        train_triage(flags, sample, path, seed=seed)
    return open_triage(path)
