"""Run methods on corpora: every one on the same index, with the same seeds and the same triage."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from qexplorer.clock import Clock
from qexplorer.corpus import Corpus
from qexplorer.evaluation.also import Rivals
from qexplorer.evaluation.case import Case, CaseSettings, disguise_case, fill, indexed, make_case
from qexplorer.evaluation.measure import group_row, per_seed_row, seed_rows
from qexplorer.evaluation.methods import Place, make_methods
from qexplorer.evaluation.methods.active_learning import ActiveLearning
from qexplorer.evaluation.methods.base import Method
from qexplorer.evaluation.methods.replies import Replies
from qexplorer.evaluation.names import Protocol
from qexplorer.evaluation.per_seed import explore_seed
from qexplorer.evaluation.pool import REVIEWS, all_seeds, explore_group
from qexplorer.evaluation.searches import Searches
from qexplorer.evaluation.unfinished import Unfinished
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


async def run_corpus(
    corpus: Corpus, plan: Plan, client: OpenSearchClient, clock: Clock, rows: Unfinished, *, say: Said = lambda _: None
) -> None:
    """Run the protocols on one corpus and add the rows of its groups and of their seeds that are not there yet."""
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
                left = _left(here, method, plan, protocol, rows)
                if not left:
                    continue
                say(f"{corpus.name}, {protocol}: {method.name}")
                if not isinstance(method, ActiveLearning):
                    await method.prepare(all_seeds(here))
                for load, number in left:
                    await _run_group(place, method, plan, protocol, load, number, rows)


def _left(
    case: Case, method: Method | ActiveLearning, plan: Plan, protocol: Protocol, rows: Unfinished
) -> list[tuple[int, int]]:
    """Return the loads and groups of a method that have no row yet."""
    if isinstance(method, ActiveLearning) and protocol is Protocol.PER_SEED:
        return []
    triage, named = case.knowledge.triage is not None, _named(plan, protocol)
    return [
        (load, number)
        for load in plan.loads
        for number in range(len(case.groups))
        if not rows.has(case.name, named, method.name, triage=triage, load=load, group=number)
    ]


def _named(plan: Plan, protocol: Protocol) -> str:
    return (Protocol.TRANSFER if plan.case.held_out and protocol is Protocol.POOL else protocol).value


async def _run_group(
    place: Place,
    method: Method | ActiveLearning,
    plan: Plan,
    protocol: Protocol,
    load: int,
    number: int,
    rows: Unfinished,
) -> None:
    case, index = place.case, place.index
    if isinstance(method, ActiveLearning):
        result = method.run(case, number=number, load=load, reviews=plan.reviews)
    elif protocol is Protocol.PER_SEED:
        found = [await explore_seed(case, index, method, judged, load=load) for judged in case.groups[number]]
        rows.add(per_seed_row(case, method, load, number, found))
        return
    else:
        result = await explore_group(case, index, method, number=number, load=load, reviews=plan.reviews)
    named = _named(plan, protocol)
    rows.add(group_row(case, result, named), seed_rows(case, result, named))
