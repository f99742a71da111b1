"""Half of what is to be found hides its words; what it is stays the same."""

from qexplorer.evaluation.case import disguise_case, indexed
from qexplorer.evaluation.disguised import disguised
from qexplorer.evaluation.testing import small_case, small_corpus


def test_half_of_the_prohibited_are_hidden_and_nothing_else() -> None:
    """Harmless listings and seeds stay as they are; the same seed hides the same ones."""
    corpus = small_corpus(200)
    items = corpus.of("dev")
    listings = indexed(corpus, "dev")
    seeds = [items[0].listing.id, items[1].listing.id]
    hidden = disguised(listings, items, seeds, seed=1)
    changed = {after.id for before, after in zip(listings, hidden, strict=True) if before != after}
    assert changed <= {item.listing.id for item in items} - set(seeds)
    assert 0.35 * len(items) < len(changed) < 0.65 * len(items)
    assert hidden == disguised(listings, items, seeds, seed=1)
    assert hidden != disguised(listings, items, seeds, seed=2)


def test_reviewers_see_what_a_listing_is() -> None:
    """Searches see the disguise; that two listings say the same is judged by what they said before."""
    corpus = small_corpus()
    plain, _ = small_case(corpus)
    case, listings = disguise_case(plain, corpus, seed=0)
    places = range(len(listings))
    assert [case.documents.words(place) for place in places] == [plain.documents.words(place) for place in places]
    assert [case.documents.label(place) for place in places] == [plain.documents.label(place) for place in places]
    assert case.index != plain.index
    assert [listing.text for listing in listings] != [listing.text for listing in indexed(corpus, "dev")]
