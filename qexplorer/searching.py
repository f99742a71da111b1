"""Running the planned searches of a batch: retries, further pages, and the cap on queries that match too much."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from qexplorer.clock import Clock
from qexplorer.discoveries import Discoveries, Known, review_key
from qexplorer.errors import QExplorerError, SearchUnavailableError
from qexplorer.limiter import SearchLimiter
from qexplorer.policies import Policy
from qexplorer.search.backend import Hit, Searcher, SearchProblem, SearchRequest, SearchResult
from qexplorer.search.dsl import TRACKED_HITS
from qexplorer.settings import ExploreSettings, SearchSettings
from qexplorer.steps import Searched, Seed, Step
from schemas import QueryFate

SEARCH_ATTEMPTS = 3
RETRY_S = 0.5
COUNT_LIFE_S = 300.0
# Each of three attempts and a pause: some minutes in which others were answered.
MOST_ROUNDS = 10


class Searching:
    """Searches under a limiter; without discoveries every hit is new."""

    def __init__(
        self,
        searcher: Searcher,
        *,
        clock: Clock,
        limiter: SearchLimiter,
        settings: ExploreSettings,
        search: SearchSettings,
        discoveries: Discoveries | None,
    ) -> None:
        self._searcher = searcher
        self._clock = clock
        self._limiter = limiter
        self._settings = settings
        self._search = search
        self._discoveries = discoveries
        self._counts: dict[str, tuple[float, int]] = {}
        # Searches, by the hash of their DSL, that got no answer: in how many rounds of a search that was alive.
        self._rounds: dict[str, int] = {}

    async def search(self, seeds: Sequence[Seed], plans: Sequence[Sequence[Step]]) -> list[list[Searched]]:
        """Run all planned searches of the batch together, then further pages where little is new.

        Raises SearchUnavailableError when a search still gets no whole answer after three attempts.
        """
        jobs = [(place, step) for place, steps in enumerate(plans) for step in steps if step.fate is None]
        requests = [self._request(seeds[place], step) for place, step in jobs]
        results = await self._run(requests)
        done: list[list[Searched]] = [[] for _ in seeds]
        for (place, step), result in zip(jobs, results, strict=True):
            done[place].append(await self._searched(seeds[place].policy, step, result))
        await self._more_pages(seeds, done)
        return done

    async def known(self, seeds: Sequence[Seed], done: Sequence[Sequence[Searched]]) -> dict[str, Known]:
        """Return what is known of the hits, by review key."""
        if self._discoveries is None:
            return {}
        keys = {
            hit_key(seed.policy, hit)
            for seed, row in zip(seeds, done, strict=True)
            for searched in row
            for hit in searched.hits
        }
        return await self._discoveries.known(sorted(keys))

    def held(self, known: Known | None, now: datetime) -> bool:
        """Whether an item is taken: flagged, published, or about to be published by its owner."""
        return known is not None and not known.free(now, self._settings.claim_timeout_s)

    def _request(self, seed: Seed, step: Step) -> SearchRequest:
        return SearchRequest(
            index=seed.policy.index,
            kind=step.candidate.kind,
            text=step.candidate.text,
            normalised=step.candidate.normalised,
            exclude=(seed.flag.listing.id,),
            locales=seed.policy.locales,
            since=step.since,
            size=self._search.hits,
        )

    async def _run(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        results: dict[int, SearchResult] = {}
        last: dict[int, SearchResult] = {}
        for attempt in range(SEARCH_ATTEMPTS):
            todo = [place for place in range(len(requests)) if place not in results]
            if not todo:
                break
            if attempt:
                self._limiter.back_off()
                await self._clock.sleep(RETRY_S * 2**attempt)
            await self._limiter.take(len(todo))
            try:
                answers = await self._searcher.search([requests[place] for place in todo])
            except QExplorerError:
                # Out of reach is not overloaded, which the searcher tells the limiter itself: nothing was searched.
                self._limiter.give_back(len(todo))
                raise
            for place, result in zip(todo, answers, strict=True):
                if result.problem is SearchProblem.UNAVAILABLE:
                    last[place] = result
                    continue
                results[place] = result
                self._rounds.pop(result.dsl_hash, None)
                if result.took_ms > self._search.slow_ms:
                    self._limiter.back_off()
        failed = {place: result for place, result in last.items() if place not in results}
        if failed:
            results |= await self._given_up(failed, requests[0].index, alive=bool(results))
        if len(results) < len(requests):
            raise SearchUnavailableError(
                f"{len(requests) - len(results)} of {len(requests)} searches got no whole answer: "
                f"{next(iter(failed.values())).reason}",
                remedy="It is tried again until the search answers",
            )
        return [results[place] for place in range(len(requests))]

    async def _given_up(
        self, failed: Mapping[int, SearchResult], index: str, *, alive: bool
    ) -> dict[int, SearchResult]:
        """Refuse what alone never answers, which would block its partition for ever; return that by place.

        A round counts against a search only if the search as a whole was alive in it.
        """
        if not alive:
            await self._searcher.count(index)  # raises where it is not
        refused: dict[int, SearchResult] = {}
        for place, result in failed.items():
            rounds = self._rounds.pop(result.dsl_hash, 0) + 1
            if rounds < MOST_ROUNDS:
                self._rounds[result.dsl_hash] = rounds
                continue
            reason = f"no whole answer in {MOST_ROUNDS} rounds in which others had theirs: {result.reason}"
            refused[place] = replace(result, problem=SearchProblem.REFUSED, reason=reason)
        return refused

    async def _searched(self, policy: Policy, step: Step, result: SearchResult) -> Searched:
        refused = result.reason or "refused" if result.problem is SearchProblem.REFUSED else ""
        hits = result.hits
        cap = min(
            TRACKED_HITS,
            max(self._search.min_share_hits, self._search.max_share * await self._size(policy.index)),
        )
        # A text match ranks, it does not filter: its long tail says nothing of it.
        if not refused and step.candidate.query.source != "whole_text" and result.total >= cap:
            step = replace(step, fate=QueryFate.REJECTED, reason=f"matches {result.total} listings: too broad")
            hits = ()
        return Searched(
            step=step,
            hits=hits,
            total=result.total,
            took_ms=result.took_ms,
            searches=1,
            dsl_hash=result.dsl_hash,
            refused=refused,
        )

    async def _size(self, index: str) -> int:
        now = self._clock.monotonic()
        kept = self._counts.get(index)
        if kept is None or now - kept[0] > COUNT_LIFE_S:
            kept = (now, await self._searcher.count(index))
            self._counts[index] = kept
        return kept[1]

    async def _more_pages(self, seeds: Sequence[Seed], done: list[list[Searched]]) -> None:
        """Read up to `pages` further pages of the searches that gave little new, within each seed's budget."""
        for page in range(1, self._settings.pages + 1):
            full = page * self._search.hits
            if not any(len(searched.hits) == full for row in done for searched in row):
                return
            known = await self.known(seeds, done)
            now = self._clock.now()
            jobs: list[tuple[int, int]] = []
            for place, row in enumerate(done):
                left = self._search.max_per_seed - sum(searched.searches for searched in row)
                thin = [
                    at
                    for at, searched in enumerate(row)
                    if len(searched.hits) == full
                    and self._new(seeds[place].policy, searched.hits, known, now) < self._settings.few_hits
                ]
                jobs += [(place, at) for at in thin[: max(0, left)]]
            if not jobs:
                return
            requests = [
                replace(self._request(seeds[place], done[place][at].step), after=done[place][at].hits[-1].sort)
                for place, at in jobs
            ]
            for (place, at), result in zip(jobs, await self._run(requests), strict=True):
                before = done[place][at]
                first = len(before.hits) + 1
                more = tuple(replace(hit, rank=rank) for rank, hit in enumerate(result.hits, start=first))
                done[place][at] = replace(
                    before,
                    hits=before.hits + more,
                    took_ms=before.took_ms + result.took_ms,
                    searches=before.searches + 1,
                )

    def _new(self, policy: Policy, hits: Sequence[Hit], known: Mapping[str, Known], now: datetime) -> int:
        return sum(1 for hit in hits if not self.held(known.get(hit_key(policy, hit)), now))


def hit_key(policy: Policy, hit: Hit) -> str:
    """Return the review key of a hit."""
    return review_key(policy.index, hit.listing_id, hit.version, policy.id)
