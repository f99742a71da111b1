"""The normal form: disguised words meet plain ones, honest words stay themselves."""

import gzip
import json
import os
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qexplorer.normalise import normalise

SHARED = Path(os.environ.get("QEXPLORER_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
DISGUISES = " .-_*\u200b\u200d\ufe0f0134578@$!|/aаοеіAbmе̄ĀßİＡ１🍁👨‍👩‍👧中文电子烟ﷺ½™\n\t\x00"


@pytest.mark.parametrize(
    ("disguised", "plain"),
    [
        pytest.param("ＧＵＭＭＩＥＳ", "gummies", id="full width"),
        pytest.param("gum\u200bmi\u00ades", "gummies", id="invisible characters"),
        pytest.param("gum\u0000mies\tnow", "gum mies now", id="control characters"),
        pytest.param("g u m m i e s", "gummies", id="spaced out"),
        pytest.param("v.i.a.g.r.a", "viagra", id="dotted"),
        pytest.param("v*i*a*g*r*a", "viagra", id="starred"),
        pytest.param("e x t a s y   p i l l s", "extasy pills", id="two spaced words"),
        pytest.param("电 子 烟 油", "电子烟油", id="spaced Chinese"),
        pytest.param("coooool", "cool", id="a repeated letter that may be double"),
        pytest.param("viiiiagra", "viagra", id="a repeated letter that is not"),
        pytest.param("сocаine", "cocaine", id="Cyrillic inside a Latin word"),
        pytest.param("c0ca1ne", "cocaine", id="leet inside a word"),
        pytest.param("w33d", "weed", id="double leet"),
        pytest.param("5moke", "smoke", id="leet in front"),
        pytest.param("x-4-n-a-x", "xanax", id="spaced leet"),
        pytest.param("m$th b@d", "msth bad", id="symbols inside words"),
        pytest.param("🍁 plug", "maple leaf plug", id="emoji"),
    ],
)
def test_disguises_are_folded(disguised: str, plain: str) -> None:
    """A disguised word has the form of the plain one."""
    assert normalise(disguised) == plain


@pytest.mark.parametrize(
    "text",
    [
        "glock 19", "iphone14 pro 128gb", "20mg", "rtx3080ti", "mp3", "h2o", "b2b", "1000000", "привет мир", "κόσμε",
        "a b c", "s m l xl", "u.s.a. u.k.", "$20", "@handle", "2023-10-11", "0.5", "二手 手机", "full-size",
    ],
)  # fmt: skip
def test_honest_text_stays_as_it_is(text: str) -> None:
    """Model numbers, units, foreign alphabets and short lists are no disguises."""
    assert normalise(text) == text


@given(st.text(max_size=200) | st.text(alphabet=DISGUISES, max_size=60))
def test_the_form_is_stable(text: str) -> None:
    """Normalising twice is normalising once: index and query time agree whatever happened before."""
    assert normalise(normalise(text)) == normalise(text)


@given(st.text(max_size=200) | st.text(alphabet=DISGUISES, max_size=60))
def test_the_form_does_not_grow_without_bound(text: str) -> None:
    """The longest growth is an emoji's name or a ligature: a constant for each character."""
    assert len(normalise(text)) <= 80 * len(text)


@given(st.text(max_size=100))
def test_the_form_has_no_invisible_characters(text: str) -> None:
    """Nothing is left that a reader cannot see but single spaces."""
    form = normalise(text)
    assert "  " not in form
    assert form == form.strip()
    assert all(char.isprintable() for char in form), [hex(ord(char)) for char in form if not char.isprintable()]


@pytest.mark.parametrize("name", ["market-en", "sms-en", "sms-zh"])
def test_few_honest_words_collide(name: str) -> None:
    """On real corpora hardly any two different words get the same form beyond case, width and accents."""
    path = SHARED / f"{name}.jsonl.gz"
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    forms: dict[str, set[str]] = defaultdict(set)
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            for word in json.loads(line)["text"].casefold().split():
                if word.isalnum():
                    forms[normalise(word)].add(word)
    clashes = {form: words for form, words in forms.items() if len(words) > 1}
    share = sum(len(words) - 1 for words in clashes.values()) / sum(len(words) for words in forms.values())
    print(f"{name}: {share:.2%} of {len(forms)} word forms collide, e.g. {list(clashes.items())[:3]}")  # noqa: T201
    assert share < 0.02
