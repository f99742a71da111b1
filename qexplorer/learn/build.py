"""Fill the candidate store: known flags, the queries that could find their siblings, and what each of them finds.

Every distinct query runs once against an index, without a seed in mind, so that all seeds share its hits. The index
should hold neither the listings that the result is to be judged by nor those that nobody could have flagged yet.
"""

import asyncio
import hashlib
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from qexplorer.discoveries import review_key
from qexplorer.errors import BadInputError, ReplyError, SearchUnavailableError
from qexplorer.guard import refusal
from qexplorer.learn.llm_judge import LLM, LlmJudge
from qexplorer.learn.reward import HITS
from qexplorer.learn.store import FlagRow, IndexRow, JudgedRow, ListingRow, ReplyRow, SearchRow, Store
from qexplorer.learn.windows import windows
from qexplorer.llm.engine import NOBODY_WAITS_S, Engine, Sampling
from qexplorer.llm.parse import parse_reply
from qexplorer.llm.prompt import MOST_KNOWN, PromptTemplate, render
from qexplorer.normalise import normalise
from qexplorer.search.backend import Searcher, SearchProblem, SearchRequest
from qexplorer.triage import Triage
from schemas import FlaggedListing

CHUNK = 100
PIECE = 1_000
REPLIES_AT_ONCE = 32
JUDGED_AT_ONCE = 256
VERDICT = "verdict"
Progress = Callable[[int], None]
Tell = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judges:
    """Who says whether a listing is wanted: reviewers, by review key; of what has no label a model, else the triage."""

    triage: Triage
    verdicts: Mapping[str, bool] = field(default_factory=dict)
    llm: LlmJudge | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """A model to ask, with its prompt and how many replies to draw."""

    engine: Engine
    template: PromptTemplate
    sampling: Sampling

    @property
    def name(self) -> str:
        """Name all that the replies depend on."""
        version, sampling = self.engine.version, self.sampling
        parts = (
            version.model,
            version.adapter or "-",
            version.dtype or "-",
            self.template.version,
            f"{sampling.samples}",
            f"{sampling.seed}",
        )
        return "|".join((*parts, f"{sampling.temperature:g}", f"{sampling.beams}"))


async def fill(
    store: Store,
    searcher: Searcher,
    index: str,
    flags: Iterable[FlaggedListing],
    judges: Judges,
    *,
    most: int,
    asker: Asker | None = None,
    tell: Tell = lambda _what, _done, _total: None,
) -> None:
    """Take all steps for the flags of an index: replies, where a model is asked, searches and judgements.

    At most `most` distinct queries are run in all; `tell` hears of what how many more are done, and of how many.
    """
    rows = add_flags(store, index, flags, judges.triage)
    store.add([IndexRow(index=index, size=await searcher.count(index))])
    if asker is not None:
        await asyncio.to_thread(add_replies, store, rows, asker, lambda done: tell("replies", done, len(rows)))
    queries = propose_queries(store, index, most)
    await run_queries(store, searcher, index, queries, lambda done: tell("searches", done, len(queries)))
    judge(store, index, judges)


def add_flags(store: Store, index: str, flags: Iterable[FlaggedListing], triage: Triage) -> list[FlagRow]:
    """Add flags that the store does not have, and return all that it has of the index."""
    known = {row.flag_id: row for row in store.read(FlagRow) if row.index == index}
    new: dict[str, FlagRow] = {}
    for flag in flags:
        listing = flag.listing
        if flag.flag_id in known or flag.flag_id in new:
            continue
        normalised = normalise(listing.text)
        new[flag.flag_id] = FlagRow(
            index=index,
            flag_id=flag.flag_id,
            listing_id=listing.id,
            policy=flag.policy,
            kind=flag.kind,
            locale=listing.locale,
            title=listing.title,
            description=listing.description,
            normalised=normalised,
            known=tuple(triage.siblings(normalised, MOST_KNOWN, flag.policy)),
        )
    store.add(list(new.values()))
    return [*known.values(), *new.values()]


def add_replies(store: Store, flags: Sequence[FlagRow], asker: Asker, on_flags: Progress) -> None:
    """Have a model write replies for the flags that have none of it yet."""
    done = {(row.index, row.flag_id) for row in store.read(ReplyRow) if row.asker == asker.name}
    todo = [flag for flag in flags if (flag.index, flag.flag_id) not in done]
    on_flags(len(flags) - len(todo))
    for start in range(0, len(todo), REPLIES_AT_ONCE):
        batch = todo[start : start + REPLIES_AT_ONCE]
        prompts = [
            render(
                asker.template,
                title=flag.title,
                description=flag.description,
                kind=flag.kind,
                locale=flag.locale,
                known=flag.known,
            )
            for flag in batch
        ]
        replies = asker.engine.generate(prompts, asker.sampling, deadline_s=NOBODY_WAITS_S)
        store.add(
            [
                ReplyRow(
                    index=flag.index,
                    flag_id=flag.flag_id,
                    asker=asker.name,
                    source=generation.source,
                    text=generation.text,
                    finished=generation.finished,
                )
                for flag, reply in zip(batch, replies, strict=True)
                for generation in reply.generations
            ]
        )
        on_flags(len(batch))


def queries_of(reply: ReplyRow) -> tuple[str, ...]:
    """Return the normalised queries of a reply that the guard lets pass, in order; none of an unparseable one."""
    try:
        parsed = parse_reply(reply.text, finished=reply.finished)
    except ReplyError:
        return ()
    return tuple(query for text in parsed if not refusal(query := normalise(text), ()))


def propose_queries(store: Store, index: str, most: int) -> list[str]:
    """Return at most `most` distinct queries: the models' first, known spans, then runs of words of the flags.

    Runs that occur in many flags come before those of a single one, which cannot find a sibling but by chance; the
    flags take turns.
    """
    replies = [row for row in store.read(ReplyRow) if row.index == index]
    found = dict.fromkeys(query for reply in replies for query in queries_of(reply))
    flags = [row for row in store.read(FlagRow) if row.index == index]
    found |= dict.fromkeys(span for flag in flags for span in flag.known if not refusal(span, ()))
    runs = [[run for run in windows(f"{flag.title}\n{flag.description}") if not refusal(run, ())] for flag in flags]
    counts: dict[str, int] = {}
    for run in itertools.chain.from_iterable(runs):
        counts[run] = counts.get(run, 0) + 1
    ranked = [sorted(row, key=lambda run: -counts[run]) for row in runs]
    for row in itertools.zip_longest(*ranked):
        found |= dict.fromkeys(run for run in row if run is not None)
    return list(found)[:most]


async def run_queries(store: Store, searcher: Searcher, index: str, queries: Sequence[str], on_rows: Progress) -> None:
    """Run the queries that the store does not have.

    Raises BadInputError when the index refuses them all and has answered none before, SearchUnavailableError when it
    answers none: none is kept.
    """
    before = store.read(SearchRow)
    known = {row.key for row in before}
    listings = {row.listing_id for row in store.read(ListingRow) if row.index == index}
    todo = [query for query in queries if search_key(index, query) not in known]
    on_rows(len(queries) - len(todo))
    searches: list[SearchRow] = []
    found: list[ListingRow] = []
    refused: list[SearchRow] = []
    unavailable = 0
    for start in range(0, len(todo), CHUNK):
        chunk = todo[start : start + CHUNK]
        requests = [
            SearchRequest(index=index, text=query, normalised=query, size=HITS + 1, highlight=False) for query in chunk
        ]
        for query, result in zip(chunk, await searcher.search(requests), strict=True):
            if result.problem is SearchProblem.UNAVAILABLE:
                unavailable += 1
                continue
            ids = tuple(hit.listing_id for hit in result.hits)
            key = search_key(index, query)
            row = SearchRow(key=key, index=index, query=query, total=result.total, ids=ids)
            (refused if result.problem is SearchProblem.REFUSED else searches).append(row)
            new = {hit.listing_id: hit for hit in result.hits if hit.listing_id not in listings}
            found += [
                ListingRow(index=index, listing_id=name, version=hit.version, normalised=normalise(hit.text))
                for name, hit in new.items()
            ]
            listings |= set(new)
        if len(searches) >= PIECE or start + CHUNK >= len(todo):
            # Listings first: a search whose listings are unknown would be of no use to a run that goes on from here.
            store.add(found)
            store.add(searches)
            searches, found = [], []
        on_rows(len(chunk))
    # One that has answered before refuses these for their words.
    if todo and len(refused) == len(todo) and not any(row.index == index for row in before):
        raise BadInputError(f"the index {index} refuses every search", remedy="Look at: qexplorer index check")
    if todo and unavailable == len(todo):
        raise SearchUnavailableError(f"the index {index} answers no search", remedy="Try again later")
    # Last, for the fault may be the index's: what it refuses once mended is then run again.
    store.add(refused)


def judge(store: Store, index: str, judges: Judges) -> None:
    """Keep of each listing found how likely it is wanted, and who says so.

    A reviewer's verdict (by review key) decides where there is one, else a known flag, else the language model where
    there is one, else calibrated triage: an unlabelled listing is not taken for harmless. A verdict that the store has
    stays until there is another.
    """
    flags = [row for row in store.read(FlagRow) if row.index == index]
    flagged, policies = {row.listing_id for row in flags}, {row.policy for row in flags}
    listings = [row for row in store.read(ListingRow) if row.index == index]
    known = {row.listing_id: row for row in store.read(JudgedRow) if row.index == index}
    rows: list[JudgedRow] = []
    unlabelled: list[ListingRow] = []
    for row in listings:
        keys = (review_key(index, row.listing_id, row.version, policy) for policy in policies)
        reviewed = [judges.verdicts[key] for key in keys if key in judges.verdicts]
        if reviewed:
            rows.append(JudgedRow(index=index, listing_id=row.listing_id, wanted=float(any(reviewed)), judge=VERDICT))
        elif (held := known.get(row.listing_id)) is not None and held.judge == VERDICT:
            # Rounds of alignment are given none, and do not take back what a reviewer has said.
            continue
        elif row.listing_id in flagged:
            rows.append(JudgedRow(index=index, listing_id=row.listing_id, wanted=1.0, judge="flag"))
        else:
            unlabelled.append(row)
    store.add([row for row in rows if known.get(row.listing_id) != row])
    if judges.llm is not None:
        unlabelled = _ask_model(store, judges.llm, unlabelled, [flag.kind for flag in flags], known)
    else:
        # Rounds of alignment have the triage alone: it does not take back what a model has said.
        unlabelled = [row for row in unlabelled if not _is_llm(known.get(row.listing_id))]
    scores = judges.triage.score([row.normalised for row in unlabelled])
    by_triage = [
        JudgedRow(index=index, listing_id=row.listing_id, wanted=score, judge=judges.triage.version)
        for row, score in zip(unlabelled, scores, strict=True)
    ]
    store.add([row for row in by_triage if known.get(row.listing_id) != row])


def _is_llm(row: JudgedRow | None) -> bool:
    """Whether a language model has judged."""
    return row is not None and row.judge.startswith(LLM)


def _ask_model(
    store: Store, model: LlmJudge, listings: Sequence[ListingRow], kinds: Sequence[str], known: Mapping[str, JudgedRow]
) -> list[ListingRow]:
    """Have a model judge listings that it has not judged yet, and return those of which it says neither yes nor no."""
    unclear: list[ListingRow] = []
    asked = {row.listing_id for row in known.values() if row.judge == model.version}
    todo = [row for row in listings if row.listing_id not in asked]
    for start in range(0, len(todo), JUDGED_AT_ONCE):
        batch = todo[start : start + JUDGED_AT_ONCE]
        said = dict(zip(batch, model.score([row.normalised for row in batch], kinds), strict=True))
        store.add(
            [
                JudgedRow(index=row.index, listing_id=row.listing_id, wanted=wanted, judge=model.version)
                for row, wanted in said.items()
                if wanted is not None
            ]
        )
        unclear += [row for row, wanted in said.items() if wanted is None]
    return unclear


def search_key(index: str, query: str) -> str:
    """Identify a search by its index, its words and how many hits it reads."""
    return hashlib.sha256(f"{index}\0{query}\0{HITS}".encode()).hexdigest()[:32]
