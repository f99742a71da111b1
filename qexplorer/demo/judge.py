"""Judge the demo by its ground truth, beside a plain text match that may fetch as many hits."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qexplorer.answer import Run
from qexplorer.candidates import whole_text
from qexplorer.clock import SystemClock
from qexplorer.demo.data import Truth
from qexplorer.discoveries import Discoveries
from qexplorer.explore import Explorer
from qexplorer.limiter import SearchLimiter
from qexplorer.llm.engine import EngineVersion
from qexplorer.policies import Policies
from qexplorer.search.client import OpenSearchClient
from qexplorer.search.memory import MemoryStore
from qexplorer.settings import Settings
from qexplorer.steps import Seed
from qexplorer.triage import Triage
from schemas import FlaggedListing, FlagResult, QueryAudit, QueryFate, Suspect

BATCH = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """One method's review queue against the truth.

    The queue is one pool, best first; a listing that was found for two policies, which is two suspects, is looked at
    once. `curve[n]` is how many prohibited listings the first n + 1 reviews find.
    """

    suspects: int
    reviews: int
    finds: int
    campaigns: int
    fetched: int
    searches: int
    found: frozenset[str]
    curve: tuple[int, ...]

    @property
    def precision(self) -> float:
        """The share of reviews that find something prohibited."""
        return self.finds / self.reviews if self.reviews else 0.0


def judge(suspects: Sequence[Suspect], truth: Mapping[str, Truth], *, fetched: int, searches: int) -> Judgement:
    """Walk the queue in order of triage score and count."""
    best_first = sorted(suspects, key=lambda suspect: (-(suspect.triage_score or 0.0), suspect.rank))
    queue = dict.fromkeys(suspect.listing_id for suspect in best_first)
    curve: list[int] = []
    found: set[str] = set()
    for listing in queue:
        if listing in truth:
            found.add(listing)
        curve.append(len(found))
    return Judgement(
        suspects=len(suspects),
        reviews=len(queue),
        finds=len(found),
        campaigns=len({truth[name].campaign for name in found}),
        fetched=fetched,
        searches=searches,
        found=frozenset(found),
        curve=tuple(curve),
    )


def load_of(audits: Sequence[QueryAudit]) -> tuple[int, int]:
    """Return how many hits were fetched and how many searches were executed, rejected queries included."""
    return sum(audit.fetched for audit in audits), sum(audit.searches for audit in audits)


def finds_by_source(suspects: Sequence[Suspect], truth: Mapping[str, Truth]) -> dict[str, tuple[int, int]]:
    """Return source of candidates → (suspects, of which prohibited)."""
    shown = Counter(suspect.query.source.value for suspect in suspects)
    right = Counter(suspect.query.source.value for suspect in suspects if suspect.listing_id in truth)
    return {source: (count, right[source]) for source, count in shown.most_common()}


def saved(results: Sequence[FlagResult], audits: Sequence[QueryAudit]) -> tuple[int, int]:
    """Return how many searches the bank saved, and how many candidates the guard kept from being searched."""
    refused = sum(1 for audit in audits if audit.fate is QueryFate.REJECTED and not audit.searches)
    return sum(result.searches_saved for result in results), refused


async def text_match(
    client: OpenSearchClient,
    flags: Sequence[FlaggedListing],
    policies: Policies,
    settings: Settings,
    triage: Triage | None,
    *,
    hits: int,
) -> tuple[list[Suspect], int]:
    """Return what one text match a flag would have put before the reviewers, and how many hits it fetched.

    It goes through the same triage, near-duplicate and known-item rules, with `hits` hits a flag.
    """
    clock, run = SystemClock(), Run(run_id="baseline")
    discoveries = Discoveries(MemoryStore(), "baseline")
    explorer = Explorer(
        client,
        clock=clock,
        limiter=SearchLimiter(settings.search.max_qps, clock),
        settings=settings.explore.model_copy(update={"pages": 0}),
        search=settings.search.model_copy(update={"hits": hits, "max_per_seed": 1}),
        discoveries=discoveries,
        triage=triage,
    )
    suspects: list[Suspect] = []
    fetched = 0
    for start in range(0, len(flags), BATCH):
        given = [
            (flag, policy, None)
            for flag in flags[start : start + BATCH]
            if (policy := policies.find(flag.policy, flag.kind)) is not None
        ]
        seeds: list[Seed] = await explorer.seeds(given, run)
        proposals = [whole_text(seed.flag.listing.text, seed.normalised) for seed in seeds]
        versions = [EngineVersion(model="text-match")] * len(seeds)
        for answer in await explorer.answer(seeds, [None] * len(seeds), versions, run, proposals):
            await discoveries.claim(answer.claims, clock.now(), settings.explore.claim_timeout_s)
            suspects += answer.suspects
            fetched += sum(audit.fetched for audit in answer.audits)
    return suspects, fetched
