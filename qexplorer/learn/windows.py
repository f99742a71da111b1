"""Every short run of words of a listing: what a model could have written for it or for its siblings."""

import re
from collections.abc import Sequence

from qexplorer.grams import PLACEHOLDER
from qexplorer.guard import BANAL
from qexplorer.normalise import normalise
from qexplorer.redact import redact
from qexplorer.words import is_han, tokens

# A run over the end of a phrase is an accident of this one text.
PAUSE = re.compile(r"[\n.,;:!?()\[\]|/]+(?=\s|$)|[\n;!?()\[\]|，。；：！？、（）【】]+|\s[-–—*+&]\s")
# Numbers of five digits and more are addresses, codes and phones that no redaction knew.
NUMBER = re.compile(r"\d{5}|\d[\d\s-]{6}\d")
MOST_WORDS = 3
HAN_SIZES = (2, 3, 4)


def windows(text: str) -> list[str]:
    """Return the normalised runs of one to three words, and of two to four Han characters, in order of the text.

    Runs begin and end with a telling word. Personal data is left out, and no run reaches over it.
    """
    found: dict[str, None] = {}
    for phrase in PAUSE.split(PLACEHOLDER.sub("\n", redact(text))):
        words = tokens(phrase)
        for start in range(len(words)):
            for stop in range(start + 1, min(start + MOST_WORDS, len(words)) + 1):
                if _is_query(words[start:stop]):
                    found[" ".join(words[start:stop])] = None
        for run in filter(is_han, words):
            for size in HAN_SIZES:
                found |= dict.fromkeys(run[start : start + size] for start in range(len(run) - size + 1))
    normal = (normalise(run) for run in found)
    return list(dict.fromkeys(run for run in normal if run and not NUMBER.search(run)))


def _is_query(words: Sequence[str]) -> bool:
    if any(map(is_han, words)) or not (_tells(words[0]) and _tells(words[-1])):
        return False
    return len(words) > 1 or (len(words[0]) > 3 and not words[0].isdigit())


def _tells(word: str) -> bool:
    return word not in BANAL and len(word) > 1
