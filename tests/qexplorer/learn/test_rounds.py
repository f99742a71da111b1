"""A round asks the newest adapter, learns from what its replies find, and is refused when it spoils the model."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from qexplorer.errors import BadInputError, TrainingError
from qexplorer.learn import build
from qexplorer.learn.derive import KEPT_BACK, kept_back, kept_back_share, write_sets
from qexplorer.learn.recipe import train_adapter
from qexplorer.learn.rounds import RoundSettings, _ask, train_rounds
from qexplorer.learn.sft import train_sft
from qexplorer.learn.store import FlagRow, IndexRow, ReplyRow, Store, read_table, triage_of, write_table
from qexplorer.learn.training import RECORD, TrainingSettings
from qexplorer.llm import EngineSettings, Sampling, load_template, open_engine
from qexplorer.llm.scripted import ScriptedEngine
from qexplorer.llm.tiny import save_tiny_model
from qexplorer.search.backend import Searcher
from qexplorer.testing import MemorySearcher, WordTriage, a_flag, a_listing
from qexplorer.triage import KnownFlag, open_triage, train_triage

pytestmark = [pytest.mark.model, pytest.mark.filterwarnings("ignore")]

HOW = RoundSettings(flags=20, samples=7)
FLAGS = [a_flag(f"s{n}", f"zaza drip{n} item{n} stuff{n}") for n in range(12)]
WRITTEN = [
    "zaza",
    "chair wood",
    "chair",
    "wood chair; garden",
    "garden",
    "garden wood",
    "chair; zaza",
    "zaza zaza; wood; nothing",
]


@contextlib.asynccontextmanager
async def searcher() -> AsyncIterator[Searcher]:
    harmless = [a_listing(f"h{n}", f"garden chair{n} chair wood{n} wood") for n in range(30)]
    yield MemorySearcher(listings={"train": [*(flag.listing for flag in FLAGS), *harmless]})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "store")
    build.add_flags(made, "train", FLAGS, WordTriage(wanted=frozenset({"zaza"})))
    made.add([IndexRow(index="train", size=42)])
    wanted = [KnownFlag(text=f"zaza drip{n} item{n} stuff{n}") for n in range(20)]
    train_triage(wanted, [f"garden chair{n} chair wood{n} wood" for n in range(30)], triage_of(made, "train"))
    return made


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def adapter(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sft")
    rows = [{"title": f"t{n}", "description": "", "kind": "x", "locale": "en", "reply": "zaza"} for n in range(8)]
    settings = TrainingSettings(model=str(model), rank=4, batch_size=8)
    train_sft(write_table(folder / "sft.parquet", rows), folder / "adapter", settings, lambda *_: None)
    return folder / "adapter"


def write_replies(store: Store, model: Path, adapter: Path) -> None:
    """Put into the store what a better model than the tiny one would have written under this adapter's name."""
    engine = open_engine(EngineSettings(model=str(model), adapter=str(adapter)))
    sampling = Sampling(samples=HOW.samples, temperature=HOW.temperature, seed=1)
    name = build.Asker(engine=engine, template=load_template("known"), sampling=sampling).name
    store.add(
        [
            ReplyRow(index="train", flag_id=flag.flag_id, asker=name, source="sample", text=text, finished=True)
            for flag in store.read(FlagRow)
            for text in WRITTEN
        ]
    )


def test_a_round_learns_and_its_habits_are_looked_at(store: Store, model: Path, adapter: Path, tmp_path: Path) -> None:
    """The tiny model writes nonsense afterwards, which its store's replies were not: the round is refused by name.

    Only flags that SFT has not seen are asked about. Of the queries before, eight different ones found something.
    """
    write_sets(store, inputs={}, seed=0, share=0.5)
    back = kept_back(store.read(FlagRow), 0.5)
    fell = f"fell from {8 / (len(back) * len(WRITTEN)):.2f} to 0.00"
    write_replies(store, model, adapter)
    settings = TrainingSettings(model=str(model), rank=0, batch_size=4, learning_rate=1e-4)
    with pytest.raises(TrainingError, match=rf"round 1 has spoilt the model: .*{fell}.*unparseable"):
        train_rounds(
            store, adapter, tmp_path / "out", settings, HOW, rounds=1, searcher=searcher, on_step=lambda *_: None
        )
    assert (tmp_path / "out" / "round-1" / RECORD).exists()
    assert {row.flag_id for row in store.read(ReplyRow) if "round-1" in row.asker} == back
    pairs = list(read_table(store.folder / "pairs.parquet"))
    assert pairs
    assert {row["flag_id"] for row in pairs} <= back
    assert all("zaza" in row["chosen"] and "zaza" not in row["rejected"] for row in pairs)


def test_a_store_without_flags_is_named(model: Path, adapter: Path, tmp_path: Path) -> None:
    """There is nobody to ask about."""
    settings = TrainingSettings(model=str(model), rank=0)
    with pytest.raises(BadInputError, match="has no flags"):
        train_rounds(
            Store(tmp_path / "new"), adapter, tmp_path / "out", settings, HOW, rounds=1, searcher=searcher,
            on_step=lambda *_: None,
        )  # fmt: skip


async def test_habits_are_those_behind_the_flags_that_are_looked_at(store: Store) -> None:
    """A flag of another index may have the same id: what was written for it is another reply."""
    await asyncio.to_thread(build.add_flags, store, "other", [a_flag("s0", "lean")], WordTriage(wanted=frozenset()))
    store.add([IndexRow(index="other", size=1)])
    triage_of(store, "other").write_bytes(triage_of(store, "train").read_bytes())
    first, other = store.read(FlagRow)[0], store.read(FlagRow)[-1]
    engine = ScriptedEngine(reply=lambda prompt: ["garden chair"] if "lean" in prompt.listing else ["zaza"])
    asker = build.Asker(engine=engine, template=load_template("known"), sampling=Sampling())
    assert (first.flag_id, first.index, other.flag_id, other.index) == ("flag-s0", "train", "flag-s0", "other")
    assert (await _ask(store, [first, other], asker, searcher, [first])).words == 1.0


async def fill(store: Store) -> None:
    async with searcher() as search:
        queries = build.propose_queries(store, "train", 1000)
        await build.run_queries(store, search, "train", queries, lambda _: None)
    triage = open_triage(triage_of(store, "train"))
    assert triage is not None
    build.judge(store, "train", build.Judges(triage=triage))


@pytest.mark.parametrize("rounds", [0, 1])
def test_flags_are_kept_back_for_rounds_alone(store: Store, model: Path, tmp_path: Path, rounds: int) -> None:
    """SFT learns from all of them where no round comes behind it.

    The tiny model's replies are too poor for a round.
    """
    asyncio.run(fill(store))
    settings = TrainingSettings(model=str(model), rank=4, batch_size=8, epochs=1.0)
    with pytest.raises(BadInputError, match=r"has \d pairs") if rounds else contextlib.nullcontext():
        train_adapter(
            store, tmp_path / "out", settings, rounds=rounds, client=searcher, on_step=lambda _: lambda *_: None
        )
    flags = store.read(FlagRow)
    learnt = {row["flag_id"] for row in read_table(store.folder / "sft.parquet")}
    assert kept_back_share(store) == (KEPT_BACK if rounds else 0.0)
    assert learnt == {flag.flag_id for flag in flags} - (kept_back(flags, KEPT_BACK) if rounds else set())
    assert (tmp_path / "out" / "sft" / RECORD).exists()
