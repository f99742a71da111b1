"""The core on fakes: what becomes of flags, candidates and hits."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from qexplorer.answer import Answer, Run
from qexplorer.bank import QueryBank
from qexplorer.discoveries import Discoveries
from qexplorer.errors import SearchUnavailableError
from qexplorer.explore import Explorer
from qexplorer.limiter import SearchLimiter
from qexplorer.llm.engine import EngineVersion, Generation, Reply
from qexplorer.policies import Policy
from qexplorer.search.backend import SearchProblem, SearchRequest, SearchResult
from qexplorer.search.memory import MemoryStore
from qexplorer.searching import MOST_ROUNDS
from qexplorer.settings import ExploreSettings, SearchSettings
from qexplorer.testing import ManualClock, MemorySearcher, WordTriage, a_flag, a_listing
from schemas import FlaggedListing, FlagOutcome, Listing, QueryFate, QuerySource

POLICY = Policy(id="drugs", kinds=("drugs",))
VERSION = EngineVersion(model="m@1", adapter="a@1")


class World:
    """An explorer over listings in memory, and what its answers would do to bank and discoveries."""

    def __init__(
        self,
        *listings: Listing,
        triage: WordTriage | None = None,
        explore: ExploreSettings | None = None,
        store: MemoryStore | None = None,
        **search: Any,
    ) -> None:
        self.clock = ManualClock()
        self.store = store or MemoryStore()
        self.searcher = MemorySearcher(listings={"listings": list(listings)})
        self.bank = QueryBank(self.store, "bank")
        self.discoveries = Discoveries(self.store, "discoveries")
        self.limiter = SearchLimiter(1000, self.clock)
        self.explorer = Explorer(
            self.searcher,
            clock=self.clock,
            limiter=self.limiter,
            settings=explore or ExploreSettings(few_hits=0),
            search=SearchSettings(**search),
            bank=self.bank,
            discoveries=self.discoveries,
            triage=triage,
        )

    async def ask(
        self, *flags: FlaggedListing, says: str | Sequence[str] = "", policy: Policy = POLICY
    ) -> list[Answer]:
        """Explore flags as one batch, each with the same reply, and keep the outcome as a worker would."""
        texts = [says] if isinstance(says, str) else list(says)
        reply = Reply(generations=tuple(Generation(text=text, source="greedy") for text in texts if text))
        seeds = await self.explorer.seeds([(flag, policy, None) for flag in flags], Run(run_id="r"))
        answers = await self.explorer.explore(seeds, [reply] * len(seeds), [VERSION] * len(seeds), Run(run_id="r"))
        for answer in answers:
            await self.discoveries.claim(answer.claims, self.clock.now(), 600)
            await self.discoveries.published(answer.claims, self.clock.now())
            await self.bank.write(answer.bank)
        return answers


def ids(answer: Answer) -> set[str]:
    return {suspect.listing_id for suspect in answer.suspects}


def fates(answer: Answer) -> dict[str, QueryFate]:
    return {audit.query.text: audit.fate for audit in answer.audits}


async def test_a_suspect_says_why_it_is_shown() -> None:
    """A suspect carries its seed, its query with source and DSL hash, its rank, versions, trace and depth."""
    world = World(a_listing("b2", "tasty plug gummies cheap"), a_listing("c3", "garden chair"))
    flag = a_flag("a1", "plug and play gummies")
    (answer,) = await world.ask(flag, says="plug gummies", policy=replace_policy(priority=2))
    (suspect,) = answer.suspects
    assert (suspect.listing_id, suspect.seed.flag_id, suspect.index) == ("b2", "flag-a1", "listings")
    assert suspect.policy_priority == 2
    assert (suspect.query.text, suspect.query.source) == ("plug gummies", QuerySource.GREEDY)
    assert (suspect.rank, suspect.depth, suspect.seller) == (1, 1, "seller-b2")
    assert (suspect.versions.model, suspect.versions.adapter) == ("m@1", "a@1")
    assert suspect.versions.prompt.startswith("default@")
    assert suspect.versions.normaliser
    assert suspect.dsl_hash
    assert suspect.trace_id
    assert answer.result.outcome is FlagOutcome.SUSPECTS


async def test_a_prompt_holds_what_known_flags_share() -> None:
    """Where its template wants that, and of the triage at hand; without one nothing stands there."""
    triage = WordTriage(wanted=frozenset({"gummies", "vapes", "carts"}))
    for knows, template, line in (
        (triage, "known", "carts; vapes | plug and play gummies"),
        (triage, "short", "plug and play gummies"),
        (None, "known", "| plug and play gummies"),
    ):
        world = World(triage=knows)
        policy = replace_policy(prompt=template)
        (seed,) = await world.explorer.seeds([(a_flag(), policy, None)], Run(run_id="r"))
        assert world.explorer.prompt(seed).parts()[1].strip() == line


async def test_the_seed_itself_is_never_a_suspect() -> None:
    """The flagged listing is in the index too, and is left out."""
    world = World(a_listing("a1", "plug and play gummies"), a_listing("b2", "gummies plug today"))
    (answer,) = await world.ask(a_flag("a1"), says="plug gummies")
    assert ids(answer) == {"b2"}


async def test_an_unparseable_reply_falls_back_to_lexical_candidates_and_is_counted() -> None:
    """A reply outside the grammar costs nothing but itself."""
    world = World(a_listing("b2", "purple zaza gummies here"))
    (answer,) = await world.ask(a_flag("a1", "purple zaza gummies now"), says="<|im_start|>")
    assert answer.result.unparseable == 1
    assert ids(answer) == {"b2"}
    assert {s.query.source for s in answer.suspects} == {QuerySource.LEXICAL}


async def test_every_candidate_has_an_audit_with_fate_and_reason() -> None:
    """Refused, empty and selected candidates are all on record, each with its reason."""
    world = World(a_listing("b2", "plug gummies cheap"))
    (answer,) = await world.ask(
        a_flag("a1", "nothing"), says="plug gummies; for sale; sauce pen; one two three four five six seven eight nine"
    )
    seen = fates(answer)
    assert seen["plug gummies"] is QueryFate.SELECTED
    assert seen["for sale"] is QueryFate.REJECTED
    assert seen["sauce pen"] is QueryFate.EMPTY
    assert all(audit.reason for audit in answer.audits if audit.fate is not QueryFate.SELECTED)


async def test_a_query_of_the_bank_is_not_run_again_until_its_interval_has_passed() -> None:
    """The second flag with the same query gets an explained empty answer and costs no search."""
    world = World(a_listing("b2", "plug gummies cheap", updated_at=ManualClock().now()))
    await world.ask(a_flag("a1", "x"), says="plug gummies")
    searches = len(world.searcher.history)
    (answer,) = await world.ask(a_flag("z9", "x"), says="plug gummies")
    assert len(world.searcher.history) == searches
    assert answer.result.outcome is FlagOutcome.EMPTY
    assert answer.result.reason == "all its queries have run before"
    assert answer.result.searches_saved == 1


async def test_a_banked_query_runs_over_what_is_new_once_its_interval_has_passed() -> None:
    """After an hour the query runs over listings updated since its last run, with some overlap."""
    world = World(a_listing("b2", "plug gummies cheap", updated_at=ManualClock().now() - timedelta(days=1)))
    await world.ask(a_flag("a1", "x"), says="plug gummies")
    world.clock.advance(3600)
    fresh = a_listing("n1", "plug gummies fresh", updated_at=world.clock.now())
    world.searcher.listings["listings"].append(fresh)
    (answer,) = await world.ask(a_flag("z9", "x"), says="plug gummies")
    assert ids(answer) == {"n1"}
    assert world.searcher.history[-1].since == ManualClock().now() - timedelta(seconds=120)


async def test_word_order_does_not_make_a_new_query() -> None:
    """`gummies plug` is `plug gummies`."""
    world = World(a_listing("b2", "plug gummies cheap"))
    await world.ask(a_flag("a1", "x"), says="plug gummies")
    (answer,) = await world.ask(a_flag("z9", "x"), says="gummies plug")
    assert fates(answer)["gummies plug"] is QueryFate.BANKED


async def test_searches_stop_at_the_seeds_budget() -> None:
    """At most `max_per_seed` searches run for a flag; the rest is on record as over budget."""
    world = World(a_listing("b2", "plug gummies"), max_per_seed=2)
    (answer,) = await world.ask(a_flag("a1", "x"), says="plug gummies; sauce pen; zaza exotics; lean bottle")
    assert len(world.searcher.history) == 2
    assert answer.result.searches == 2
    assert list(fates(answer).values()).count(QueryFate.OVER_BUDGET) == 2


async def test_a_query_that_matches_too_much_is_rejected_and_still_counted() -> None:
    """A banal query costs its search, publishes nothing, and says so."""
    crowd = [a_listing(f"x{n}", f"iphone case {n}") for n in range(30)]
    world = World(*crowd, min_share_hits=20)
    (answer,) = await world.ask(a_flag("a1", "x"), says="iphone case")
    assert not answer.suspects
    assert fates(answer)["iphone case"] is QueryFate.REJECTED
    assert answer.result.searches == 1


async def test_one_item_is_shown_once_whatever_the_seed() -> None:
    """Another flag's query that finds the same listing does not publish it again."""
    world = World(a_listing("b2", "plug gummies sauce"))
    first, second = await world.ask(a_flag("a1", "x"), says="plug gummies"), None
    assert ids(first[0]) == {"b2"}
    (second,) = await world.ask(a_flag("z9", "y"), says="gummies sauce")
    assert not second.suspects
    assert second.result.reason == "all that its queries find is known"


async def test_an_edited_listing_may_be_shown_again() -> None:
    """A new content version is a new item."""
    world = World(a_listing("b2", "plug gummies sauce"))
    await world.ask(a_flag("a1", "x"), says="plug gummies")
    world.searcher.listings["listings"] = [a_listing("b2", "gummies sauce zaza lean exotic", version="2")]
    (answer,) = await world.ask(a_flag("z9", "y"), says="gummies sauce")
    assert [suspect.listing_version for suspect in answer.suspects] == ["2"]


async def test_near_duplicates_are_folded_into_one_review() -> None:
    """Two listings with nearly the same words are one review that names the other."""
    text = "plug gummies fresh batch strong taste mix {}"
    world = World(a_listing("b2", text.format("one")), a_listing("c3", text.format("two")))
    (answer,) = await world.ask(a_flag("a1", "x"), says="plug gummies")
    (suspect,) = answer.suspects
    assert {suspect.listing_id, *suspect.near_duplicates} == {"b2", "c3"}


async def test_what_repeats_a_known_item_is_not_shown_however_much_is_known() -> None:
    """Thousands of known items that are a little like the hits do not hide the one that says the same."""
    words = "plug gummies fresh batch strong taste mix drops"
    world = World(a_listing("b2", f"{words} tonight"), a_listing("c3", "plug zaza lean exotic pack"))
    crowd = [a_flag(f"k{n}", f"plug gummies fresh batch strong w{n} x{n} y{n}") for n in range(2000)]
    known = [*crowd, a_flag("same", f"{words} today")]
    await world.explorer.seeds([(flag, POLICY, None) for flag in known], Run(run_id="r"))
    (answer,) = await world.ask(a_flag("a1", "unrelated"), says="plug")
    assert ids(answer) == {"c3"}


async def test_a_known_item_of_another_policy_hides_nothing() -> None:
    """Each policy has its own review of the same words."""
    text = "plug gummies fresh batch strong taste mix {}"
    world = World(a_listing("b2", text.format("one")))
    other = Policy(id="fakes", kinds=("drugs",))
    await world.explorer.seeds([(a_flag("z9", text.format("two")), other, None)], Run(run_id="r"))
    (answer,) = await world.ask(a_flag("a1", "x"), says="plug gummies")
    assert ids(answer) == {"b2"}


async def test_repeats_of_known_items_take_no_place_from_others() -> None:
    """With room for one, the first is like a known item: the second is shown."""
    texts = [f"zaza{n} lean{n} exotic{n} pack{n} drops{n} plug" for n in range(5)]
    world = World(*(a_listing(f"b{n}", text) for n, text in enumerate(texts)))
    one = replace_policy(cap_per_seed=1)
    await world.explorer.seeds([(a_flag("k0", texts[0] + " now"), one, None)], Run(run_id="r"))
    (answer,) = await world.ask(a_flag("a1", "x"), says="plug", policy=one)
    assert ids(answer) == {"b1"}


async def test_no_more_is_looked_up_than_may_be_shown_twice_over() -> None:
    """However much a flag finds: of thirty different hits, for a cap of two, four."""

    class Asked(MemoryStore):
        rows = 0

        async def sharing(self, index: str, field_name: str, rows: Any, size: int, **which: Any) -> Any:
            self.rows += len(rows)
            return await super().sharing(index, field_name, rows, size, **which)

    store = Asked()
    world = World(*(a_listing(f"b{n}", f"zaza{n} lean{n} exotic{n} plug") for n in range(30)), store=store)
    (answer,) = await world.ask(a_flag("a1", "x"), says="plug", policy=replace_policy(cap_per_seed=2))
    assert (len(answer.suspects), store.rows) == (2, 4)


async def test_a_suspect_names_the_other_searches_that_found_it() -> None:
    """Also those that were not kept because they add nothing; not those that found something else, or nothing."""
    world = World(a_listing("b2", "plug gummies sauce pen"), a_listing("c3", "plug gummies fresh zaza"))
    (answer,) = await world.ask(a_flag("a1", "x"), says="plug gummies; sauce pen; fresh zaza; lean bottle")
    reasons = {suspect.listing_id: (suspect.query.text, suspect.also_found_by) for suspect in answer.suspects}
    assert reasons == {"b2": ("plug gummies", ("sauce pen",)), "c3": ("plug gummies", ("fresh zaza",))}


async def test_copies_of_the_seed_are_reported_and_not_reviewed() -> None:
    """A repost of the flagged listing needs no second look, but the platform learns of it."""
    world = World(a_listing("b2", "plug gummies fresh batch strong taste mix"))
    (answer,) = await world.ask(a_flag("a1", "plug gummies fresh batch strong taste mix"), says="plug gummies")
    assert not answer.suspects
    assert answer.result.repeats == ("b2",)


async def test_triage_orders_and_filters() -> None:
    """Only what triage lets through is shown, with its score."""
    world = World(
        a_listing("b2", "plug gummies"), a_listing("c3", "plug socket"), triage=WordTriage(frozenset({"gummies"}))
    )
    (answer,) = await world.ask(a_flag("a1", "x"), says="plug")
    assert [(s.listing_id, s.triage_score) for s in answer.suspects] == [("b2", 0.9)]
    assert answer.suspects[0].versions.triage == "words@1"


async def test_the_best_set_of_queries_is_kept() -> None:
    """A query whose hits another query has already found adds nothing and is not selected."""
    world = World(
        a_listing("b2", "plug gummies one"),
        a_listing("c3", "plug gummies sauce"),
        triage=WordTriage(frozenset({"gummies"})),
    )
    (answer,) = await world.ask(a_flag("a1", "x"), says="gummies sauce; plug gummies")
    assert fates(answer)["plug gummies"] is QueryFate.SELECTED
    assert fates(answer)["gummies sauce"] is QueryFate.NOT_SELECTED


async def test_a_cap_guards_against_floods() -> None:
    """No more than `cap_per_seed` suspects leave one flag."""
    crowd = [a_listing(f"x{n}", f"plug gummies w{n}a w{n}b w{n}c w{n}d") for n in range(30)]
    world = World(*crowd)
    (answer,) = await world.ask(a_flag("a1", "x"), says="plug gummies", policy=replace_policy(cap_per_seed=5))
    assert len(answer.suspects) == 5


def replace_policy(**changes: Any) -> Policy:
    return POLICY.model_copy(update=changes)


async def test_found_items_that_get_flagged_do_not_feed_the_loop_for_ever() -> None:
    """Depth grows from find to find; at `max_depth` the flag is answered without a search."""
    chain = [a_listing(f"l{n}", f"word{n} word{n + 1}") for n in range(6)]
    world = World(*chain)
    depths = []
    for n in range(4):
        (answer,) = await world.ask(
            a_flag(f"l{n}", f"word{n} word{n + 1}"), says=f"word{n + 1}", policy=replace_policy(candidates=0)
        )
        depths.append((answer.result.outcome, [s.depth for s in answer.suspects]))
    assert depths == [
        (FlagOutcome.SUSPECTS, [1]),
        (FlagOutcome.SUSPECTS, [2]),
        (FlagOutcome.SUSPECTS, [3]),
        (FlagOutcome.TOO_DEEP, []),
    ]


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        pytest.param({"withdrawn_at": ManualClock().now()}, FlagOutcome.WITHDRAWN, id="withdrawn"),
        pytest.param({"flagged_at": ManualClock().now() - timedelta(days=31)}, FlagOutcome.TOO_OLD, id="too old"),
    ],
)
async def test_some_flags_are_answered_without_a_search(change: dict[str, Any], outcome: FlagOutcome) -> None:
    """A withdrawn flag and one too old for its policy cost nothing and are on record."""
    world = World(a_listing("b2", "plug gummies"))
    (answer,) = await world.ask(a_flag("a1", **change), says="plug gummies")
    assert answer.result.outcome is outcome
    assert answer.result.reason
    assert not world.searcher.history


async def test_a_refused_search_is_never_banked() -> None:
    """A search that OpenSearch refuses fails alone, and may run again."""
    world = World(a_listing("b2", "plug gummies"), a_listing("c3", "sauce pen"))
    world.searcher.script = [SearchProblem.REFUSED]
    (answer,) = await world.ask(a_flag("a1", "x"), says="plug gummies; sauce pen")
    assert fates(answer)["plug gummies"] is QueryFate.FAILED
    assert ids(answer) == {"c3"}
    (again,) = await world.ask(a_flag("z9", "y"), says="plug gummies")
    assert ids(again) == {"b2"}


async def test_a_flag_whose_searches_are_all_refused_is_reported_as_such() -> None:
    """Then no retry can answer it: the worker sets it aside."""
    world = World(a_listing("b2", "plug gummies"))
    world.searcher.script = [SearchProblem.REFUSED]
    (answer,) = await world.ask(a_flag("a1", "x"), says="plug gummies")
    assert answer.refused == "scripted refused"


async def test_partial_answers_are_tried_again_and_slow_the_replica_down() -> None:
    """A search without a whole answer is repeated, at half the rate."""
    world = World(a_listing("b2", "plug gummies"))
    world.searcher.script = [SearchProblem.UNAVAILABLE]
    rate = world.limiter.rate
    (answer,) = await world.ask(a_flag("a1", "x"), says="plug gummies")
    assert ids(answer) == {"b2"}
    assert world.limiter.rate == rate / 2


async def test_a_search_that_stays_out_of_reach_raises_and_banks_nothing() -> None:
    """After three attempts the batch is the worker's to repeat."""
    world = World(a_listing("b2", "plug gummies"))
    world.searcher.script = [SearchProblem.UNAVAILABLE] * 3
    with pytest.raises(SearchUnavailableError, match="1 of 1 searches"):
        await world.ask(a_flag("a1", "x"), says="plug gummies")
    (answer,) = await world.ask(a_flag("a1", "x"), says="plug gummies")
    assert ids(answer) == {"b2"}


async def test_a_search_that_alone_never_answers_is_refused_in_the_end() -> None:
    """It must not block its partition for ever; while the whole search is out of reach nothing is held against it."""
    world = World(a_listing("b2", "plug gummies sauce"))

    class Choosy(MemorySearcher):
        async def search(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
            bad = SearchResult(problem=SearchProblem.UNAVAILABLE, reason="500: too many clauses", dsl_hash="bad")
            good = await MemorySearcher.search(self, requests)
            return [bad if "sauce" in r.normalised else found for r, found in zip(requests, good, strict=True)]

    choosy = Choosy(listings=world.searcher.listings)
    world.explorer._searching._searcher = choosy
    for _ in range(MOST_ROUNDS - 1):
        with pytest.raises(SearchUnavailableError):
            await world.ask(a_flag("a1", "x"), says=["plug gummies", "sauce"])
    choosy.down = True
    with pytest.raises(SearchUnavailableError):
        await world.ask(a_flag("a1", "x"), says=["plug gummies", "sauce"])
    choosy.down = False
    (answer,) = await world.ask(a_flag("a1", "x"), says=["plug gummies", "sauce"])
    assert ids(answer) == {"b2"}
    assert fates(answer)["sauce"] is QueryFate.FAILED


async def test_while_nothing_is_answered_no_search_is_given_up() -> None:
    """Where even a count gets no answer it is the search as a whole that is out of reach, however long."""
    world = World(a_listing("b2", "plug gummies sauce"))

    class Broken(MemorySearcher):
        async def search(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
            return [SearchResult(problem=SearchProblem.UNAVAILABLE, reason="503", dsl_hash="any")] * len(requests)

        async def count(self, index: str) -> int:
            raise SearchUnavailableError(f"{index} cannot be counted")

    await world.ask(a_flag("z9", "y"), says="gummies sauce")
    world.explorer._searching._searcher = Broken()
    for _ in range(MOST_ROUNDS + 2):
        with pytest.raises(SearchUnavailableError):
            await world.ask(a_flag("a1", "x"), says="plug gummies")


async def test_further_pages_are_read_where_most_hits_are_known() -> None:
    """Known items are dropped behind the search; a full page with little new is followed by the next."""
    crowd = [a_listing(f"x{n:02d}", f"plug gummies w{n}a w{n}b w{n}c") for n in range(9)]
    world = World(*crowd, explore=ExploreSettings(few_hits=1, pages=2), hits=3, max_per_seed=5)
    await world.ask(a_flag("a1", "x"), says="plug gummies")
    (answer,) = await world.ask(a_flag("z9", "y"), says="gummies")
    assert ids(answer) == {"x03", "x04", "x05"}
    assert [s.rank for s in answer.suspects] == [4, 5, 6]
    assert answer.result.searches == 2


async def test_the_same_query_of_two_flags_of_a_batch_runs_once() -> None:
    """The first flag owns it; the second has it on record as banked."""
    world = World(a_listing("b2", "plug gummies"))
    first, second = await world.ask(a_flag("a1", "x"), a_flag("z9", "y"), says="plug gummies")
    assert len(world.searcher.history) == 1
    assert ids(first) == {"b2"}
    assert fates(second)["plug gummies"] is QueryFate.BANKED


async def test_personal_data_of_the_seed_stays_out_of_the_records() -> None:
    """A phone number is neither a query nor in any record that the flag leads to."""
    world = World(a_listing("b2", "plug gummies"))
    flag = a_flag("a1", "plug gummies call 212-555-0147 now please")
    (answer,) = await world.ask(flag, says="plug gummies")
    records = "".join(r.model_dump_json() for r in (*answer.suspects, *answer.audits, answer.result))
    assert "555" not in records


async def test_an_expired_claim_is_free_and_a_fresh_one_is_not() -> None:
    """An item whose owner died before publishing is shown for another flag once the claim is old."""
    world = World(a_listing("b2", "plug gummies sauce"))
    seeds = await world.explorer.seeds([(a_flag("a1", "x"), POLICY, None)], Run(run_id="r"))
    reply = Reply(generations=(Generation(text="plug gummies", source="greedy"),))
    (dead,) = await world.explorer.explore(seeds, [reply], [VERSION], Run(run_id="r"))
    await world.discoveries.claim(dead.claims, world.clock.now(), 600)
    (early,) = await world.ask(a_flag("z8", "y"), says="gummies sauce")
    assert not early.suspects
    world.clock.advance(601)
    (late,) = await world.ask(a_flag("z9", "y"), says="plug sauce")
    assert ids(late) == {"b2"}
    granted = await world.discoveries.claim(
        [replace(claim, owner="third") for claim in late.claims], world.clock.now(), 600
    )
    assert granted == set()


@pytest.mark.parametrize(("field", "contacts"), [("contacts", 1), ("", 0)], ids=["with the field", "without"])
async def test_contacts_are_searched_only_where_the_index_has_them(field: str, contacts: int) -> None:
    """A platform's own index has no hashes of contacts: a search for one could only be refused."""
    keyed = ExploreSettings(contact_key=SecretStr("k"))
    world = World(explore=keyed, indices={"listings": {"fields": {"contacts": field}}})
    (answer,) = await world.ask(a_flag("a1", "plug gummies call 212-555-0147"), says="plug gummies")
    assert sum(audit.query.source is QuerySource.CONTACT for audit in answer.audits) == contacts


async def test_a_second_classifier_costs_no_second_search() -> None:
    """Two flags of one listing: the second is answered from the bank, with the reason, and finds nothing twice."""
    world = World(a_listing("b2", "plug gummies sauce"))
    (first,) = await world.ask(a_flag("a1", "x", source="images"), says="plug gummies")
    searched = len(world.searcher.history)
    (second,) = await world.ask(a_flag("a1", "x", source="words", flag_id="flag-2"), says="plug gummies")
    assert ids(first) == {"b2"}
    assert len(world.searcher.history) == searched
    assert second.result.outcome is FlagOutcome.EMPTY
    assert second.result.searches_saved > 0
    assert second.result.reason
