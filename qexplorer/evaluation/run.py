"""Run methods on corpora: every one on the same index, with the same seeds and the same triage."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from qexplorer.clock import Clock
from qexplorer.corpus import Corpus
from qexplorer.evaluation.also import Rivals
from qexplorer.evaluation.case import CaseSettings, disguise_case, fill, indexed, make_case
from qexplorer.evaluation.measure import group_row, per_seed_row, seed_rows
from qexplorer.evaluation.methods import Place, make_methods
from qexplorer.evaluation.methods.active_learning import ActiveLearning
from qexplorer.evaluation.methods.base import Method
from qexplorer.evaluation.methods.replies import Replies
from qexplorer.evaluation.names import Protocol
from qexplorer.evaluation.per_seed import explore_seed
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
    protocols: tuple[Protocol, ...] = (Protocol.POOL,)
    reviews: int = REVIEWS
    human: Mapping[str, Sequence[str]] = field(default_factory=dict)
    work: Path


Said = Callable[[str], None]
Rows = tuple[list[Row], list[SeedRow]]


async def run_corpus(
    corpus: Corpus, plan: Plan, client: OpenSearchClient, clock: Clock, *, say: Said = lambda _: None
) -> Rows:
    """Run the protocols on one corpus and return the rows of its groups and of their seeds."""
    rows: Rows = ([], [])
    for triage in plan.triage:
        case = make_case(corpus, replace(plan.case, triage=triage), plan.work)
        for protocol in plan.protocols:
            listings = indexed(corpus, case.part)
            here = case
            if protocol is Protocol.DISGUISED:
                here, listings = disguise_case(case, corpus, seed=plan.case.seed)
            say(f"{corpus.name}, {protocol}: {len(listings)} listings, {len(here.groups)} groups")
            await fill(client, here.index, listings, clock)
            index = Searches(client, here.index, here.documents, also=Rivals(client, here.documents, plan.work))
            place = Place(case=here, index=index, client=client, clock=clock, human=plan.human)
            for method in make_methods(plan.methods, plan.extractors, place):
                say(f"{corpus.name}, {protocol}: {method.name}")
                if not isinstance(method, ActiveLearning):
                    await method.prepare(all_seeds(here))
                await _run_method(place, method, plan, protocol, rows)
    return rows


async def _run_method(
    place: Place, method: Method | ActiveLearning, plan: Plan, protocol: Protocol, rows: Rows
) -> None:
    case, index = place.case, place.index
    named = Protocol.TRANSFER if plan.case.held_out and protocol is Protocol.POOL else protocol
    for load in plan.loads:
        for number, group in enumerate(case.groups):
            if isinstance(method, ActiveLearning):
                if protocol is Protocol.PER_SEED:
                    continue
                result = method.run(case, number=number, load=load, reviews=plan.reviews)
            elif protocol is Protocol.PER_SEED:
                found = [await explore_seed(case, index, method, judged, load=load) for judged in group]
                rows[0].append(per_seed_row(case, method, load, number, found))
                continue
            else:
                result = await explore_group(case, index, method, number=number, load=load, reviews=plan.reviews)
            rows[0].append(group_row(case, result, named.value))
            rows[1].extend(seed_rows(case, result, named.value))
