import pytest
from hypothesis import given
from hypothesis import strategies as st

from qexplorer.words import _any_tokens, count_words, is_han, tokens


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Cannabis Kisses - 12 pack", ("cannabis", "kisses", "12", "pack")),
        ("don't  X-Ray 1.5g v2.", ("don't", "x-ray", "1.5g", "v2")),
        ("--a--b'' .5 3..4", ("a", "b", "5", "3", "4")),
        ("加微信abc领取500元", ("加微信", "abc", "领取", "500", "元")),
        ("ｆｕｌｌ ①\u200b②", ("full", "12")),
        ("vi\u200bagra", ("viagra",)),
        ("हिन्दी", ("हिन्दी",)),
        ("a_b/c", ("a", "b", "c")),
        ("", ()),
    ],
    ids=[
        "plain",
        "joiners-inside",
        "joiners-outside",
        "han",
        "folded",
        "invisible",
        "marks",
        "other",
        "empty",
    ],
)
def test_tokens(text: str, expected: tuple[str, ...]) -> None:
    """Text is split into words, and Han runs are tokens of their own."""
    assert tokens(text) == expected


@pytest.mark.parametrize(
    ("text", "count"),
    [("two words", 2), ("微信", 1), ("加微信", 2), ("加微信 vip 12", 4), ("!", 0)],
    ids=["latin", "two-han", "three-han", "mixed", "none"],
)
def test_count_words(text: str, count: int) -> None:
    """Two Han characters count as one word, rounded up for each run."""
    assert count_words(text) == count


def test_is_han_tells_the_scripts_apart() -> None:
    """A token is either a Han run or not."""
    assert [is_han(token) for token in tokens("加微信abc")] == [True, False]


@given(st.text())
def test_tokens_are_stable(text: str) -> None:
    """Splitting the joined words again gives the same words."""
    words = tokens(text)
    assert tokens(" ".join(words)) == words


@given(st.text(alphabet=st.characters(max_codepoint=127)) | st.from_regex(r"[a-z0-9.'`\-_ ]{0,20}", fullmatch=True))
def test_ascii_text_is_split_as_any_other(text: str) -> None:
    """The short way for ASCII text gives what the general way gives."""
    assert tokens(text) == _any_tokens(text)
