"""What keyword methods take from a text."""

import pytest

from qexplorer.evaluation.budget import Answer, Ask, Found
from qexplorer.evaluation.methods.grams import by_word_weight, words_then_pairs
from qexplorer.evaluation.methods.nearest_spans import NearestSpans
from qexplorer.evaluation.methods.own_spans import OwnSpans
from qexplorer.evaluation.methods.rm3 import expand
from qexplorer.evaluation.methods.tfidf import TfIdf
from qexplorer.evaluation.seeds import Knowledge, Seed
from qexplorer.grams import grams
from qexplorer.testing import WordTriage


def a_seed(title: str, kind: str = "drugs") -> Seed:
    return Seed(title=title, description="", kind=kind, locale="en")


KNOWN = Knowledge(
    flags=(a_seed("strong gummies overnight"), a_seed("fake badge holder"), a_seed("nothing alike")),
    triage=WordTriage(frozenset({"gummies", "badge"})),
    sample=("strong chair", "strong table", "garden chair"),
)


def test_spans_start_and_end_with_telling_words() -> None:
    """`the` and `a` stand at no end, none crosses what redaction took; a run of Han is cut in fours, two apart."""
    assert list(grams("the plug and play", (1, 2, 3))) == ["plug", "play", "plug and play"]
    assert list(grams("plug <phone> gummies", (1, 2))) == ["plug", "gummies"]
    assert words_then_pairs("zaza 212-555-0147 gummies") == ["gummies", "zaza"]
    assert list(grams("上头电子烟油", (1,))) == ["上头电子", "电子烟油", "烟油"]


def test_words_come_before_pairs_the_heavier_first() -> None:
    """Without weights the longest word leads; with them the wanted one does, though it is short."""
    assert words_then_pairs("plug gummies") == ["gummies", "plug", "plug gummies"]
    weigh = WordTriage(frozenset({"plug"})).weigh
    assert words_then_pairs("plug gummies", weigh) == ["plug", "gummies", "plug gummies"]
    assert by_word_weight(["aa plug", "plug"], weigh) == ["plug", "aa plug"]


def test_own_spans_follow_the_triage() -> None:
    """The same words in another order."""
    seed = a_seed("overnight gummies")
    plain = OwnSpans("a", KNOWN, by_triage=False).asks(seed)
    by_triage = OwnSpans("b", KNOWN, by_triage=True).asks(seed)
    assert [ask.text for ask in plain][:2] == ["overnight", "gummies"]
    assert [ask.text for ask in by_triage][:2] == ["gummies", "overnight"]


def test_nearest_spans_are_those_of_flags_that_share_words() -> None:
    """The flag of another trade gives none."""
    asks = NearestSpans("a", KNOWN, by_triage=True).asks(a_seed("gummies for you"))
    texts = [ask.text for ask in asks]
    assert texts[0] == "gummies"
    assert "overnight" in texts
    assert not [text for text in texts if "badge" in text]


def test_tf_idf_prefers_rare_words() -> None:
    """log(4/1) for `gummies`, which no random listing has, log(4/3) for `strong`, which two have."""
    asks = TfIdf("a", KNOWN).asks(a_seed("strong gummies chair"))
    assert [ask.text for ask in asks] == ["gummies", "chair", "strong"]


def test_an_expanded_query_mixes_the_seed_with_its_first_hits() -> None:
    """Half of the weight is the seed's `aa`; of the first hit's half `bb` and `aa` get a quarter each."""
    hits = (Found(place=0, text="aa bb", score=None),)
    weights = dict(expand("aa", Answer(ask=Ask(text="aa"), hits=hits, total=1, took_ms=0)))
    assert weights == pytest.approx({"aa": 0.75, "bb": 0.25})
