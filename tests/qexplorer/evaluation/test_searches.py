"""The index behind a budget: answers are kept, failures are not taken for nothing found."""

import pytest

from qexplorer.errors import BadInputError, ConfigError, SearchUnavailableError
from qexplorer.evaluation.budget import Ask
from qexplorer.evaluation.case import Case
from qexplorer.evaluation.searches import Searches
from qexplorer.evaluation.testing import InMemory, small_case
from qexplorer.search.backend import SearchProblem
from qexplorer.testing import MemorySearcher, a_listing


def searches(*script: SearchProblem | None) -> tuple[Searches, MemorySearcher, Case]:
    case, _ = small_case()
    listings = [a_listing("p0-0", "strong gummies"), a_listing("h1", "garden chair")]
    searcher = MemorySearcher(listings={case.index: listings}, script=list(script))
    return Searches(searcher, case.index, case.documents), searcher, case


async def test_an_answer_is_kept() -> None:
    """The same query, also from another source, is searched once; another number of hits is another search."""
    index, searcher, _ = searches()
    one, other = await index.run([Ask(text="gummies", source="a"), Ask(text="gummies", source="b")])
    assert (one.ask.source, other.ask.source) == ("a", "b")
    await index.run([Ask(text="gummies"), Ask(text="gummies", hits=300)])
    assert [request.size for request in searcher.history] == [60, 300]
    assert not any(request.highlight for request in searcher.history)


async def test_hits_come_with_text_and_score() -> None:
    """A hit is the corpus' own listing in normal form, scored by the triage."""
    index, _, case = searches()
    (answer,) = await index.run([Ask(text="gummies")])
    assert [case.documents.text(hit.place) for hit in answer.hits] == [hit.text for hit in answer.hits]
    assert [hit.score for hit in answer.hits] == [0.9]


async def test_a_search_that_fails_ends_the_evaluation() -> None:
    """Nothing found and nothing searched are not the same; a query that is refused has no hits."""
    index, _, _ = searches(SearchProblem.UNAVAILABLE)
    with pytest.raises(SearchUnavailableError, match="scripted unavailable"):
        await index.run([Ask(text="gummies")])
    index, _, _ = searches(SearchProblem.REFUSED)
    (answer,) = await index.run([Ask(text="gummies")])
    assert answer.hits == ()


async def test_a_listing_of_another_corpus_is_refused() -> None:
    """An index that holds more than the corpus would be judged without labels."""
    case, _ = small_case()
    searcher = MemorySearcher(listings={case.index: [a_listing("stranger", "gummies")]})
    with pytest.raises(BadInputError, match="holds stranger, which the corpus does not"):
        await Searches(searcher, case.index, case.documents).run([Ask(text="gummies")])


async def test_weighted_words_need_an_index_that_has_them() -> None:
    """Any of the words finds, the heavier one first."""
    case, index = small_case()
    ask = Ask(text="expanded", terms=(("gummies", 1.0), ("vapes", 2.0)))
    (answer,) = await index.run([ask])
    assert "vapes" in answer.hits[0].text
    assert {"gummies", "vapes"} == {word for hit in answer.hits for word in hit.text.split()} & {"gummies", "vapes"}
    with pytest.raises(ConfigError, match="has no search for"):
        await Searches(MemorySearcher(), case.index, case.documents).run([ask])
    assert (await InMemory(case.documents).find("", Ask(text="x", terms=(("absent", 1.0),))))[1] == 0
