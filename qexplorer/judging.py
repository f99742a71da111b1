"""Judging what the searches found: scores, the queries that add to each other, near-duplicates folded."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime

from qexplorer.candidates import Proposal
from qexplorer.discoveries import Discoveries
from qexplorer.near_duplicates import Fingerprint, Group, fingerprint
from qexplorer.normalise import normalise
from qexplorer.rank import Scored, merge, select
from qexplorer.search.backend import Hit, SearchKind
from qexplorer.searching import Searching, hit_key
from qexplorer.settings import ExploreSettings
from qexplorer.steps import Judged, Searched, Seed, Step
from qexplorer.triage import Triage
from qexplorer.turns import in_turns

Fresh = Sequence[Sequence[tuple[Searched, list[Hit]]]]


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
        marks = await _marks(seeds, scored, chosen)
        groups = await self._groups(seeds, marks, now)
        return [
            Judged(
                proposal=proposal,
                steps=tuple(steps),
                searched={entry.step.key: entry for entry in row},
                scored=queries,
                chosen=tuple(names),
                merged=merge(
                    [(name, queries[name]) for name in names],
                    groups[seed.policy.id],
                    marks,
                    threshold=seed.policy.triage_threshold,
                    cap=seed.policy.cap_per_seed,
                ),
            )
            for seed, proposal, steps, row, queries, names in zip(
                seeds, proposals, plans, searched, scored, chosen, strict=True
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

    async def _groups(self, seeds: Sequence[Seed], marks: Mapping[str, Fingerprint], now: datetime) -> dict[str, Group]:
        """Return for each policy what its hits must not repeat: the batch's seeds and the known items like them."""
        groups: dict[str, Group] = {}
        for seed in seeds:
            group = groups.setdefault(seed.policy.id, Group(self._settings.near_duplicate))
            group.add(seed.item.review_key, seed.mark.hashes, seed.mark.bands)
        if self._discoveries is not None and marks:
            bands = {band for mark in marks.values() for band in mark.bands}
            for known in await self._discoveries.alike(sorted(bands)):
                if known.policy in groups and self._searching.held(known, now):
                    groups[known.policy].add(known.review_key, known.hashes, bands.intersection(known.bands))
        return groups


def _text_matches(row: Sequence[Searched]) -> frozenset[str]:
    return frozenset(entry.step.key for entry in row if entry.step.candidate.kind is SearchKind.WHOLE_TEXT)


async def _marks(
    seeds: Sequence[Seed], scored: Sequence[Mapping[str, Sequence[Scored]]], chosen: Sequence[Sequence[str]]
) -> dict[str, Fingerprint]:
    """Return the fingerprints of the hits that could be shown, by review key."""
    texts = {
        hit.review_key: hit.normalised
        for seed, queries, names in zip(seeds, scored, chosen, strict=True)
        for name in names
        for hit in queries[name]
        if hit.shown(seed.policy.triage_threshold)
    }
    return dict(zip(texts, await in_turns(fingerprint, list(texts.values()), len), strict=True))
