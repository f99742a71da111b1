import itertools
import re
import tracemalloc
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from qexplorer.errors import BadInputError
from qexplorer.marketplace import Half, generate
from qexplorer.marketplace.words import load_words, read_yaml
from qexplorer.words import tokens
from schemas import Listing

TRUTH = {"kind", "toxic", "campaign", "variant"}
KINDS = {"drugs", "weapons", "counterfeit", "scam", "wildlife", "escort"}
CONTACT = re.compile(r"\d{3}-555-\d{4}|([a-z]{2}){3}\d+")
Row = dict[str, Any]


@cache
def market(half: Half = Half.JUDGE, seed: int = 1, prohibited: float = 0.1) -> tuple[Row, ...]:
    return tuple(generate(12_000, half=half, seed=seed, prohibited=prohibited))


def text_of(row: Row) -> str:
    return f"{row['title']}\n{row['description']}"


def plainly_written(row: Row) -> bool:
    """Tell whether no name was disguised: a disguise makes chance words."""
    return row["variant"] in {"plain", "reworded"}


def terms_of(half: Half, locale: str) -> Iterator[str]:
    """Yield slang, products and look-alikes, but no everyday words and none so short that a disguise may make it."""
    everyday = ordinary_words(locale)
    for kind in load_words(half, locale).kinds:
        for term in (*kind.slang, *kind.products, *kind.alike[0].names):
            if len(term) > (4 if locale == "en" else 2) and not everyday.issuperset(tokens(term)):
                yield spaced(term) if locale == "en" else term


def spaced(text: str) -> str:
    """Return the words with a space around each, so that `in` finds whole words."""
    return f" {' '.join(tokens(text))} "


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)
    elif isinstance(value, str):
        yield value


def ordinary_words(locale: str) -> set[str]:
    return {token for text in strings(read_yaml(f"ordinary.{locale}")) for token in tokens(text)}


def test_the_same_seed_gives_the_same_listings() -> None:
    """Listings follow from the arguments alone."""
    assert list(generate(300, half=Half.JUDGE, seed=7)) == list(generate(300, half=Half.JUDGE, seed=7))
    assert list(generate(300, half=Half.JUDGE, seed=8)) != list(generate(300, half=Half.JUDGE, seed=7))


def test_every_row_is_a_listing_with_its_truth() -> None:
    """Each row has the fields of a listing and the truth, and nothing else; ids are unique and look alike."""
    rows = market()
    for row in rows:
        assert set(row) == (set(Listing.model_fields) - {"v"}) | TRUTH
        Listing.from_value(row)
        assert re.fullmatch("[0-9a-f]{20}", row["id"])
        assert row["toxic"] == bool(row["campaign"]) == (row["kind"] in KINDS)
        assert "{" not in text_of(row)
    assert len({row["id"] for row in rows}) == len(rows)


def test_exactly_the_share_asked_for_is_prohibited() -> None:
    """1,200 of 12,000 at 10 %; look-alikes are about 5 %."""
    rows = market()
    variants = Counter(row["variant"] for row in rows)

    assert sum(row["toxic"] for row in rows) == 1_200
    assert 450 <= variants["look-alike"] <= 750


def test_campaigns_have_a_kind_a_contact_and_few_sellers() -> None:
    """A campaign has 3 to 40 listings of one kind by at most four sellers, and all kinds occur."""
    campaigns: dict[str, list[Row]] = defaultdict(list)
    for row in market():
        if row["toxic"]:
            campaigns[row["campaign"]].append(row)

    assert {row["kind"] for rows in campaigns.values() for row in rows} == KINDS
    for rows in campaigns.values():
        assert 3 <= len(rows) <= 40
        assert len({row["kind"] for row in rows}) == 1
        assert len({row["seller"] for row in rows}) <= 4


def test_all_variants_and_both_languages_occur() -> None:
    """Each kind has plain, reworded and disguised listings in English; about 30 % of all are Chinese."""
    rows = market()
    english = {(row["kind"], row["variant"]) for row in rows if row["toxic"] and row["locale"] == "en"}
    chinese = [row for row in rows if row["locale"] == "zh"]

    assert english == set(itertools.product(KINDS, ("plain", "reworded", "disguised")))
    assert 0.25 <= len(chinese) / len(rows) <= 0.35
    assert {row["variant"] for row in chinese} >= {"plain", "reworded", "disguised", "honest", "look-alike"}
    assert all(re.search("[\u4e00-\u9fff]", text_of(row)) for row in chinese)


def test_prohibited_words_of_the_halves_are_disjoint() -> None:
    """Words of prohibited English listings cross between the halves only when ordinary.en.yaml has them.

    Invented contacts are made of syllables and digits and may be the same by chance.
    """
    ordinary = ordinary_words("en")
    learn, judge = (
        {
            token
            for row in market(half)
            if row["locale"] == "en" and plainly_written(row)
            for token in tokens(CONTACT.sub(" ", text_of(row)))
        }
        for half in Half
    )

    assert len(learn) > 500
    assert (learn & judge) - ordinary == set()


@pytest.mark.parametrize("locale", ["en", "zh"])
@pytest.mark.parametrize(("half", "other"), [(Half.LEARN, Half.JUDGE), (Half.JUDGE, Half.LEARN)])
def test_no_terms_of_the_other_half_occur(half: Half, other: Half, locale: str) -> None:
    """No slang, product or look-alike of the other half is written in listings of this one; its own are."""
    text = "\n".join(spaced(text_of(row)) for row in market(half) if row["locale"] == locale)
    own, foreign = (list(terms_of(one, locale)) for one in (half, other))

    assert [term for term in foreign if term in text] == []
    assert sum(term in text for term in own) > 0.6 * len(own)


def test_look_alikes_share_words_with_prohibited_listings() -> None:
    """For each kind at least half of the slang words also stand in honest listings."""
    rows = market()
    honest = {token for row in rows if not row["toxic"] for token in tokens(text_of(row))}
    for kind in load_words(Half.JUDGE, "en").kinds:
        slang = {token for term in kind.slang for token in tokens(term)}
        assert len(slang & honest) >= 0.5 * len(slang)


def test_a_million_listings_would_not_collapse() -> None:
    """Nearly all texts differ, though series repeat themselves."""
    rows = market()

    assert len({text_of(row) for row in rows}) >= 0.97 * len(rows)


def test_siblings_share_more_words_than_other_campaigns_of_the_kind() -> None:
    """A plain text match finds the same campaign rather than others."""
    rows = [row for row in market() if plainly_written(row) and row["locale"] == "en"]
    sets = [(row["campaign"], row["kind"], set(tokens(text_of(row)))) for row in rows[:400]]
    same: list[float] = []
    other: list[float] = []
    for (campaign, kind, one), (other_campaign, other_kind, two) in itertools.combinations(sets, 2):
        if kind == other_kind:
            (same if campaign == other_campaign else other).append(len(one & two) / len(one | two))

    assert sum(same) / len(same) > 2 * sum(other) / len(other)


def form(row: Row) -> list[float]:
    """Return what is not goods: lengths, punctuation, sellers, pictures, hours."""
    text = text_of(row)
    kinds = Counter(unicodedata.category(char) for char in text)
    return [
        len(row["title"]),
        len(row["description"]),
        row["description"].count("\n"),
        *(text.count(mark) for mark in ".,!?:-+*/|@$&()。，、！\u200b"),
        *(kinds[name] for name in ("Nd", "Lu", "So")),
        len(re.findall("[\u0400-\u04ff]", text)),
        len(re.findall(r"\b\w\b", text)),
        len(re.findall(r"[a-z]\d[a-z]", text)),
        len(row["images"]),
        len(row["seller"]),
        int(row["version"]),
        float(row["status"] == "sold"),
        float(row["locale"] == "zh"),
        float(row["updated_at"][11:13]),
    ]


def boilerplate(row: Row) -> list[float]:
    """Return which shared sentences the listing uses."""
    text = text_of(row)
    return [float(sentence in text) for locale in ("en", "zh") for sentence in sentences(locale)]


@cache
def sentences(locale: str) -> tuple[str, ...]:
    ordinary = read_yaml(f"ordinary.{locale}")
    return tuple(text for part in ("condition", "shipping", "payment", "closing") for text in ordinary[part])


@pytest.mark.parametrize("features", [form, boilerplate])
def test_form_and_boilerplate_do_not_tell_prohibited_listings(features: Any) -> None:
    """A classifier that sees all but the goods stays near chance on campaigns that it has not seen."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import roc_auc_score

    known, unseen = market(Half.LEARN, 1), market(Half.JUDGE, 2)
    model = HistGradientBoostingClassifier(max_iter=40, max_leaf_nodes=8, random_state=0)
    model.fit([features(row) for row in known], [row["toxic"] for row in known])
    scores = model.predict_proba([features(row) for row in unseen])[:, 1]

    assert roc_auc_score([row["toxic"] for row in unseen], scores) < 0.6


def test_memory_stays_flat() -> None:
    """Ten times as many listings take about the same memory."""

    def peak(count: int) -> int:
        tracemalloc.start()
        for _ in generate(count, half=Half.JUDGE, seed=1):
            pass
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    assert peak(50_000) < 1.3 * peak(5_000)


def test_impossible_shares_are_refused() -> None:
    """The error says which numbers cannot be."""
    with pytest.raises(BadInputError, match=r"0\.97 prohibited"):
        generate(10, half=Half.JUDGE, seed=1, prohibited=0.97)
    assert list(generate(0, half=Half.JUDGE, seed=1)) == []
