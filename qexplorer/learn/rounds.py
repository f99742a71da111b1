"""Rounds of preference alignment: the newest adapter writes, the search says what that finds, DPO learns from it.

A round that was cut off goes on where it stopped: replies and searches are in the store, training has its checkpoints.
"""

import asyncio
import itertools
import random
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

from qexplorer.errors import BadInputError, TrainingError
from qexplorer.learn import build
from qexplorer.learn.derive import for_preferences, kept_back_share, open_found, write_sets
from qexplorer.learn.dpo import train_dpo
from qexplorer.learn.guards import Habits, check_habits, habits
from qexplorer.learn.reward import copies
from qexplorer.learn.sft import OnStep
from qexplorer.learn.store import FlagRow, IndexRow, ReplyRow, Store, triage_of
from qexplorer.learn.training import RECORD, TrainingSettings, first_then_others
from qexplorer.llm.engine import EngineSettings, Sampling
from qexplorer.llm.opening import open_engine
from qexplorer.llm.prompt import load_template
from qexplorer.search.backend import Searcher
from qexplorer.triage import open_triage

MOST_LOOKED_AT = 100
OpenSearcher = Callable[[], AbstractAsyncContextManager[Searcher]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundSettings:
    """How many flags of each index are asked about, how many replies each gets, and how warm they are drawn."""

    flags: int = 250
    samples: int = 8
    temperature: float = 1.0


def train_rounds(
    store: Store,
    adapter: Path,
    out: Path,
    settings: TrainingSettings,
    how: RoundSettings,
    *,
    rounds: int,
    searcher: OpenSearcher,
    on_step: OnStep,
) -> Path:
    """Train `rounds` adapters, each from the one before, into `out`/round-1, …; return the last one's folder.

    Raises TrainingError when a round has spoilt how the model writes: much longer or shorter queries, fewer distinct
    ones that find something, more that find nothing, copy the listing or cannot be read.
    """
    share = kept_back_share(store)
    flags = _some(store, share, how.flags, settings.seed)
    # Habits are looked at over the same few flags before and behind a round: shares of distinct queries need that.
    few = random.Random(settings.seed).sample(flags, min(MOST_LOOKED_AT, len(flags)))
    before: Habits | None = None
    for number in range(1, rounds + 2):
        asker = _asker(adapter, settings, how, number)
        with first_then_others():
            now = asyncio.run(_ask(store, flags if number <= rounds else few, asker, searcher, few))
        if before is not None and (flaws := check_habits(before, now)):
            message = f"round {number - 1} has spoilt the model: {'; '.join(flaws)}"
            raise TrainingError(message, remedy="Use the adapter before it, or a lower learning rate")
        if number > rounds:
            return adapter
        before = now
        target = out / f"round-{number}"
        if not (target / RECORD).exists():
            with first_then_others():
                write_sets(store, inputs={"seed": settings.seed, "asker": asker.name}, seed=settings.seed, share=share)
            train_dpo(store.folder / "pairs.parquet", adapter, target, settings, on_step, asker=asker.name)
        adapter = target
    return adapter


def _some(store: Store, share: float, most: int, seed: int) -> list[FlagRow]:
    """Return at most so many flags of each index by chance, of those whose replies make pairs."""
    chance = random.Random(seed)
    chosen: list[FlagRow] = []
    for index in dict.fromkeys(row.index for row in store.read(IndexRow)):
        every = [row for row in store.read(FlagRow) if row.index == index]
        preferring = for_preferences(every, share)
        rows = sorted((row for row in every if row.flag_id in preferring), key=lambda row: row.flag_id)
        chosen += chance.sample(rows, min(most, len(rows)))
    if not chosen:
        raise BadInputError(f"{store.folder} has no flags", remedy="Run: qexplorer dataset build")
    return chosen


def _asker(adapter: Path, settings: TrainingSettings, how: RoundSettings, number: int) -> build.Asker:
    engine = open_engine(EngineSettings(model=settings.model, adapter=str(adapter)))
    sampling = Sampling(samples=how.samples, temperature=how.temperature, seed=settings.seed + number)
    return build.Asker(engine=engine, template=load_template(settings.prompt), sampling=sampling)


async def _ask(
    store: Store, flags: Sequence[FlagRow], asker: build.Asker, searcher: OpenSearcher, few: Sequence[FlagRow]
) -> Habits:
    """Have replies written, searched and judged, and return the habits behind those to a few flags."""
    await asyncio.to_thread(build.add_replies, store, flags, asker, lambda _: None)
    texts = {(flag.index, flag.flag_id): flag.normalised for flag in few}
    share = kept_back_share(store)
    replies: list[tuple[str, ...]] = []
    finding: set[str] = set()
    empty = copied = 0
    async with searcher() as search:
        for index in dict.fromkeys(flag.index for flag in flags):
            written = [row for row in store.read(ReplyRow) if row.asker == asker.name and row.index == index]
            queries = [build.queries_of(row) for row in written]
            await build.run_queries(
                store, search, index, list(dict.fromkeys(itertools.chain.from_iterable(queries))), lambda _: None
            )
            triage = open_triage(triage_of(store, index))
            if triage is not None:
                build.judge(store, index, build.Judges(triage=triage))
            found = open_found(store, index)
            found = found.only(for_preferences(found.flags, share))
            for row, asked in zip(written, queries, strict=True):
                if (index, row.flag_id) not in texts:
                    continue
                replies.append(asked)
                keys = [build.search_key(index, query) for query in asked]
                finds = {key: bool(found.asked[key].found) for key in keys if key in found.asked}
                finding.update(key for key, something in finds.items() if something)
                empty += sum(not finds.get(key, True) for key in keys)
                copied += sum(copies(query, texts[index, row.flag_id]) for query in asked)
    return habits(replies, finding=len(finding), empty=empty, copied=copied)
