"""The groups of an evaluation are disjoint, and its index holds what is judged and no known flag."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qexplorer.clock import SystemClock
from qexplorer.corpus import make_corpus
from qexplorer.errors import BadInputError
from qexplorer.evaluation.case import CaseSettings, Documents, disguise_case, fill, indexed, make_case, make_groups
from qexplorer.evaluation.testing import small_case, small_corpus, small_rows
from qexplorer.near_duplicates import NEAR, jaccard
from qexplorer.normalise import normalise
from qexplorer.rows import Row
from qexplorer.search.client import OpenSearchClient
from qexplorer.settings import SearchSettings
from qexplorer.stack import Endpoints
from schemas import Listing, ListingStatus

CASE = small_case()


def test_groups_are_disjoint_with_one_seed_a_cluster() -> None:
    """No cluster gives two seeds, and the kinds come in turn."""
    corpus = small_corpus(80)
    groups = make_groups("small", corpus.of("dev"), CaseSettings(group_size=4))
    clusters = [judged.item.cluster for group in groups for judged in group]
    assert len(groups) == 3
    assert len(clusters) == len(set(clusters)) == 12
    for group in groups:
        kinds = [judged.seed.kind for judged in group]
        assert kinds[:2] == ["drugs", "papers"] or len(set(kinds)) == 1


def test_seeds_can_be_taken_by_campaign() -> None:
    """Where two sellers have all campaigns, clusters would give two seeds."""
    rows = [
        {"id": f"p{n}", "text": f"aa{n} bb{n} cc{n}", "toxic": True, "kind": "x", "campaign": f"seller{n // 15}"}
        for n in range(60)
    ] + [{"id": f"h{n}", "text": f"chair {n}", "toxic": False} for n in range(20)]
    items = make_corpus("x", [Row(number=n, value=row) for n, row in enumerate(rows, start=1)]).of("test")
    with pytest.raises(BadInputError, match=r"x has \d clusters"):
        make_groups("x", items, CaseSettings(group_size=10, part="test"))
    groups = make_groups("x", items, CaseSettings(group_size=10, part="test", unit="campaign"))
    assert len({judged.item.campaign for group in groups for judged in group}) == 10 * len(groups) > 0


def test_what_fills_no_group_is_of_any_kind() -> None:
    """Five seeds too many are left out by chance, and not the last kinds of the alphabet each time."""
    items = small_corpus(80).of("dev")
    kinds = set()
    for seed in range(5):
        (group,) = make_groups("x", items, CaseSettings(group_size=7, seed=seed))
        kinds |= {judged.seed.kind for judged in group}
    assert kinds == {"drugs", "papers"}


def test_groups_follow_their_seed() -> None:
    """The same seed makes the same groups."""
    items = small_corpus(80).of("dev")
    assert make_groups("x", items, CaseSettings(group_size=4)) == make_groups("x", items, CaseSettings(group_size=4))
    other = make_groups("x", items, CaseSettings(group_size=4, seed=1))
    assert make_groups("x", items, CaseSettings(group_size=4)) != other


@pytest.mark.parametrize("named", [True, False])
def test_the_triage_knows_whose_the_flags_are(tmp_path: Path, *, named: bool) -> None:
    """Words that only one seller's campaigns have are no sibling's; where sellers are not named they are."""
    rows = small_rows()
    for place, row in enumerate([row for row in rows if row.get("kind") == "drugs"]):
        row["text"] += f" tag{place // 16}"
        row["seller"] = f"seller{place // 16}" if named else ""
    corpus = make_corpus("tagged", [Row(number=n, value=row) for n, row in enumerate(rows, start=1)])
    triage = make_case(corpus, CaseSettings(group_size=4), tmp_path).knowledge.triage
    assert triage is not None
    spans = {span for item in corpus.of("train") for span in triage.siblings(f"{item.normalised} more", 60, "drugs")}
    assert spans
    assert any("tag" in span for span in spans) is not named


def test_too_few_seeds_are_refused() -> None:
    """A corpus without a whole group says how many seeds it has."""
    with pytest.raises(BadInputError, match=r"small has \d+ clusters"):
        make_groups("small", small_corpus().of("dev"), CaseSettings(group_size=20))


def test_the_index_holds_no_known_flag() -> None:
    """What was trained on is not there to be found, and the other part neither."""
    corpus = small_corpus()
    ids = {listing.id for listing in indexed(corpus, "dev")}
    assert ids >= {item.listing.id for item in corpus.of("dev")} | {listing.id for listing in corpus.others}
    assert not ids & {item.listing.id for item in (*corpus.of("train"), *corpus.of("test"))}


def test_what_was_removed_can_be_no_find() -> None:
    """A removed listing is not in the index, and its campaign is none that could be found."""
    rows = [
        {"id": f"p{n}", "text": f"aa{n} bb{n} cc{n}", "toxic": True, "kind": "x"}
        | {"status": "removed" if n % 2 else "active"}
        for n in range(60)
    ] + [{"id": f"h{n}", "text": f"chair {n}", "toxic": False, "status": "removed"} for n in range(20)]
    corpus = make_corpus("x", [Row(number=n, value=row) for n, row in enumerate(rows, start=1)])
    case = make_case(corpus, CaseSettings(group_size=5, triage=False), Path())
    active = {item.listing.id for item in corpus.of("dev") if item.listing.status is ListingStatus.ACTIVE}
    assert {listing.id for listing in indexed(corpus, "dev")} == active
    assert {item.listing.id for item in case.documents.items()} == active
    assert len(case.campaigns) == len(active) < len(corpus.of("dev"))


def test_the_number_of_a_listing_says_nothing_of_its_label() -> None:
    """Methods see the numbers of their hits: a third of the listings are prohibited, low and high numbers alike."""
    documents = CASE[0].documents
    labels = [documents.label(place) is not None for place in range(len(documents))]
    half = len(labels) // 2
    assert (sum(labels), len(labels)) == (24, 64)
    assert min(sum(labels[:half]), sum(labels[half:])) > 6


def test_other_seeds_make_another_disguised_index() -> None:
    """What is kept under a name, in OpenSearch or as vectors, is of the same listings; the same seeds find it again."""
    corpus = small_corpus()
    made: dict[str, list[Listing]] = {}
    for size in (3, 5, 3):
        case, _ = small_case(corpus, group_size=size)
        disguise, listings = disguise_case(case, corpus, seed=0)
        assert made.setdefault(disguise.index, listings) == listings
    assert len(made) == 2


def test_the_triage_knows_only_the_training_part(tmp_path: Path) -> None:
    """It is made once for a corpus and a seed, and kept."""
    corpus = small_corpus()
    settings = CaseSettings(group_size=3)
    one, again = make_case(corpus, settings, tmp_path), make_case(corpus, settings, tmp_path)
    assert one.knowledge.triage is not None
    assert again.knowledge.triage is not None
    assert one.knowledge.triage.version == again.knowledge.triage.version
    assert {flag.text for flag in one.knowledge.flags} == {item.listing.text for item in corpus.of("train")}
    assert len(list(tmp_path.iterdir())) == 1


def test_the_random_listings_are_drawn_whatever_their_label() -> None:
    """They are of the whole judged index, prohibited ones too, so that no label tells the triage what is harmless."""
    corpus = small_corpus()
    case = make_case(corpus, CaseSettings(group_size=3, triage=False), Path())
    assert sorted(case.knowledge.sample) == sorted(normalise(listing.text) for listing in indexed(corpus, "dev"))


def test_a_near_duplicate_of_a_known_flag_is_known() -> None:
    """Four of five words in common are more than one half; nothing else of the corpus is that near."""
    case, _ = small_case()
    assert not any(case.is_known(place) for place in range(len(case.documents)))
    flag = next(iter(small_corpus().of("train"))).listing
    copy = flag.model_copy(update={"title": f"{flag.title} now"})
    listings = [copy, *indexed(small_corpus(), "dev")]
    near = replace(case, documents=Documents(listings, (), None))
    known = near.documents.place(copy.id)
    assert [place for place in range(len(listings)) if near.is_known(place)] == [known]


@given(st.sets(st.integers(0, 30), max_size=16), st.integers(0, 60))
def test_what_is_known_is_what_comparing_with_each_flag_says(added: set[int], start: int) -> None:
    """A part of a flag's words beside others is known exactly where some flag has a Jaccard above one half."""
    case, _ = CASE
    flags = case.knowledge.flags
    words = [*sorted(flags[start % len(flags)].words), *(f"other{number}" for number in added)]
    text = " ".join(words[start % 5 :])
    listing = Listing(id="x", version="1", title=text or "x")
    near = replace(case, documents=Documents([listing], (), None))
    assert near.is_known(0) == any(jaccard(near.documents.words(0), flag.words) > NEAR for flag in flags)


async def test_an_index_with_other_listings_is_refused(engines: Endpoints) -> None:
    """An index that misses the seeds would make every method look bad."""
    listings = indexed(small_corpus(), "dev")
    assert engines.opensearch is not None
    async with OpenSearchClient(SearchSettings(url=engines.opensearch)) as client:
        await fill(client, "evaluate-fill", listings, SystemClock())
        await fill(client, "evaluate-fill", listings, SystemClock())
        with pytest.raises(BadInputError, match="misses seeds"):
            await fill(client, "evaluate-fill", listings[:-5], SystemClock())
