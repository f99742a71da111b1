"""The packaged model in the number format that this machine prefers, against float32."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from qexplorer.answer import Answer, Run
from qexplorer.bank import QueryBank
from qexplorer.clock import SystemClock
from qexplorer.discoveries import Discoveries
from qexplorer.explore import Explorer
from qexplorer.limiter import SearchLimiter
from qexplorer.llm.adapters import prompt_for
from qexplorer.llm.engine import Engine, EngineSettings, Reply, Sampling
from qexplorer.llm.opening import open_engine
from qexplorer.marketplace import Half, generate
from qexplorer.policies import Policy
from qexplorer.rows import to_listing
from qexplorer.search.backend import WriteMode
from qexplorer.search.client import OpenSearchClient
from qexplorer.search.load import document
from qexplorer.search.mapping import listings_body
from qexplorer.search.memory import MemoryStore
from qexplorer.settings import SearchSettings, Settings
from qexplorer.stack import running
from qexplorer.steps import Seed
from qexplorer.testing import a_flag
from schemas import FlaggedListing, Listing
from tests.bench.generate import parse_rate

LISTINGS, SEEDS, BATCH = 10_000, 30, 16
POLICY = Policy(id="drugs", prompt=prompt_for("packaged"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What one number format led to: `own` finds come from the model's queries, the others from the text's spans."""

    parsed: float
    suspects: int
    finds: int
    own: int


def engine_of(dtype: str) -> EngineSettings:
    """Return the default engine in a number format."""
    return EngineSettings.model_validate({"dtype": dtype, "adapter": "packaged"})


async def auto_against_float32() -> str:
    """Take the same seeds through both, each with a memory of its own, over one index."""
    listings, flags, prohibited = marketplace()
    settings = Settings()
    with running() as engines:
        async with OpenSearchClient(SearchSettings(url=str(engines.opensearch))) as search:
            await search.ensure_index(POLICY.index, listings_body())
            await search.write(POLICY.index, [document(listing, b"") for listing in listings], WriteMode.REPLACE)
            await search.request("POST", f"/{POLICY.index}/_refresh")
            scores = {
                dtype: await score(search, flags, prohibited, settings, engine_of(dtype))
                for dtype in ("auto", "float32")
            }
    auto, plain = scores["auto"], scores["float32"]
    return (
        f"{len(flags)} seeds among {len(listings)} listings: parse rate {auto.parsed:.1%} and in float32 "
        f"{plain.parsed:.1%}; prohibited among the suspects {auto.finds} of {auto.suspects} and {plain.finds} of "
        f"{plain.suspects}: ratio {auto.finds / max(1, plain.finds):.3f} (goal 0.97–1.03); by the model's own queries "
        f"{auto.own} and {plain.own}"
    )


def marketplace() -> tuple[list[Listing], list[FlaggedListing], set[str]]:
    """Return the listings, flags of one prohibited listing a campaign, and the ids of all that are prohibited."""
    rows = list(generate(LISTINGS, half=Half.JUDGE, seed=11))
    by_campaign = {row["campaign"]: row for row in rows if row["toxic"]}
    flags = [
        a_flag(row["id"], listing=to_listing(row, {}), flagged_at=datetime.now(UTC))
        for row in list(by_campaign.values())[:SEEDS]
    ]
    return [to_listing(row, {}) for row in rows], flags, {row["id"] for row in rows if row["toxic"]}


async def score(
    search: OpenSearchClient,
    flags: Sequence[FlaggedListing],
    prohibited: set[str],
    settings: Settings,
    engine: EngineSettings,
) -> Score:
    """Take the flags through the core with one engine and count."""
    clock, store, run = SystemClock(), MemoryStore(), Run(run_id="dtypes")
    discoveries, bank = Discoveries(store, "discoveries"), QueryBank(store, "bank")
    explorer = Explorer(
        search,
        clock=clock,
        limiter=SearchLimiter(1e6, clock),
        settings=settings.explore,
        search=settings.search,
        bank=bank,
        discoveries=discoveries,
    )
    opened = open_engine(engine)
    texts: list[str] = []
    answers: list[Answer] = []
    for start in range(0, len(flags), BATCH):
        batch = flags[start : start + BATCH]
        seeds = await explorer.seeds([(flag, POLICY, None) for flag in batch], run)
        replies = _replies(opened, explorer, seeds)
        texts += [generation.text for reply in replies for generation in reply.generations]
        made = await explorer.explore(seeds, replies, [opened.version] * len(seeds), run)
        await discoveries.claim([claim for answer in made for claim in answer.claims], clock.now(), 600)
        await bank.write([entry for answer in made for entry in answer.bank])
        answers += made
    suspects = [suspect for answer in answers for suspect in answer.suspects]
    right = [suspect for suspect in suspects if suspect.listing_id in prohibited]
    own = sum(suspect.query.source.value in {"greedy", "sample"} for suspect in right)
    return Score(parsed=parse_rate(texts), suspects=len(suspects), finds=len(right), own=own)


def _replies(engine: Engine, explorer: Explorer, seeds: Sequence[Seed]) -> list[Reply]:
    sampling = Sampling(samples=POLICY.candidates, temperature=POLICY.temperature, seed=1)
    return engine.generate(explorer.prompts(seeds), sampling, deadline_s=600)
