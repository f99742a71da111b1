"""From flags and an index to rows to train on, on the shipped fakes."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from qexplorer.discoveries import review_key
from qexplorer.errors import BadInputError, ConfigError, SearchUnavailableError
from qexplorer.learn import build
from qexplorer.learn.derive import kept_back, kept_back_share, open_found, preference_pairs, write_sets
from qexplorer.learn.store import FlagRow, IndexRow, JudgedRow, ListingRow, ReplyRow, SearchRow, Store, read_table
from qexplorer.llm.engine import Prompt, Sampling
from qexplorer.llm.prompt import load_template
from qexplorer.llm.scripted import ScriptedEngine
from qexplorer.search.backend import SearchProblem
from qexplorer.testing import MemorySearcher, WordTriage, a_flag, a_listing
from schemas import FlaggedListing

INDEX = "train"
FLAGS = [a_flag(f"s{n}", f"zaza lean drip{n} item{n} stuff{n}") for n in range(8)]
JUDGES = build.Judges(triage=WordTriage(wanted=frozenset({"zaza"})))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def searcher() -> MemorySearcher:
    siblings = [a_listing(f"u{n}", f"zaza new{n} other{n} thing{n}") for n in range(4)]
    harmless = [a_listing(f"h{n}", f"garden chair{n} lean wood{n} item") for n in range(20)]
    return MemorySearcher(listings={INDEX: [*(flag.listing for flag in FLAGS), *siblings, *harmless]})


def replies(prompt: Prompt) -> Sequence[str]:
    number = prompt.listing.split("drip")[1][0]
    own = f"drip{number} item{number}; stuff{number}"
    return ["zaza; lean", f"drip{number}", "lean", "zaza lean", "lean; zaza", own, f"zaza; stuff{number}"]


def asker() -> build.Asker:
    sampling = Sampling(samples=6)
    return build.Asker(engine=ScriptedEngine(reply=replies), template=load_template("short"), sampling=sampling)


async def filled(store: Store, searcher: MemorySearcher, flags: Sequence[FlaggedListing] = FLAGS) -> None:
    await build.fill(store, searcher, INDEX, flags, JUDGES, most=1000, asker=asker())


async def test_each_distinct_query_runs_once(store: Store, searcher: MemorySearcher) -> None:
    """And a second build runs, and asks the model, nothing that the store has."""
    await filled(store, searcher)
    asked = [request.normalised for request in searcher.history]
    assert len(asked) == len(set(asked)) > 20
    written = store.read(ReplyRow)
    await filled(Store(store.folder), searcher)
    assert len(searcher.history) == len(asked)
    assert store.read(ReplyRow) == written
    await filled(store, searcher, [a_flag("new", "zaza brand drip9")])
    assert {request.normalised for request in searcher.history[len(asked) :]} <= {
        "brand", "drip9", "zaza brand", "brand drip9", "zaza brand drip9", "drip9 item9", "stuff9"
    }  # fmt: skip


async def test_a_search_without_an_answer_is_run_again(store: Store, searcher: MemorySearcher) -> None:
    """A failed search is not taken for one that found nothing."""
    build.add_flags(store, INDEX, FLAGS, JUDGES.triage)
    searcher.script = [SearchProblem.UNAVAILABLE]
    await build.run_queries(store, searcher, INDEX, ["zaza", "lean"], lambda _: None)
    assert [row.query for row in store.read(SearchRow)] == ["lean"]
    await build.run_queries(store, searcher, INDEX, ["zaza", "lean"], lambda _: None)
    assert [row.query for row in store.read(SearchRow)] == ["lean", "zaza"]


async def test_an_index_that_refuses_everything_is_an_error(store: Store, searcher: MemorySearcher) -> None:
    """Better than a store of empty searches; once it is mended, they are run again."""
    searcher.script = [SearchProblem.REFUSED] * 2
    with pytest.raises(BadInputError, match="refuses every search"):
        await build.run_queries(store, searcher, INDEX, ["zaza", "lean"], lambda _: None)
    await build.run_queries(store, searcher, INDEX, ["zaza", "lean"], lambda _: None)
    assert all(row.ids for row in store.read(SearchRow))


async def test_one_refused_search_is_not_run_again(store: Store, searcher: MemorySearcher) -> None:
    """It is the fault of its words, and finds nothing."""
    searcher.script = [SearchProblem.REFUSED]
    for _ in range(2):
        await build.run_queries(store, searcher, INDEX, ["zaza", "lean"], lambda _: None)
    assert len(searcher.history) == 2
    assert {row.query: bool(row.ids) for row in store.read(SearchRow)} == {"zaza": False, "lean": True}


async def test_words_that_are_all_refused_later_stop_no_build(store: Store, searcher: MemorySearcher) -> None:
    """An index that has answered before is not at fault; else each further build would end so."""
    await build.run_queries(store, searcher, INDEX, ["zaza"], lambda _: None)
    searcher.script = [SearchProblem.REFUSED]
    for _ in range(2):
        await build.run_queries(store, searcher, INDEX, ["zaza", "lean"], lambda _: None)
    assert len(searcher.history) == 2


async def test_an_index_that_answers_nothing_is_an_error(store: Store, searcher: MemorySearcher) -> None:
    """As one that is up and overloaded: sets without any search would teach nothing."""
    searcher.script = [SearchProblem.UNAVAILABLE] * 2
    with pytest.raises(SearchUnavailableError, match="answers no search"):
        await build.run_queries(store, searcher, INDEX, ["zaza", "lean"], lambda _: None)


def test_the_search_budget_is_kept(store: Store) -> None:
    """The models' queries first, then what several flags have in common."""
    build.add_flags(store, INDEX, FLAGS, JUDGES.triage)
    assert build.propose_queries(store, INDEX, 1) == ["zaza"]
    build.add_replies(store, store.read(FlagRow), asker(), lambda _: None)
    assert build.propose_queries(store, INDEX, 3) == ["zaza", "lean", "drip0"]


async def test_the_best_reply_of_their_queries_is_preferred(store: Store) -> None:
    """What other replies ask as well runs once for all of them, and stands behind what only one asks."""
    build.add_flags(store, INDEX, FLAGS[:1], JUDGES.triage)
    finds = {"zaza": ("a", "b", "c"), "lean": ("d", "e"), "drip": ()}
    store.add([IndexRow(index=INDEX, size=10_000)])
    store.add([ListingRow(index=INDEX, listing_id=name, version="1", normalised=f"{name}{name}") for name in "abcde"])
    store.add([JudgedRow(index=INDEX, listing_id=name, wanted=1.0, judge="words@1") for name in ("s0", *"abcde")])
    store.add(
        [
            SearchRow(key=build.search_key(INDEX, query), index=INDEX, query=query, total=len(ids), ids=ids)
            for query, ids in finds.items()
        ]
    )
    written = [
        ReplyRow(index=INDEX, flag_id="flag-s0", asker="one", source="sample", text=text, finished=True)
        for text in ("zaza", "zaza; drip", "drip; zaza", "drip", "lean")
    ]
    found = open_found(store, INDEX)
    (pair,) = preference_pairs(found, written, Counter())[:1]
    assert pair.chosen.text == "lean; zaza"


async def test_verdicts_come_before_flags_and_flags_before_triage(store: Store, searcher: MemorySearcher) -> None:
    """And each judgement names its judge."""
    await filled(store, searcher)
    judged = {row.listing_id: (row.wanted, row.judge) for row in store.read(JudgedRow)}
    assert judged["s1"] == (1.0, "flag")
    assert judged["u1"] == (0.9, "words@1")
    assert judged["h1"] == (0.1, "words@1")
    verdicts = {review_key(INDEX, "u1", "1", "drugs"): False}
    build.judge(store, INDEX, build.Judges(triage=JUDGES.triage, verdicts=verdicts))
    judged = {row.listing_id: (row.wanted, row.judge) for row in store.read(JudgedRow)}
    assert judged["u1"] == (0.0, "verdict")


async def test_a_verdict_stays(store: Store, searcher: MemorySearcher) -> None:
    """Of a listing that nobody has flagged, and of a flag; a later one takes its place."""
    await filled(store, searcher)
    keys = [review_key(INDEX, name, "1", "drugs") for name in ("u1", "s1")]
    build.judge(store, INDEX, build.Judges(triage=JUDGES.triage, verdicts=dict.fromkeys(keys, False)))
    build.judge(store, INDEX, JUDGES)
    judged = {row.listing_id: (row.wanted, row.judge) for row in store.read(JudgedRow)}
    assert judged["u1"] == judged["s1"] == (0.0, "verdict")
    build.judge(store, INDEX, build.Judges(triage=JUDGES.triage, verdicts=dict.fromkeys(keys, True)))
    assert {row.wanted for row in store.read(JudgedRow)[-2:]} == {1.0}


async def test_what_finds_siblings_is_taught_and_preferred(store: Store, searcher: MemorySearcher) -> None:
    """`zaza` finds the flags and their siblings; `lean` finds chairs as well."""
    await filled(store, searcher)
    card = write_sets(store, inputs={"seed": 1}, seed=1, share=0.0)
    rows = list(read_table(store.folder / "sft.parquet"))
    assert Counter(row["flag_id"] for row in rows) == dict.fromkeys((flag.flag_id for flag in FLAGS), 2)
    assert all(row["reply"].startswith("zaza") for row in rows)
    assert not any("lean" in row["reply"].split("; ") for row in rows)
    preferred = list(read_table(store.folder / "pairs.parquet"))
    assert all("zaza" in row["chosen"] and "; lean" not in row["chosen"] for row in preferred)
    assert all(row["chosen_value"] > row["rejected_value"] for row in preferred)
    assert card["pairs"]["rows"] == len(preferred) > 0
    assert card["judges"] == {"flag": 8, "words@1": 24}


async def test_spans_of_known_flags_are_run_and_taught(store: Store, searcher: MemorySearcher) -> None:
    """Those that stand beside a flag in its prompt, kept with it, and only where they find something."""
    searcher.listings[INDEX] += [a_listing(f"c{n}", f"carts zaza{n} gas") for n in range(3)]
    triage = WordTriage(wanted=frozenset({"zaza", "carts", "vapes"}))
    await build.fill(store, searcher, INDEX, FLAGS, build.Judges(triage=triage), most=1000)
    assert {row.known for row in store.read(FlagRow)} == {("carts", "vapes")}
    assert {"carts", "vapes"} <= {request.normalised for request in searcher.history}
    write_sets(store, inputs={}, seed=1, share=0.0)
    rows = list(read_table(store.folder / "sft.parquet"))
    assert all(list(row["known"]) == ["carts", "vapes"] for row in rows)
    taught = {query for row in rows for query in row["reply"].split("; ")}
    assert "carts" in taught
    assert "vapes" not in taught


async def test_a_listing_that_is_forgotten_is_not_learnt_from(store: Store, searcher: MemorySearcher) -> None:
    """Its rows leave the sets that were made, which hold its text; where that is cut off, a second one ends it."""
    await filled(store, searcher)
    write_sets(store, inputs={}, seed=1, share=0.0)
    paths = [store.folder / name for name in ("sft.parquet", "pairs.parquet")]
    whole = [list(read_table(path)) for path in paths]
    learnt = paths[0].read_bytes()
    paths[0].write_bytes(b"nothing that can be read")
    with pytest.raises(ConfigError):
        store.forget({"s0"})
    paths[0].write_bytes(learnt)
    store.forget({"s0"})
    assert [list(read_table(path)) for path in paths] == [
        [row for row in rows if row["flag_id"] != "flag-s0"] for rows in whole
    ]
    assert "flag-s0" not in {row.flag_id for row in store.read(FlagRow)}
    assert "flag-s0" not in {row.flag_id for row in store.read(ReplyRow)}


async def test_the_same_store_gives_the_same_sets(store: Store, searcher: MemorySearcher) -> None:
    """Byte for byte."""
    await filled(store, searcher)
    write_sets(store, inputs={}, seed=1, share=0.5)
    first = [(store.folder / name).read_bytes() for name in ("sft.parquet", "pairs.parquet", "card.md")]
    write_sets(store, inputs={}, seed=1, share=0.5)
    assert [(store.folder / name).read_bytes() for name in ("sft.parquet", "pairs.parquet", "card.md")] == first


async def test_preferences_come_from_flags_that_sft_has_not_seen(store: Store, searcher: MemorySearcher) -> None:
    """Whole campaigns are kept back; what SFT has learnt is no find for a preference, and the other way round.

    SFT then learns three draws of a flag, for breadth.
    """
    twins = [a_flag(f"t{n}", f"zaza lean drip{n} item{n} other{n}") for n in range(8)]
    await filled(store, searcher, [*FLAGS, *twins])
    write_sets(store, inputs={}, seed=1, share=0.5)
    back = kept_back(store.read(FlagRow), kept_back_share(store))
    assert 0 < len(back) < 16
    assert all((f"flag-s{n}" in back) == (f"flag-t{n}" in back) for n in range(8))
    learnt = Counter(row["flag_id"] for row in read_table(store.folder / "sft.parquet"))
    assert learnt.keys().isdisjoint(back)
    assert set(learnt.values()) == {3}
    preferred = {row["flag_id"] for row in read_table(store.folder / "pairs.parquet")}
    assert preferred
    assert preferred <= back
    found = open_found(store, INDEX).only(back)
    names = {flag.listing_id for flag in found.flags}
    zaza = found.asked[build.search_key(INDEX, "zaza")].found
    assert {name for name in zaza if name[0] in "st"} <= names
    assert any(name[0] == "u" for name in zaza)


async def test_two_indices_may_have_flags_of_one_id(store: Store, searcher: MemorySearcher) -> None:
    """Each is asked about, and counted: platforms number their listings from 1."""
    searcher.listings["other"] = searcher.listings[INDEX]
    for index in (INDEX, "other"):
        await build.fill(store, searcher, index, FLAGS, JUDGES, most=1000, asker=asker())
    written = Counter(row.index for row in store.read(ReplyRow))
    assert written[INDEX] == written["other"] > 0
    made = write_sets(store, inputs={}, seed=1, share=0.0)
    assert made["targets"]["flags"] == 16
    assert made["pairs"]["flags"] == 16


async def test_an_index_that_was_cut_off_does_not_hold_up_another(store: Store, searcher: MemorySearcher) -> None:
    """What it has found and nobody has judged counts as not found, and the card says how much that is."""
    build.add_flags(store, "other", FLAGS, JUDGES.triage)
    store.add([IndexRow(index="other", size=32)])
    searcher.listings["other"] = searcher.listings[INDEX]
    await build.run_queries(store, searcher, "other", ["zaza"], lambda _: None)
    await filled(store, searcher)
    made = write_sets(store, inputs={}, seed=1, share=0.0)
    assert made["judges"] == {"flag": 8, "words@1": 24, "none yet": 12}
    assert {row["index"] for row in read_table(store.folder / "sft.parquet")} == {INDEX}
