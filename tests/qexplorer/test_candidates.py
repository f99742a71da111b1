"""What is proposed for one listing, in which order."""

from pathlib import Path

import pytest

from qexplorer.candidates import propose, spans
from qexplorer.llm.engine import Generation, Reply
from qexplorer.normalise import normalise
from qexplorer.search.backend import SearchKind
from qexplorer.testing import WordTriage
from qexplorer.triage import KnownFlag, open_triage, train_triage
from schemas import QuerySource

TEXT = "Purple zaza gummies for sale\nask the plug today, call 212-555-0147 or @zazaman"


def reply(*texts: str) -> Reply:
    sources = ["greedy", *["sample"] * (len(texts) - 1)]
    return Reply(
        generations=tuple(
            Generation(text=text, source=source)  # type: ignore[arg-type]
            for text, source in zip(texts, sources, strict=True)
        )
    )


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (("aaa bbb; ccc ddd", "eee fff; ccc ddd"), ["ccc ddd", "aaa bbb", "eee fff"]),
        (("aaa bbb; ccc ddd", "ccc ddd; aaa bbb; eee fff"), ["aaa bbb", "ccc ddd", "eee fff"]),
        (("aaa bbb; ccc ddd", "eee fff"), ["aaa bbb", "eee fff", "ccc ddd"]),
        (("ccc ddd; aaa eee", "aaa bbb"), ["aaa bbb", "aaa eee", "ccc ddd"]),
        (
            ("aaa ggg; ddd iii; eee fff", "aaa hhh; ddd jjj; eee fff; aaa ddd"),
            ["eee fff", "aaa ddd", "aaa ggg", "aaa hhh", "ddd iii", "ddd jjj"],
        ),
        (("aaa bbb", "ccc ddd", "ccc eee; aaa fff"), ["ccc ddd", "ccc eee", "aaa bbb", "aaa fff"]),
    ],
)
def test_what_more_generations_say_comes_first(texts: tuple[str, ...], expected: list[str]) -> None:
    """Two second places before one first; equals by place; words that two have said count, whole queries more."""
    made = propose(TEXT, normalise(TEXT), reply(*texts), contact_key=b"")
    words = [c.query.text for c in made.candidates if c.query.source in {QuerySource.GREEDY, QuerySource.SAMPLE}]
    assert words == expected


def test_every_source_is_on_record() -> None:
    """Contacts first, then the whole text, the model's and the lexical."""
    made = propose(TEXT, normalise(TEXT), reply("plug gummies"), contact_key=b"key")
    kinds = [candidate.query.source for candidate in made.candidates]
    assert kinds[:4] == [QuerySource.CONTACT, QuerySource.CONTACT, QuerySource.WHOLE_TEXT, QuerySource.GREEDY]
    assert QuerySource.LEXICAL in kinds


def test_without_a_triage_the_whole_text_is_searched_first() -> None:
    """Nothing says that a query finds more, and a text always finds something."""
    made = propose(TEXT, normalise(TEXT), reply("a1 b1; a2 b2"), contact_key=b"")
    assert made.candidates[0].kind is SearchKind.WHOLE_TEXT


@pytest.mark.parametrize(("having", "first"), [(2, ["zaza", SearchKind.WHOLE_TEXT]), (1, [SearchKind.WHOLE_TEXT])])
def test_the_whole_text_comes_before_the_first_query_that_promises_less(
    tmp_path: Path, having: int, first: list[object]
) -> None:
    """A word of twenty campaigns; the text, of which six have a word; one that adds two to the twenty.

    Where no word of the text is one of two known campaigns, all that these promise says nothing of it.
    """
    flags = [f"zaza brand{n} jar{n} " + ("runtz" if n % 2 else f"box{n}") for n in range(20)]
    flags += [f"{word} {word}{n}" for word in ("strong", "lemon", "haze") for n in range(having)]
    flags += ["runtz delta", "runtz epsilon"]
    train_triage(
        [KnownFlag(text=text) for text in flags],
        [f"garden chair{n} wood{n}" for n in range(40)],
        tmp_path / "t.safetensors",
    )
    triage = open_triage(tmp_path / "t.safetensors")
    text = "strong lemon haze tonight"
    made = propose(text, text, reply("zaza; runtz; lemon"), contact_key=b"", triage=triage)
    kinds = [each.text if each.kind is SearchKind.WORDS else each.kind for each in made.candidates]
    assert kinds[: len(first)] == first
    assert {"runtz", "lemon"} < set(kinds)


def test_the_whole_text_of_what_nothing_known_is_like_comes_first(tmp_path: Path) -> None:
    """Its queries promise nothing, and what it promises itself is a page of others."""
    flags = [f"zaza brand{n} jar{n}" for n in range(20)]
    train_triage(
        [KnownFlag(text=text) for text in flags],
        [f"strong garden chair{n} wood{n}" for n in range(90)],
        tmp_path / "t.safetensors",
    )
    text = "strong lemon garden tonight"
    triage = open_triage(tmp_path / "t.safetensors")
    made = propose(text, text, reply("lemon; garden"), contact_key=b"", triage=triage)
    assert made.candidates[0].kind is SearchKind.WHOLE_TEXT


def test_triage_weights_order_the_queries() -> None:
    """What triage finds promising is searched first, whoever proposed it."""
    triage = WordTriage(frozenset({"zaza"}))
    made = propose(TEXT, normalise(TEXT), reply("plug today"), contact_key=b"", triage=triage)
    words = [each.text for each in made.candidates if each.kind is SearchKind.WORDS]
    assert "zaza" in words[0]


def test_guesses_come_behind_what_the_listing_says() -> None:
    """Words that neither the listing nor anything known has are searched last."""
    triage = WordTriage(frozenset())
    made = propose(TEXT, normalise(TEXT), reply("runtz"), contact_key=b"", triage=triage)
    asked = [candidate.text for candidate in made.candidates if candidate.kind is SearchKind.WORDS]
    assert asked[-1] == "runtz"


def test_personal_data_never_becomes_a_query() -> None:
    """Contacts are searched by keyed hash; neither records nor lexical spans hold them."""
    made = propose(TEXT, normalise(TEXT), None, contact_key=b"key")
    for candidate in made.candidates:
        assert "0147" not in candidate.query.model_dump_json()
        assert "zazaman" not in candidate.query.model_dump_json()
    assert [c.query.text for c in made.candidates if c.kind is SearchKind.CONTACT] == ["same phone", "same handle"]
    without_key = propose(TEXT, normalise(TEXT), None, contact_key=b"")
    assert all(candidate.kind is not SearchKind.CONTACT for candidate in without_key.candidates)


def test_spans_do_not_overlap_and_leave_common_words_at_their_ends_out() -> None:
    """Each part of the text is in at most one span."""
    found = spans("purple zaza gummies for sale and strong lemon haze")
    words = [word for span in found for word in span.split()]
    assert len(words) == len(set(words))
    assert all(span.split()[0] not in {"for", "and", "sale"} for span in found)


def test_without_a_triage_long_words_are_preferred_to_long_spans() -> None:
    """Rare words are long: by the mean word, or every span would have three."""
    assert spans("red van overwhelming fentanyl")[0] == "overwhelming fentanyl"


def test_chinese_spans_are_cut_from_running_text() -> None:
    """Four characters are two words."""
    assert "上头电子" in spans("上头电子烟现货")


def test_a_listing_without_words_has_no_candidates() -> None:
    """Nothing is made of nothing."""
    assert propose("", "", None, contact_key=b"").candidates == ()
    assert propose("!!! ☎", normalise("!!!"), None, contact_key=b"").unparseable == 0


def test_a_query_costs_its_share_of_the_generation_that_said_it_first() -> None:
    """Six tokens for two queries are three each; a span of the text costs none; a repeat adds nothing."""
    greedy = Generation(text="aaa bbb; ccc ddd", source="greedy", logprobs=(-1.0,) * 6)
    sample = Generation(text="aaa bbb; eee fff", source="sample", logprobs=(-1.0,) * 8)
    made = propose(TEXT, normalise(TEXT), Reply(generations=(greedy, sample)), contact_key=b"")
    costs = {c.query.text: c.completion_tokens for c in made.candidates}
    assert [costs[name] for name in ("aaa bbb", "ccc ddd", "eee fff")] == [3.0, 3.0, 4.0]
    assert all(c.completion_tokens == 0 for c in made.candidates if c.query.source is QuerySource.LEXICAL)


def test_without_log_probabilities_the_generations_share_the_replys_tokens() -> None:
    """Two generations, ten tokens in all: five for the one query of each."""
    both = tuple(Generation(text=text, source="sample") for text in ("aaa bbb", "ccc ddd"))
    made = propose(TEXT, normalise(TEXT), Reply(generations=both, completion_tokens=10), contact_key=b"")
    said = [c.completion_tokens for c in made.candidates if c.query.source is QuerySource.SAMPLE]
    assert said == [5.0, 5.0]


def test_with_a_triage_single_words_are_spans_too() -> None:
    """The word that triage knows, alone and not in the longest run that holds it: that would find little."""
    weigh = WordTriage(frozenset({"zaza"})).weigh
    assert spans("selling zaza carts tonight", weigh)[0] == "zaza"
    assert all(" " in span for span in spans("selling zaza carts tonight"))


def test_words_of_near_flags_are_candidates_too() -> None:
    """What siblings call it, where a triage knows siblings; without one only the text's own."""
    triage = WordTriage(frozenset({"zaza", "lean"}))
    made = propose("zaza carts", "zaza carts", None, contact_key=b"", triage=triage).candidates
    asked = [each.normalised for each in made]
    assert asked[:2] == ["zaza", "lean"]
    plain = propose("zaza carts", "zaza carts", None, contact_key=b"").candidates
    assert [each.normalised for each in plain] == ["zaza carts"]
