"""From what a group of seeds did to a row of the results."""

import json
from collections.abc import Sequence

from qexplorer.evaluation.case import Case
from qexplorer.evaluation.methods.base import Method
from qexplorer.evaluation.metrics.breadth import breadth
from qexplorer.evaluation.metrics.campaigns import distinct_campaigns
from qexplorer.evaluation.metrics.copies import copy_rate
from qexplorer.evaluation.metrics.distinct import distinct_rate
from qexplorer.evaluation.metrics.finds import discovery_curve, finds_at
from qexplorer.evaluation.metrics.found_share import yield_at
from qexplorer.evaluation.metrics.precision import precision_at
from qexplorer.evaluation.metrics.words import words_per_query
from qexplorer.evaluation.metrics.zero_results import zero_result_rate
from qexplorer.evaluation.per_seed import PerSeed
from qexplorer.evaluation.pool import GroupResult, SeedResult
from qexplorer.evaluation.results import Row, SeedRow, hash_of
from qexplorer.normalise import normalise
from qexplorer.words import tokens

SHOWN = 200


def group_row(case: Case, result: GroupResult, protocol: str) -> Row:
    """Return the row of one group."""
    seeds = result.seeds
    answers = [answer for seed in seeds for answer in seed.spent.answers]
    words = [answer.ask.text for answer in answers if answer.ask.is_words]
    return Row(
        corpus=case.name,
        digest=case.digest,
        part=case.part,
        protocol=protocol,
        triage=case.knowledge.triage is not None,
        method=result.method,
        load=result.load,
        group=result.group,
        seeds_hash=hash_of(seed.judged.item.listing.id for seed in seeds),
        seeds=len(seeds),
        reviews=result.budget,
        reviewed=len(result.verdicts),
        finds_half=finds_at(result.verdicts, result.budget // 2),
        finds=finds_at(result.verdicts, result.budget),
        campaigns=result.campaigns,
        campaigns_most=_most(case, seeds),
        searches=_mean([seed.spent.searches for seed in seeds]),
        hits=_mean([seed.spent.hits for seed in seeds]),
        zero_results=zero_result_rate([answer.total for answer in answers]),
        copies=copy_rate(_pairs(seeds)),
        distinct=distinct_rate([normalise(word) for word in words]),
        words=words_per_query(words),
        breadth=breadth([answer.total for answer in answers]),
        tokens=_mean([seed.cost.tokens for seed in seeds]),
        model_ms=_mean([seed.cost.ms for seed in seeds]),
        search_ms=_mean([sum(answer.took_ms for answer in seed.spent.answers) for seed in seeds]),
        replies=sum(seed.cost.replies for seed in seeds),
        unparseable=sum(seed.cost.unparseable for seed in seeds),
        kinds=json.dumps(result.kinds, ensure_ascii=False),
        curve=discovery_curve(result.verdicts, result.budget),
    )


def per_seed_row(case: Case, method: Method, load: int, group: int, found: Sequence[PerSeed]) -> Row:
    """Return the row of one group whose seeds were looked at one by one."""
    answers = [answer for seed in found for answer in seed.spent.answers]
    words = [answer.ask.text for answer in answers if answer.ask.is_words]
    curves = [discovery_curve(seed.verdicts, seed.reviews) for seed in found]
    reviews = found[0].reviews
    costs = [method.cost(seed.judged.seed) for seed in found]
    return Row(
        corpus=case.name,
        digest=case.digest,
        part=case.part,
        protocol="per_seed",
        triage=case.knowledge.triage is not None,
        method=method.name,
        load=load,
        group=group,
        seeds_hash=hash_of(seed.judged.item.listing.id for seed in found),
        seeds=len(found),
        reviews=reviews,
        reviewed=sum(len(seed.verdicts) for seed in found),
        finds_half=_mean([finds_at(seed.verdicts, reviews // 2) for seed in found]),
        finds=_mean([finds_at(seed.verdicts, reviews) for seed in found]),
        campaigns=_mean([seed.campaigns for seed in found]),
        campaigns_most=round(_mean([seed.available for seed in found])),
        searches=_mean([seed.spent.searches for seed in found]),
        hits=_mean([seed.spent.hits for seed in found]),
        zero_results=zero_result_rate([answer.total for answer in answers]),
        copies=copy_rate(_pairs(found)),
        distinct=distinct_rate([normalise(word) for word in words]),
        words=words_per_query(words),
        breadth=breadth([answer.total for answer in answers]),
        tokens=_mean([cost.tokens for cost in costs]),
        model_ms=_mean([cost.ms for cost in costs]),
        search_ms=_mean([sum(answer.took_ms for answer in seed.spent.answers) for seed in found]),
        replies=sum(cost.replies for cost in costs),
        unparseable=sum(cost.unparseable for cost in costs),
        kinds="{}",
        curve=[round(sum(values) / len(values)) for values in zip(*curves, strict=True)],
        precision=_mean([precision_at(seed.verdicts, reviews) for seed in found]),
        share=_mean([yield_at(seed.campaigns, reviews, seed.available) for seed in found]),
    )


def seed_rows(case: Case, result: GroupResult, protocol: str) -> list[SeedRow]:
    """Return a row for each seed of a group."""
    return [
        SeedRow(
            corpus=case.name,
            protocol=protocol,
            triage=case.knowledge.triage is not None,
            method=result.method,
            load=result.load,
            group=result.group,
            listing=seed.judged.item.listing.id,
            kind=seed.judged.item.kind,
            text=seed.judged.seed.text[:SHOWN],
            finds=seed.finds,
            searches=seed.spent.searches,
            hits=seed.spent.hits,
            queries=[
                answer.ask.text[:SHOWN] if answer.ask.is_words else f"({answer.ask.source})"
                for answer in seed.spent.answers
            ],
            totals=[answer.total for answer in seed.spent.answers],
            found=[case.documents.text(place)[:SHOWN] for place in seed.found],
        )
        for seed in result.seeds
    ]


def _pairs(seeds: Sequence[SeedResult | PerSeed]) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Return the words of each query beside those of its seed."""
    return [
        (tokens(normalise(answer.ask.text)), tokens(seed.judged.seed.normalised))
        for seed in seeds
        for answer in seed.spent.answers
        if answer.ask.is_words
    ]


def _most(case: Case, seeds: Sequence[SeedResult]) -> int:
    own = {seed.judged.item.campaign for seed in seeds}
    return distinct_campaigns(case.campaigns, own)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
