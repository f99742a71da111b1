"""From known flags and listings to an adapter, in one go: triage, index, candidate store, SFT, rounds of DPO.

Each step that is done is found done when the run is started again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from qexplorer.clock import SystemClock
from qexplorer.errors import BadInputError
from qexplorer.learn.build import Judges, fill
from qexplorer.learn.derive import KEPT_BACK, write_sets
from qexplorer.learn.rounds import OpenSearcher, RoundSettings, train_rounds
from qexplorer.learn.sft import OnStep, train_sft
from qexplorer.learn.store import Store, triage_of
from qexplorer.learn.training import RECORD, TrainingSettings
from qexplorer.normalise import normalise
from qexplorer.offline import read_flags
from qexplorer.policies import Policies
from qexplorer.rows import read_rows, to_listing
from qexplorer.search.client import OpenSearchClient
from qexplorer.search.load import load_listings
from qexplorer.triage import KnownFlag, open_triage, train_triage
from schemas import FlaggedListing, Listing, WireError

MOST_UNLABELLED = 10_000
DPO_RATE = 3e-5
DPO_BATCH = 4
DPO_EPOCHS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Known flags with the listings among which their siblings are: `train.jsonl` and `listings.jsonl` of a folder."""

    name: str
    flags: Path
    listings: Path

    @classmethod
    def of(cls, folder: Path) -> "Source":
        """Return the source in a folder, as `qexplorer dataset split` writes it."""
        source = cls(name=folder.resolve().name, flags=folder / "train.jsonl", listings=folder / "listings.jsonl")
        for path in (source.flags, source.listings):
            if not path.is_file():
                raise BadInputError(f"{path} does not exist", remedy="Run: qexplorer dataset split")
        return source


async def fill_from(
    store: Store,
    source: Source,
    client: OpenSearchClient,
    policies: Policies,
    *,
    searches: int,
    seed: int,
    say: Callable[[str], None],
) -> None:
    """Train the triage of a source, fill an index with its listings, and the store with what its flags' words find."""
    index = f"train-{source.name.lower()}"
    flags: list[FlaggedListing] = [flag for flag, _ in read_flags(source.flags, {}, policies, say)]
    listings = _listings(source.listings)
    path = triage_of(store, index)
    if not path.exists():
        flagged = {flag.listing.id for flag in flags}
        others = [normalise(row.text) for row in listings if row.id not in flagged]
        report = train_triage(
            # Without sellers, as the packaged adapter's data was made: with them the prompts show other spans, and an
            # adapter that was trained so was no better.
            [KnownFlag(text=normalise(flag.listing.text), policy=flag.policy) for flag in flags],
            others[:MOST_UNLABELLED],
            path,
            seed=seed,
        )
        say(f"{source.name}: triage of {report.flags} flags, AUC {report.auc:.3f} on texts not seen")
    triage = open_triage(path)
    assert triage is not None  # noqa: S101 - a path was given
    await load_listings(client, index, listings, clock=SystemClock())
    await fill(store, client, index, flags, Judges(triage=triage), most=searches)
    say(f"{source.name}: {len(flags)} flags among {len(listings)} listings")


def _listings(path: Path) -> list[Listing]:
    listings: list[Listing] = []
    for row in read_rows(path):
        try:
            listings.append(to_listing(row.value or {}, {} if (row.value or {}).get("title") else {"title": "text"}))
        except WireError as error:
            raise BadInputError(f"{path}, row {row.number}: {error}", remedy="Mend or remove the row") from None
    return listings


def train_adapter(
    store: Store,
    out: Path,
    settings: TrainingSettings,
    *,
    rounds: int,
    client: OpenSearcher,
    on_step: Callable[[str], OnStep],
) -> Path:
    """Train an SFT adapter and go on from it with `rounds` of DPO; return the folder of the last adapter."""
    sft = out / "sft"
    if not (sft / RECORD).exists():
        write_sets(store, inputs={"seed": settings.seed}, seed=settings.seed, share=KEPT_BACK if rounds else 0.0)
        train_sft(store.folder / "sft.parquet", sft, settings, on_step("sft"))
    if not rounds:
        return sft
    further = replace(settings, rank=0, learning_rate=DPO_RATE, batch_size=DPO_BATCH, epochs=DPO_EPOCHS)
    return train_rounds(
        store, sft, out / "dpo", further, RoundSettings(), rounds=rounds, searcher=client, on_step=on_step("dpo")
    )


def sources_of(folders: Sequence[Path]) -> list[Source]:
    """Return the sources in folders. Raises BadInputError when two have the same name or one lacks a file."""
    found = [Source.of(folder) for folder in folders]
    names = [source.name for source in found]
    if len(set(names)) < len(names):
        raise BadInputError("two of the folders have the same name", remedy="Each names an index: rename one")
    return found
