"""Judging what the searches found: scores, the queries that add to each other, near-duplicates folded."""

import asyncio
from collections.abc import Sequence
from datetime import datetime

from qexplorer.candidates import Proposal
from qexplorer.discoveries import Discoveries
from qexplorer.near_duplicates import Fingerprint, Group, fingerprint
from qexplorer.normalise import normalise
from qexplorer.rank import Scored, in_order, merge, select
from qexplorer.search.backend import Hit, SearchKind
from qexplorer.searching import Searching, hit_key
from qexplorer.settings import ExploreSettings
from qexplorer.steps import Judged, Searched, Seed, Step
from qexplorer.triage import Triage
from qexplorer.turns import in_turns

Fresh = Sequence[Sequence[tuple[Searched, list[Hit]]]]
Ranked = Sequence[tuple[str, Scored]]
LOOKED_AT = 2


class Judging:
    """Judges hits; without a triage none has a score, without discoveries nothing is known."""

    def __init__(
        self,
        searching: Searching,
        *,
        settings: ExploreSettings,
        discoveries: Discoveries | None,
        triage: Triage | None,
    ) -> None:
        self._searching = searching
        self._settings = settings
        self._discoveries = discoveries
        self._triage = triage

    async def judge(
        self,
        seeds: Sequence[Seed],
        proposals: Sequence[Proposal],
        plans: Sequence[Sequence[Step]],
        searched: Sequence[Sequence[Searched]],
        now: datetime,
    ) -> list[Judged]:
        """Score the new hits, keep the queries that add to each other, and fold near-duplicates."""
        known = await self._searching.known(seeds, searched)
        held = {key for key, found in known.items() if self._searching.held(found, now)}
        fresh = [
            [(entry, [hit for hit in entry.hits if hit_key(seed.policy, hit) not in held]) for entry in row]
            for seed, row in zip(seeds, searched, strict=True)
        ]
        scored = await self._score(seeds, fresh)
        chosen = [
            select(queries, seed.policy.triage_threshold, last=_text_matches(row))
            for seed, row, queries in zip(seeds, searched, scored, strict=True)
        ]
        hits = [
            in_order([(name, queries[name]) for name in names], seed.policy.triage_threshold)
            for seed, queries, names in zip(seeds, scored, chosen, strict=True)
        ]
        groups, marks = await self._look_up(seeds, hits, now)
        return [
            Judged(
                proposal=proposal,
                steps=tuple(steps),
                searched={entry.step.key: entry for entry in row},
                scored=queries,
                chosen=tuple(names),
                merged=merge(row_hits, groups[seed.policy.id], marks, cap=seed.policy.cap_per_seed),
            )
            for seed, proposal, steps, row, queries, names, row_hits in zip(
                seeds, proposals, plans, searched, scored, chosen, hits, strict=True
            )
        ]

    async def _score(self, seeds: Sequence[Seed], fresh: Fresh) -> list[dict[str, list[Scored]]]:
        """Score every distinct hit of the batch once."""
        hits = {
            hit_key(seed.policy, hit): hit
            for seed, row in zip(seeds, fresh, strict=True)
            for _, found in row
            for hit in found
        }
        plain = [hit.text[: self._settings.max_text] for hit in hits.values()]
        texts = dict(zip(hits, await in_turns(normalise, plain, len), strict=True))
        scores: dict[str, float] = {}
        if self._triage is not None:
            scores = dict(zip(texts, await asyncio.to_thread(self._triage.score, list(texts.values())), strict=True))
        return [
            {
                entry.step.key: [
                    Scored(hit=hit, review_key=key, normalised=texts[key], score=scores.get(key))
                    for hit in found
                    for key in (hit_key(seed.policy, hit),)
                ]
                for entry, found in row
            }
            for seed, row in zip(seeds, fresh, strict=True)
        ]

    async def _look_up(
        self, seeds: Sequence[Seed], hits: Sequence[Ranked], now: datetime
    ) -> tuple[dict[str, Group], dict[str, Fingerprint]]:
        """Return for each policy what its hits must not repeat, and fingerprints of the hits that may be shown.

        Not to be repeated are the batch's seeds and known items. A hit that may be shown is among the first of its flag
        that differ, `LOOKED_AT` times as many as may be shown, or like one of them: some turn out to be like known
        items, so there are more, but each is looked up, so there are not all.
        """
        texts = {hit.review_key: hit.normalised for row in hits for _, hit in row}
        marks = dict(zip(texts, await in_turns(fingerprint, list(texts.values()), len), strict=True))
        groups: dict[str, Group] = {}
        different: dict[str, dict[str, Fingerprint]] = {}
        kept: dict[str, Fingerprint] = {}
        for seed, row in zip(seeds, hits, strict=True):
            own = Group(self._settings.near_duplicate)
            for group in (own, groups.setdefault(seed.policy.id, Group(self._settings.near_duplicate))):
                group.add(seed.item.review_key, seed.mark.hashes, seed.mark.bands)
            left = LOOKED_AT * seed.policy.cap_per_seed
            for _, hit in row:
                mark = marks[hit.review_key]
                if own.like(mark) is None:
                    if left == 0:
                        continue
                    left -= 1
                    own.add(hit.review_key, mark.hashes, mark.bands)
                    different.setdefault(seed.policy.id, {})[hit.review_key] = mark
                kept[hit.review_key] = mark
        if self._discoveries is not None:
            for policy, asked in different.items():
                for known in await self._discoveries.alike(policy, list(asked.values())):
                    if self._searching.held(known, now):
                        groups[policy].add(known.review_key, known.hashes, known.bands)
        return groups, kept


def _text_matches(row: Sequence[Searched]) -> frozenset[str]:
    return frozenset(entry.step.key for entry in row if entry.step.candidate.kind is SearchKind.WHOLE_TEXT)
