"""Run methods on corpora: every one on the same index, with the same seeds and the same triage."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from qexplorer.clock import Clock
from qexplorer.corpus import Corpus
from qexplorer.evaluation.also import Rivals
from qexplorer.evaluation.case import Case, CaseSettings, fill, indexed, make_case
from qexplorer.evaluation.measure import group_row, seed_rows
from qexplorer.evaluation.methods import Place, make_methods
from qexplorer.evaluation.methods.active_learning import ActiveLearning
from qexplorer.evaluation.methods.extractor import Replies
from qexplorer.evaluation.pool import REVIEWS, all_seeds, explore_group
from qexplorer.evaluation.results import Row, SeedRow
from qexplorer.evaluation.searches import Searches
from qexplorer.search.client import OpenSearchClient


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is run on each corpus: methods by name and extractors, at each load, with and without triage."""

    case: CaseSettings
    methods: tuple[str, ...]
    extractors: Mapping[str, Replies]
    loads: tuple[int, ...]
    triage: tuple[bool, ...] = (True,)
    reviews: int = REVIEWS
    human: Mapping[str, Sequence[str]] = field(default_factory=dict)
    work: Path


Said = Callable[[str], None]


async def run_corpus(
    corpus: Corpus, plan: Plan, client: OpenSearchClient, clock: Clock, *, say: Said = lambda _: None
) -> tuple[list[Row], list[SeedRow]]:
    """Run the pool protocol on one corpus and return the rows of its groups and of their seeds."""
    rows: list[Row] = []
    seeds: list[SeedRow] = []
    filled = False
    for triage in plan.triage:
        case = make_case(corpus, replace(plan.case, triage=triage), plan.work)
        if not filled:
            say(f"{corpus.name}: {len(case.documents)} listings, {len(case.groups)} groups")
            await fill(client, case.index, indexed(corpus, case.part), clock)
            filled = True
        more_rows, more_seeds = await _run_case(case, plan, client, clock, say)
        rows += more_rows
        seeds += more_seeds
    return rows, seeds


async def _run_case(
    case: Case, plan: Plan, client: OpenSearchClient, clock: Clock, say: Said
) -> tuple[list[Row], list[SeedRow]]:
    index = Searches(client, case.index, case.documents, also=Rivals(client, case.documents, plan.work))
    place = Place(case=case, index=index, client=client, clock=clock, human=plan.human)
    protocol = "transfer" if plan.case.held_out else "pool"
    rows: list[Row] = []
    seeds: list[SeedRow] = []
    for method in make_methods(plan.methods, plan.extractors, place):
        say(f"{case.name}: {method.name}")
        if not isinstance(method, ActiveLearning):
            await method.prepare(all_seeds(case))
        for load in plan.loads:
            for number in range(len(case.groups)):
                if isinstance(method, ActiveLearning):
                    result = method.run(case, number=number, load=load, reviews=plan.reviews)
                else:
                    result = await explore_group(case, index, method, number=number, load=load, reviews=plan.reviews)
                rows.append(group_row(case, result, protocol))
                seeds += seed_rows(case, result, protocol)
    return rows, seeds
