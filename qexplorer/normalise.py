"""One normal form for listings and queries, so that disguised words meet plain ones.

The same function runs when a listing is indexed and when a query is searched, and the raw fields are searched beside
it: where it folds two honest words into one, the cost is a false hit for the triage, never a miss.
"""

import re
import unicodedata
from functools import lru_cache

VERSION = "2"

# More passes than this have never been needed; the form is reached when a pass changes nothing.
MOST_PASSES = 8
# Letters that English hardly ever doubles: a longer run of one is emphasis, of the others it may hide a double.
SINGLE = "aiuhjkqvwxy"
LEET = str.maketrans(
    {"0": "o", "1": "i", "3": "e", "4": "a", "5": "s", "7": "t", "8": "b", "@": "a", "$": "s", "!": "i"}
)

_LETTER = r"[^\W\d_]"
# Four or more single letters with the same separator between them: `g u m m i e s`, `v.i.a.g.r.a`, `电 子 烟 油`.
_SPACED = re.compile(rf"(?<![^\W_]){_LETTER}(?:([ .\-_*·|/])[^\W_](?=\1|(?![^\W_]))){{1}}(?:\1[^\W_](?![^\W_])){{2,}}")
_REPEATED = re.compile(rf"({_LETTER})\1{{2,}}")
_SPACE = re.compile(r"\s+")
# A token that may be leet: letters, digits and the symbols that stand for letters.
_TOKEN = re.compile(r"[^\W_][^\W_@$!]*(?:[@$!][^\W_@$!]+)*")
# One disguising character, or the same one twice, between letters.
_INSIDE = re.compile(r"(?<=[a-z])([0134578@$!])\1?(?=[a-z])")
_LEADING = re.compile(r"^([0134578])(?=[a-z]{4})")


def normalise(text: str) -> str:
    """Return the text in normal form: idempotent, and never longer than a fixed multiple of what came in.

    Folded are: compatibility and full-width forms, case, invisible and control characters, emoji (to their names),
    letters spaced out or repeated, and, only inside tokens that mix scripts or letters with digits and symbols,
    homoglyphs and leet. `glock 19`, `20mg` and Russian text stay as they are.
    """
    # Two spaces end a spaced-out word, so these are joined before white space is folded.
    form = _fold(_join(unicodedata.normalize("NFKC", text).casefold()))
    for _ in range(MOST_PASSES):
        again = _fold(_undisguise(form))
        if again == form:
            break
        form = again
    return form


def _fold(text: str) -> str:
    """Fold characters: compatibility forms, case, emoji, invisible characters, white space."""
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    if not plain.isascii():
        plain = "".join(map(_visible, _emoji_words(plain)))
    elif not plain.isprintable():
        plain = "".join(map(_visible, plain))
    return _SPACE.sub(" ", unicodedata.normalize("NFKC", plain)).strip()


def _emoji_words(text: str) -> str:
    import emoji

    if not emoji.emoji_count(text):
        return text
    # The name of an emoji is set apart; what is left of a sequence that is none is dropped as invisible.
    named = emoji.replace_emoji(text, lambda _, data: f" {data['en'].strip(':').replace('_', ' ')} ")
    return unicodedata.normalize("NFKC", named).casefold()


@lru_cache(maxsize=8192)
def _visible(char: str) -> str:
    category = unicodedata.category(char)
    if category in {"Cf", "Cn", "Co", "Cs"} or "\ufe00" <= char <= "\ufe0f":
        return ""
    return " " if category in {"Cc", "Zl", "Zp", "Zs"} else char


def _join(text: str) -> str:
    return _SPACED.sub(lambda run: run[0].replace(run[1], ""), text)


def _undisguise(text: str) -> str:
    short = _REPEATED.sub(lambda run: run[1] if run[1] in SINGLE else run[1] * 2, _join(text))
    return _TOKEN.sub(lambda token: _token(token[0]), short)


@lru_cache(maxsize=8192)
def _token(token: str) -> str:
    if not token.isascii() and _mixes_scripts(token):
        token = "".join(map(_latin, token))
    if token.isalpha() or not token.isascii():
        return token
    token = _INSIDE.sub(lambda mark: mark[0].translate(LEET), token)
    return _LEADING.sub(lambda mark: mark[0].translate(LEET), token)


def _mixes_scripts(token: str) -> bool:
    """Whether Latin letters stand beside letters of another alphabet that has look-alikes of them."""
    letters = [char for char in token if char.isalpha()]
    latin = sum(1 for char in letters if char.isascii())
    return 0 < latin < len(letters)


@lru_cache(maxsize=8192)
def _latin(char: str) -> str:
    """Return the Latin letter that a letter of another alphabet looks like, or the letter itself."""
    from confusable_homoglyphs import confusables

    if char.isascii() or not char.isalpha():
        return char
    found = confusables.is_confusable(char, greedy=True, preferred_aliases=["latin"]) or []
    looks = [form["c"].casefold() for entry in found for form in entry["homoglyphs"]]
    return next((form for form in looks if len(form) == 1 and form.isascii() and form.isalpha()), char)
