import random

import pytest

from qexplorer.marketplace.disguise import ZERO_WIDTH, disguise

SOUNDS = {"大": "d达", "麻": "m马码", "糖": "t唐"}


@pytest.mark.parametrize("name", ["gummies", "plug and play cart", "420", "大麻糖", "k仔", "gfe"])
def test_a_disguised_name_always_differs(name: str) -> None:
    """Whatever is drawn, something is hidden."""
    for seed in range(200):
        assert disguise(name, ("🔥",), SOUNDS, random.Random(seed)) != name


def test_latin_names_are_hidden_in_every_way() -> None:
    """Digits, signs, Cyrillic letters, gaps, zero-width characters, emoji and swaps all occur."""
    seen = {disguise("space cakes", ("🔥",), {}, random.Random(seed)) for seed in range(400)}

    assert "5p4c3 c4k35" in seen
    assert "$p@ce c@ke$" in seen
    assert "s\u0440\u0430\u0441\u0435 cakes" in seen
    assert "🔥 cakes" in seen
    assert "sapce cakes" in seen
    assert any("s.p.a.c.e" in text for text in seen)
    assert any(ZERO_WIDTH in text for text in seen)


def test_chinese_names_are_hidden_by_sound_and_initials() -> None:
    """Chinese gets initials of pinyin, characters of the same sound, emoji, gaps and swaps."""
    seen = {disguise("大麻糖", ("🔥",), SOUNDS, random.Random(seed)) for seed in range(400)}

    assert {"dmt", "达马唐", "🔥糖", "大.麻.糖"} <= seen
    assert f"大{ZERO_WIDTH}麻糖" in seen
