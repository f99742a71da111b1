"""The guard: what may be searched, decided before a search is spent."""

from collections.abc import Sequence

from qexplorer.near_duplicates import jaccard, terms
from qexplorer.words import count_words, is_han

MOST_WORDS = 8
NEAR_COPY = 0.8
OPERATORS = frozenset('"*?~^|&!(){}[]<>/\\+=:')
# Words that say nothing of a listing: a query of these alone would match everything.
BANAL = frozenset(
    """
    a an and any are as at be buy by for free from good great have how i in is it listing me my new nice no not of on
    or our please price query quality sale search sell selling ship shipping so that the this to used very we with you
    your item items best cheap original condition
    about after again also although among because been before being between both but can could did do does each either
    else even ever every few had has having he her here him his if into its may might more most much nor off other
    others our out own per rather she should since some such than their them then there these they those though through
    too under until upon us very was were what when where whether which while who whom whose why will with would yet
    的 了 和 是 在 有 我 你 全新 二手 出售 转让
    """.split()
)


def refusal(normalised: str, accepted: Sequence[frozenset[str]]) -> str:
    """Say why a query must not be searched, or return an empty text.

    `accepted` are the word sets of the candidates before it, of which it must be no near-copy.
    """
    if not OPERATORS.isdisjoint(normalised):
        return "holds an operator"
    words = terms(normalised)
    size = count_words(normalised)
    if not words:
        return "has no words"
    if size > MOST_WORDS:
        return f"has {size} words, more than {MOST_WORDS}"
    distinct = frozenset(words)
    # Of Chinese one character may tell, beside another word: 货 in A货, 粉 in K粉.
    telling = {
        word for word in distinct - BANAL if not word.isdigit() and (len(word) > 1 or (is_han(word) and len(words) > 1))
    }
    if not telling:
        return "has only banal words"
    for other in accepted:
        if jaccard(distinct, other) >= NEAR_COPY:
            return "is a near-copy of another candidate"
    return ""
