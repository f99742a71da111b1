"""How sellers hide words: other digits, other letters, gaps, invisible characters, emoji, swaps, same sounds."""

import random
from collections.abc import Callable, Mapping, Sequence

ZERO_WIDTH = "\u200b"
_LEET = str.maketrans("aeiostbg", "43105789")
_SIGNS = str.maketrans("aiso", "@!$0")
# Latin letters and the Cyrillic ones that look like them.
_HOMOGLYPHS = str.maketrans("aceiopxyABCEHKMOPTX", "асеіорхуАВСЕНКМОРТХ")
_GAPS = (" ", ".", "-", "*", "_")


def disguise(name: str, emoji: Sequence[str], same_sound: Mapping[str, str], draw: random.Random) -> str:
    """Return the name with one way of hiding applied to some of its words.

    `same_sound` is that of `Words`. A name of two characters or more always changes.
    """
    if not name.isascii():
        hidden = draw.choice(_CHINESE)(name, emoji, same_sound, draw)
    else:
        words = name.split()
        way = draw.choice(_LATIN)
        longest = max(range(len(words)), key=lambda index: len(words[index]))
        # Two emoji in a row would leave nothing to recognise.
        others = 0.0 if way is _as_emoji else 0.4
        hidden = " ".join(
            way(word, emoji, draw) if index == longest or draw.random() < others else word
            for index, word in enumerate(words)
        )
    return hidden if hidden != name else _gaps(name, emoji, draw)


def _leet(word: str, _emoji: Sequence[str], draw: random.Random) -> str:
    return word.lower().translate(_LEET if draw.random() < 0.6 else _SIGNS)


def _homoglyphs(word: str, _emoji: Sequence[str], _draw: random.Random) -> str:
    return word.translate(_HOMOGLYPHS)


def _gaps(word: str, _emoji: Sequence[str], draw: random.Random) -> str:
    return draw.choice(_GAPS).join(word.replace(" ", ""))


def _zero_width(word: str, _emoji: Sequence[str], draw: random.Random) -> str:
    if len(word) < 2:
        return word + ZERO_WIDTH
    at = 1 + int(draw.random() * (len(word) - 1))
    return word[:at] + ZERO_WIDTH + word[at:]


def _as_emoji(_word: str, emoji: Sequence[str], draw: random.Random) -> str:
    return draw.choice(emoji)


def _swap(word: str, _emoji: Sequence[str], draw: random.Random) -> str:
    if len(word) < 4:
        return word[::-1]
    at = 1 + int(draw.random() * (len(word) - 3))
    return word[:at] + word[at + 1] + word[at] + word[at + 2 :]


def _initials(name: str, _emoji: Sequence[str], same_sound: Mapping[str, str], _draw: random.Random) -> str:
    return "".join(same_sound[char][0] if char in same_sound else char for char in name)


def _same_sound(name: str, _emoji: Sequence[str], same_sound: Mapping[str, str], draw: random.Random) -> str:
    return "".join(
        draw.choice(same_sound[char][1:]) if len(same_sound.get(char, "")) > 1 and draw.random() < 0.6 else char
        for char in name
    )


def _han_emoji(name: str, emoji: Sequence[str], _same: Mapping[str, str], draw: random.Random) -> str:
    at = int(draw.random() * max(1, len(name) - 1))
    return f"{name[:at]}{draw.choice(emoji)}{name[at + 2 :]}"


def _plain(way: Callable[[str, Sequence[str], random.Random], str]) -> "_HanWay":
    return lambda name, emoji, _same, draw: way(name, emoji, draw)


_HanWay = Callable[[str, Sequence[str], Mapping[str, str], random.Random], str]
_LATIN = (_leet, _leet, _homoglyphs, _gaps, _zero_width, _as_emoji, _swap)
_CHINESE: tuple[_HanWay, ...] = (
    _initials,
    _same_sound,
    _same_sound,
    _han_emoji,
    _plain(_gaps),
    _plain(_zero_width),
    _plain(_swap),
)
