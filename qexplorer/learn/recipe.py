"""From known flags and listings to an adapter, in one go: triage, index, candidate store, SFT, rounds of DPO.

Each step that is done is found done when the run is started again.
"""

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from qexplorer.clock import SystemClock
from qexplorer.corpus import Refused
from qexplorer.errors import BadInputError, ConfigError
from qexplorer.learn.build import Judges, fill
from qexplorer.learn.derive import KEPT_BACK, SHARE, write_sets
from qexplorer.learn.rounds import OpenSearcher, RoundSettings, train_rounds
from qexplorer.learn.sft import OnStep, train_sft
from qexplorer.learn.store import Store, triage_of, write_whole
from qexplorer.learn.training import RECORD, TrainingSettings
from qexplorer.normalise import normalise
from qexplorer.offline import read_flags
from qexplorer.policies import Policies
from qexplorer.rows import read_rows, to_listing
from qexplorer.search.client import OpenSearchClient
from qexplorer.search.load import load_listings
from qexplorer.search.mapping import listings_body
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

    @property
    def index(self) -> str:
        """Return the name of its index; what no index may be called is told apart by a hash."""
        name = self.name.lower()
        safe = re.sub(r"[^a-z0-9._-]+", "-", name)[:100]
        return f"train-{safe}" if safe == name else f"train-{safe}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"

    @property
    def content(self) -> dict[str, str]:
        """Return the hash of each file."""
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (self.flags, self.listings)}


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
    index = source.index
    await _claim_index(client, index, source.content[source.listings.name])
    flags: list[FlaggedListing] = [flag for flag, _ in read_flags(source.flags, {}, policies, say)]
    listings = _listings(source.listings, say)
    path = triage_of(store, index)
    if not path.exists():
        flagged = {flag.listing.id for flag in flags}
        others = [normalise(row.text) for row in listings if row.id not in flagged]
        report = train_triage(
            # Without sellers, as the packaged adapter's data was made: with them the prompts show other spans, and an
            # adapter that was trained so was no better.
            [replace(KnownFlag.of(flag.listing, flag.policy), seller="") for flag in flags],
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


async def _claim_index(client: OpenSearchClient, index: str, content: str) -> None:
    body = listings_body()
    body["mappings"]["_meta"]["content"] = content
    await client.ensure_index(index, body)
    held = await client.request("GET", f"/{index}/_mapping")
    if held[index]["mappings"].get("_meta", {}).get("content") != content:
        raise ConfigError(
            f"the index {index} was not made for these listings", remedy="Rename the folder, or delete the index"
        )


def _listings(path: Path, say: Callable[[str], None]) -> list[Listing]:
    listings: list[Listing] = []
    refused = Refused()
    for row in read_rows(path):
        try:
            listings.append(to_listing(row.value or {}, {}))
        except WireError as error:
            refused.add(row, error)
    if refused.count:
        say(f"{path}{refused}")
    return listings


def claim(
    out: Path, sources: Sequence[Source], policies: Policies, settings: TrainingSettings, *, searches: int, rounds: int
) -> None:
    """Keep what the results in a folder depend on, so that earlier ones are not taken for those of other inputs.

    More rounds go on from fewer. Raises ConfigError where the folder holds results, or the beginning, of other inputs.
    """
    inputs: dict[str, Any] = {
        **asdict(settings),
        "searches": searches,
        SHARE: _share(rounds),
        "kinds": {policy.id: list(policy.kinds) for policy in policies.policies},
        "sources": {source.index: source.content for source in sources},
    }
    mark = out / "inputs.json"
    held = json.loads(mark.read_text()) if mark.exists() else inputs
    if other := sorted(name for name in inputs.keys() | held.keys() if inputs.get(name) != held.get(name)):
        raise ConfigError(
            f"{out} holds a training with other inputs: {', '.join(other)}", remedy="Name another folder, or remove it"
        )
    write_whole(mark, json.dumps(inputs, indent=1).encode())


def _share(rounds: int) -> float:
    return KEPT_BACK if rounds else 0.0


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
        write_sets(store, inputs={"seed": settings.seed}, seed=settings.seed, share=_share(rounds))
        train_sft(store.folder / "sft.parquet", sft, settings, on_step("sft"))
    if not rounds:
        return sft
    further = replace(settings, rank=0, learning_rate=DPO_RATE, batch_size=DPO_BATCH, epochs=DPO_EPOCHS)
    return train_rounds(
        store, sft, out / "dpo", further, RoundSettings(), rounds=rounds, searcher=client, on_step=on_step("dpo")
    )


def sources_of(folders: Sequence[Path]) -> list[Source]:
    """Return the sources in folders. Raises BadInputError when two have one index or one lacks a file."""
    found = [Source.of(folder) for folder in folders]
    names = [source.index for source in found]
    if len(set(names)) < len(names):
        raise BadInputError(
            "two of the folders have the same name", remedy="Each names an index, in small letters: rename one"
        )
    return found
