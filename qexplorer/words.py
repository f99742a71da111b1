"""Words: how the project splits text into them, and how it counts them.

Chinese and Japanese write no spaces, so a run of their characters is one token, and two characters count
as one word.
"""

import re
import unicodedata
from functools import lru_cache

_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u3005\u3007\u3041-\u309f\u30a1-\u30ff\U00020000-\U0003134f"
_HAN_RUN = re.compile(f"[{_HAN}]+")
_JOINERS = ".'-"
# What the rules of `tokens` come to for ASCII text, which most text is: one scan where the general way takes ten.
_ASCII_WORD = re.compile(r"[a-z0-9]+(?:(?:['-]|(?<=[0-9])\.(?=[0-9]))[a-z0-9]+)*")
_APOSTROPHES = str.maketrans(dict.fromkeys("‘’ʼ`´", "'") | dict.fromkeys("‐‑‒–", "-"))


def tokens(text: str) -> tuple[str, ...]:
    """Split text into lower-case words; a run of Han or kana is one token.

    A word is made of letters, marks and digits, with single hyphens and apostrophes inside it and dots
    between digits. Compatibility characters are folded (NFKC) and invisible ones dropped.
    """
    if text.isascii():
        return tuple(_ASCII_WORD.findall(text.lower().replace("`", "'")))
    return _any_tokens(text)


def _any_tokens(text: str) -> tuple[str, ...]:
    """Split text of any script."""
    plain = unicodedata.normalize("NFKC", text).lower().translate(_APOSTROPHES)
    return tuple(part for word in _plain_words(plain) for part in _by_script(word))


def count_words(text: str) -> int:
    """Count words; every two characters of a Han run, or a last single one, are one word."""
    return sum((len(token) + 1) // 2 if _HAN_RUN.match(token) else 1 for token in tokens(text))


def is_han(token: str) -> bool:
    """Tell whether a token of `tokens` is a run of Han or kana."""
    return _HAN_RUN.match(token) is not None


def _plain_words(text: str) -> list[str]:
    kept = "".join(_mapped(char) for char in text)
    words: list[str] = []
    for piece in kept.split():
        words += [word for part in _split_joiners(piece).split() if (word := _trim(part))]
    return words


@lru_cache(maxsize=4096)
def _mapped(char: str) -> str:
    category = unicodedata.category(char)
    if category[0] == "L" or category in {"Nd", "Mn", "Mc"} or char in _JOINERS:
        return char
    return "" if category == "Cf" else " "


def _split_joiners(piece: str) -> str:
    """Put a space for each joiner that does not stand inside a word."""
    if not any(joiner in piece for joiner in _JOINERS):
        return piece
    chars = list(piece)
    for i, char in enumerate(chars):
        if char not in _JOINERS:
            continue
        before = piece[i - 1] if i else " "
        after = piece[i + 1] if i + 1 < len(piece) else " "
        inside = before.isdecimal() and after.isdecimal() if char == "." else before.isalnum() and after.isalnum()
        if not inside:
            chars[i] = " "
    return "".join(chars)


def _trim(word: str) -> str:
    """Drop marks that stand before any letter."""
    if word[:1].isalnum():
        return word
    for i, char in enumerate(word):
        if unicodedata.category(char)[0] != "M":
            return word[i:]
    return ""


def _by_script(word: str) -> list[str]:
    """Cut a word at the borders of its Han runs."""
    parts: list[str] = []
    end = 0
    for run in _HAN_RUN.finditer(word):
        parts += [word[end : run.start()].strip(_JOINERS), run.group()]
        end = run.end()
    return [trimmed for part in [*parts, word[end:].strip(_JOINERS)] if (trimmed := _trim(part))]
