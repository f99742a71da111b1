"""What a query would find is told from known flags and random listings, by hand."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qexplorer import foresight as foresight_module
from qexplorer.foresight import Foreseen, Foresight, by_foresight, tensors_of
from qexplorer.near_duplicates import terms
from qexplorer.normalise import normalise
from qexplorer.triage import KnownFlag, open_triage, train_triage

FLAGS = ["zaza carts fresh", "zaza carts new", "lean drank", "飞行员叶子"]
CAMPAIGNS = [0, 0, 2, 3]
OTHERS = ["garden carts", "fresh bread", "new bike", "old bike"]


def foresight(total: int = 4) -> Foresight:
    return Foresight(tensors_of(FLAGS, CAMPAIGNS, OTHERS, total))


def test_all_words_must_match() -> None:
    """As in a search; Chinese by pairs of characters."""
    assert foresight().foresee("zaza carts") == Foreseen(campaigns=frozenset({0}), flags=2, others=0)
    assert foresight().foresee("carts") == Foreseen(campaigns=frozenset({0}), flags=2, others=1)
    assert foresight().foresee("zaza lean") == Foreseen()
    assert foresight().foresee("叶子") == Foreseen(campaigns=frozenset({3}), flags=1, others=0)
    assert foresight().foresee("") == Foreseen()


def test_flags_of_another_policy_are_false_hits() -> None:
    """What a reviewer of this policy would see in vain; a policy without flags is served by all."""
    model = Foresight(tensors_of(FLAGS, CAMPAIGNS, [], 0, policies=["drugs", "drugs", "scam", "scam"]))
    assert model.foresee("zaza", "drugs") == Foreseen(campaigns=frozenset({0}), flags=2, others=0)
    assert model.foresee("zaza", "scam") == Foreseen(campaigns=frozenset(), flags=0, others=2)
    assert model.foresee("zaza", "escort").flags == 2


def test_a_sample_stands_for_all() -> None:
    """One of four random listings of a thousand stands for 250."""
    assert foresight(1000).foresee("bike").others == 500


def test_gain_is_new_campaigns_within_a_page_less_the_load() -> None:
    """A query that matches ten times a page shows a tenth of what it matches."""
    seen = Foreseen(campaigns=frozenset({1, 2}), flags=60, others=540)
    assert seen.gain(set()) == pytest.approx(2 * 0.1 - 60 * 0.03)
    assert Foreseen(campaigns=frozenset({1, 2}), flags=2).gain({1}) == 1.0


def test_order_is_greedy_over_campaigns_then_by_weight() -> None:
    """The second query is the one that adds most to the first; those that add nothing come last, by weight."""
    most = Foreseen(campaigns=frozenset({1, 2, 3}), flags=3)
    same = Foreseen(campaigns=frozenset({1, 2}), flags=2)
    other = Foreseen(campaigns=frozenset({4}), flags=1)
    assert by_foresight([Foreseen(), same, other, most], [0.5, 0.1, 0.2, 0.3], [False] * 4) == [3, 2, 0, 1]


def test_guesses_are_last_whatever_their_weight() -> None:
    """Among those that add nothing; the heaviest guess first."""
    most = Foreseen(campaigns=frozenset({1}), flags=1)
    order = by_foresight([Foreseen(), Foreseen(), Foreseen(), most], [9.0, 0.1, 8.0, 0.0], [True, False, True, False])
    assert order == [3, 1, 0, 2]


@given(
    st.lists(st.frozensets(st.integers(0, 5), max_size=4), max_size=8),
    st.lists(st.floats(-5, 5), min_size=8, max_size=8),
)
def test_every_query_keeps_a_place(found: list[frozenset[int]], weights: list[float]) -> None:
    """None is lost and none is doubled."""
    foreseen = [Foreseen(campaigns=names, flags=len(names)) for names in found]
    assert sorted(by_foresight(foreseen, weights[: len(found)], [not names for names in found])) == list(
        range(len(found))
    )


def test_the_artefact_of_a_triage_has_it(tmp_path: Path) -> None:
    """Near-duplicates are one campaign, and no word of a text is in the file."""
    flags = [f"zaza carts number{n // 2} same words here{n % 2}" for n in range(40)]
    train_triage(
        [KnownFlag(text=text) for text in flags],
        [f"garden chair{n} wood{n}" for n in range(60)],
        tmp_path / "t.safetensors",
    )
    triage = open_triage(tmp_path / "t.safetensors")
    assert triage is not None
    (zaza, garden) = triage.foresee(["zaza", "garden"])
    assert zaza.flags == 40
    assert 0 < len(zaza.campaigns) <= 40
    assert garden.flags == 0
    assert garden.others == 60
    assert triage.siblings("zaza brand", 3)


def test_siblings_are_spans_of_near_flags_that_several_campaigns_have() -> None:
    """Not the text's own, nothing of a flag that shares no word, nothing that promises loss; what adds most first."""
    flags = ["zaza carts", "zaza carts gas", "zaza gas drank", "other lean", "more lean"]
    model = Foresight(tensors_of(flags, [0, 1, 2, 3, 4], ["garden gas"], 400))
    assert model.siblings("zaza today", 5) == ["carts", "zaza gas", "zaza carts"]
    assert model.siblings("zaza today", 1) == ["carts"]
    assert model.siblings("unknown words", 5) == []


def test_a_span_of_one_poster_is_nobodys_sibling() -> None:
    """Two campaigns have both words, but the same people posted both: nobody else has the word."""
    flags = ["zaza carts qrx", "zaza gas qrx", "zaza carts lean"]
    model = Foresight(tensors_of(flags, [0, 1, 2], [], 0, posters=[0, 0, 2]))
    assert model.siblings("zaza today", 5) == ["carts", "zaza carts"]
    assert "qrx" in Foresight(tensors_of(flags, [0, 1, 2], [], 0)).siblings("zaza today", 5)


def test_siblings_of_a_known_flag_are_not_its_own_campaign() -> None:
    """A flag that is among the known ones already is told what others say, as one that is new would be."""
    flags = ["zaza today", "zaza today carts", "zaza gas", "more gas", "other carts"]
    model = Foresight(tensors_of(flags, [0, 0, 1, 2, 3], [], 0))
    assert model.siblings("zaza today", 5) == ["gas"]
    assert set(model.siblings("zaza tomorrow", 5)) == {"gas", "carts"}


def test_siblings_of_chinese_are_pairs_and_runs_of_four() -> None:
    """Pairs of characters are what Chinese has for words, and much of it says something only with four."""
    model = Foresight(tensors_of(["新货上头电子烟油", "上头电子烟油到货", "二手自行车"], [0, 1, 2], [], 0))
    found = model.siblings("上头电子", 9)
    assert {"子烟", "烟油", "电子烟油"} <= set(found)
    assert {len(span) for span in found} == {2, 4}
    assert not any("自行" in span for span in found)


def test_siblings_are_of_the_same_policy() -> None:
    """Flags of another policy, however near, do not take the places of those whose words are looked for."""
    flags = ["zaza carts fresh", "zaza carts new", *(f"zaza today fullz bank{n}" for n in range(12))]
    policies = ["drugs", "drugs", *(["scam"] * 12)]
    model = Foresight(tensors_of(flags, list(range(14)), [], 0, policies=policies))
    assert set(model.siblings("zaza today", 5, "drugs")) == {"carts", "zaza carts"}
    assert set(model.siblings("zaza today", 5, "scam")) == {"fullz", "today fullz"}


def test_what_one_campaign_says_stays_hashed() -> None:
    """Nor are numbers kept that could be a contact, however many campaigns have them."""
    flags = [f"zaza name{n} call 0791112345{n % 2} or 555-12-34 or 079 1112 or zaza 79" for n in range(4)]
    data = b"".join(tensor.tobytes() for tensor in tensors_of(flags, [0, 1, 2, 3], [], 0).values())
    assert b"zaza" in data
    assert b"zaza 79" in data
    assert not any(part in data for part in (b"name1", b"0791112345", b"555-12-34", b"079 1112"))


def test_of_many_flags_those_of_many_campaigns_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of each before a second of any, for thousands may be one seller's; and the last ones, for words change."""
    monkeypatch.setattr(foresight_module, "MOST_FLAGS", 3)
    flags = ["gone", "zaza a", "zaza b", "zaza c", "lean", "drank"]
    model = Foresight(tensors_of(flags, [0, 1, 1, 1, 4, 5], [], 0))
    kept = {word: model.foresee(word).flags for word in ("gone", "zaza", "a", "b", "c", "lean", "drank")}
    assert kept == {"gone": 0, "zaza": 1, "a": 0, "b": 0, "c": 1, "lean": 1, "drank": 1}


def test_a_whole_text_is_foreseen_by_the_page_that_it_fills() -> None:
    """The most alike come first; what is behind the page of sixty is not found, be it flags or other listings."""
    others = ["carts garden", *(f"garden chair{n}" for n in range(9))]

    def model(flags: int) -> Foresight:
        return Foresight(tensors_of([f"zaza carts fresh{n}" for n in range(flags)], list(range(flags)), others, 100))

    few = model(40).foresee_text("zaza carts")
    assert (len(few.campaigns), few.flags, few.others) == (40, 40, 10)
    many = model(70).foresee_text("zaza carts")
    assert (len(many.campaigns), many.flags, many.others) == (60, 60, 0)
    garden = model(40).foresee_text("garden chair1 carts")
    assert (garden.flags, garden.others) == (40, 20)
    assert model(40).foresee_text("nothing known") == Foreseen()


def test_what_is_more_like_a_text_takes_its_page_first() -> None:
    """Three random listings, of which each stands for ten, before the flags that share one word of three."""
    flags = [f"zaza brand{n}" for n in range(70)]
    others = [f"zaza strong garden number{n}" for n in range(3)]
    seen = Foresight(tensors_of(flags, list(range(70)), others, 30)).foresee_text("zaza strong garden")
    assert (seen.flags, seen.others) == (30, 30)


def test_a_whole_text_finds_flags_of_another_policy_in_vain() -> None:
    """As a query does."""
    model = Foresight(tensors_of(FLAGS, CAMPAIGNS, [], 0, policies=["drugs", "drugs", "scam", "scam"]))
    assert model.foresee_text("zaza lean", "drugs") == Foreseen(campaigns=frozenset({0}), flags=2, others=1)


def test_a_text_is_as_familiar_as_its_words_weigh_that_two_campaigns_have() -> None:
    """Of three flags two have `zaza`: ln(1 + 3 / 3); one has `lean`: ln(1 + 3 / 2); none has `bong`: ln(1 + 3)."""
    model = Foresight(tensors_of(["zaza carts", "zaza oil", "lean oil"], [0, 1, 1], [], 0, policies=["a", "a", "b"]))
    ln = math.log
    assert model.familiarity("zaza bong", "a") == pytest.approx(ln(2) / (ln(2) + ln(4)))
    assert model.familiarity("lean zaza", "a") == pytest.approx(ln(2) / (ln(2) + ln(2.5)))
    assert model.familiarity("zaza zaza", "a") == 1.0
    assert model.familiarity("zaza", "b") == 0.0
    assert model.familiarity("") == 0.0


@given(st.lists(st.text(max_size=30), min_size=1, max_size=6))
def test_no_text_breaks_what_is_kept_of_flags(texts: list[str]) -> None:
    """Whatever people write: each flag foresees itself."""
    plain = [normalise(text) for text in texts]
    model = Foresight(tensors_of(plain, list(range(len(plain))), plain, len(plain)))
    for text in plain:
        model.siblings(text, 5)
        assert model.foresee_text(text).flags >= bool(terms(text))
