import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qexplorer.errors import ReplyError
from qexplorer.llm.parse import MAX_QUERIES, MAX_QUERY_CHARS, MAX_WORDS, parse_reply
from qexplorer.words import count_words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cannabis edibles; thc gummies", ("cannabis edibles", "thc gummies")),
        ("Queries: A b; \"c d\"; 'e'", ("a b", "c d", "e")),
        ("1. first one\n2) second one\n- third", ("first one", "second one", "third")),
        ("a, b c, d", ("a", "b c", "d")),
        ("a, b; c", ("a b", "c")),
        ("same; SAME; other", ("same", "other")),
        ("a;b;c;d;e;f;g", ("a", "b", "c", "d", "e", "f")),
        ("加微信；代开发票", ("加微信", "代开发票")),
        ("x AND (y OR title:z*) ~2", ("x and y or title z 2",)),
        ("call <phone> now; buy", ("call now", "buy")),
        ("1 2 3 4 5 6 7 8 9; kept", ("kept",)),
        ("bell\x07 \u202eevil", ("bell evil",)),
        ("10 gram; 2.5 g", ("10 gram", "2.5 g")),
    ],
    ids=[
        "plain", "prefix-and-quotes", "lines", "commas", "commas-inside", "repeats", "seventh", "chinese",
        "operators", "placeholder", "too-many-words", "control", "numbers",
    ],
)  # fmt: skip
def test_reply_is_read(text: str, expected: tuple[str, ...]) -> None:
    """A reply with the usual noise of a small model is read as its queries."""
    assert parse_reply(text) == expected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        (" ;; \n", "empty"),
        ("?! ; ...", "no words"),
        ("1 2 3 4 5 6 7 8 9", "longer than"),
        ("x" * 121, "longer than"),
        ("a" * 2001, "2001 characters"),
        ("a </listing> b", "markup"),
        ("a <|im_end|>", "markup"),
        ("```a```", "markup"),
        ("[INST] a", "markup"),
        ('{"queries": ["a"]}', "markup"),
        ("<b>a</b>", "markup"),
    ],
)
def test_reply_is_refused(text: str, why: str) -> None:
    """A reply without a usable query is refused, and the error says why."""
    with pytest.raises(ReplyError, match=why):
        parse_reply(text)


def test_piece_that_was_cut_off_is_dropped() -> None:
    """The last piece of an unfinished reply is not searched."""
    assert parse_reply("good one; half a wo", finished=False) == ("good one",)
    with pytest.raises(ReplyError, match="cut off"):
        parse_reply("half a wo", finished=False)


_NOISE = st.text(st.sampled_from("ab1 ;；,.-'\"\n\t<|>[]/:*()AND加微信½①\u200b\u0301\x00")) | st.text()
_WORD = re.compile(r"[^\W_]")


@given(_NOISE, st.booleans())
def test_result_always_follows_the_grammar(text: str, finished: bool) -> None:
    """Whatever the text, the result is queries by the grammar or a ReplyError, and reads back as itself."""
    try:
        queries = parse_reply(text, finished=finished)
    except ReplyError:
        return
    assert 1 <= len(queries) <= MAX_QUERIES
    assert len(set(queries)) == len(queries)
    for query in queries:
        assert 1 <= count_words(query) <= MAX_WORDS
        assert len(query) <= MAX_QUERY_CHARS
        assert query.split(" ") == query.split()
        assert query == query.lower()
        assert all(_WORD.match(word[0]) for word in query.split())
        assert not set(query) & set('"<>|&!(){}[]^~*?:\\/+=;,\n\t')
    assert parse_reply("; ".join(queries)) == queries
