import re
from collections.abc import Iterator
from typing import Any

import pytest

from qexplorer.marketplace.words import FOLDER, LOCALES, Half, load_words, read_yaml
from qexplorer.words import tokens

HAN = re.compile("[\u4e00-\u9fff]")


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)
    elif isinstance(value, str):
        yield value


@pytest.mark.parametrize("half", Half)
@pytest.mark.parametrize("locale", LOCALES)
def test_each_half_is_rich_in_both_languages(half: Half, locale: str) -> None:
    """Each kind has at least 24 slang terms, twelve products and twelve look-alikes, none of them twice."""
    kinds = load_words(half, locale).kinds

    assert {kind.kind for kind in kinds} == {"drugs", "weapons", "counterfeit", "scam", "wildlife", "escort"}
    for kind in kinds:
        assert len(set(kind.slang)) == len(kind.slang) >= 24
        assert len(set(kind.products)) == len(kind.products) >= 12
        assert len(set(kind.alike[0].names)) >= 12


def test_english_halves_share_ordinary_words_only() -> None:
    """Each word that both English halves use stands in ordinary.en.yaml, as `common` or in everyday use."""
    halves = []
    for half in Half:
        own = read_yaml(f"{half}.en")
        for kind in own["kinds"].values():
            for categories in (kind, kind["alike"]):
                del categories["categories"]
        del own["labels"]
        halves.append({token for text in strings(own) for token in tokens(re.sub(r"\{\w+\}", " ", text))})
    ordinary = {token for text in strings(read_yaml("ordinary.en")) for token in tokens(text)}

    assert (halves[0] & halves[1]) - ordinary == set()


def test_chinese_halves_do_not_contain_each_others_terms() -> None:
    """No term or sentence of one Chinese half is written anywhere in the other."""
    texts = {half: list(strings(read_yaml(f"{half}.zh")["kinds"])) for half in Half}
    categories = set(read_yaml("ordinary.zh")["categories"])

    for half, other in ((Half.LEARN, Half.JUDGE), (Half.JUDGE, Half.LEARN)):
        other_text = "|".join(text for text in texts[other] if HAN.search(text))
        crossed = [text for text in texts[half] if HAN.search(text) and text in other_text]
        assert [text for text in crossed if text not in categories] == []


def test_labels_of_the_halves_differ() -> None:
    """No shop's name can be made in both halves."""
    for locale in LOCALES:
        made = []
        for half in Half:
            first, last = load_words(half, locale).label_parts
            made.append({start + end for start in first for end in last})
        assert made[0].isdisjoint(made[1])


def test_every_chinese_character_has_a_sound() -> None:
    """The table of sounds covers the characters of what is sold, so that each name can be disguised by sound."""
    sounds = read_yaml("sounds.zh")
    missing = set()
    for half in Half:
        for kind in load_words(half, "zh").kinds:
            text = "".join((*kind.slang, *kind.products, *(name for goods in kind.alike for name in goods.names)))
            missing |= {char for char in text if HAN.match(char) and char not in sounds}

    assert missing == set()


def test_only_word_files_are_in_the_folder() -> None:
    """The words come from data files that the package ships."""
    assert sorted(path.name for path in FOLDER.iterdir()) == [
        "judge.en.yaml",
        "judge.zh.yaml",
        "learn.en.yaml",
        "learn.zh.yaml",
        "ordinary.en.yaml",
        "ordinary.zh.yaml",
        "sounds.zh.yaml",
    ]
