"""Pairs of replies to prefer one of: what the search system itself found better.

Of a seed's replies the chosen one is the best, the rejected one the nearest to two standard deviations below their
mean, not the worst, which is an accident more often than a lesson.
"""

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from qexplorer.near_duplicates import jaccard, terms

FEWEST_REPLIES = 4
LEAST_MARGIN = 0.5
MOST_ALIKE = 0.7
MOST_LONGER = 2.0
MOST_PAIRS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Valued:
    """A reply as it would be written, with its reward and its queries."""

    text: str
    value: float
    queries: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A chosen and a rejected reply to one seed."""

    flag_id: str
    chosen: Valued
    rejected: Valued


def pairs(flag_id: str, replies: Sequence[Valued], dropped: Counter[str], most: int = MOST_PAIRS) -> list[Pair]:
    """Return up to `most` pairs of a seed's replies, and count in `dropped` why others were none.

    The margin is at least half a standard deviation; the token sets overlap by at most 0.7, for pairs that are alike
    push both down; neither is more than twice as long as the other, and the rejected one's queries have no more words:
    what finds something is short, and would teach to write shorter before all else. A text is in one pair at most.
    """
    distinct = list({reply.text: reply for reply in replies}.values())
    if len(distinct) < FEWEST_REPLIES:
        dropped["too few different replies"] += 1
        return []
    values = [reply.value for reply in replies]
    deviation = statistics.pstdev(values)
    if deviation == 0:
        dropped["all replies are worth the same"] += 1
        return []
    aim = statistics.fmean(values) - 2 * deviation
    made: list[Pair] = []
    left = sorted(distinct, key=lambda reply: -reply.value)
    while len(made) < most and len(left) > 1:
        chosen, rest = left[0], sorted(left[1:], key=lambda reply: abs(reply.value - aim))
        fitting = [(reply, _flaw(chosen, reply, deviation)) for reply in rest]
        rejected = next((reply for reply, flaw in fitting if not flaw), None)
        if rejected is None:
            dropped.update([fitting[0][1]])
            break
        made.append(Pair(flag_id=flag_id, chosen=chosen, rejected=rejected))
        left = [reply for reply in left if reply not in {chosen, rejected}]
    return made


def _flaw(chosen: Valued, rejected: Valued, deviation: float) -> str:
    if not chosen.queries or chosen.value - rejected.value < LEAST_MARGIN * deviation:
        return "the margin is too small"
    one, other = frozenset(terms(chosen.text)), frozenset(terms(rejected.text))
    if jaccard(one, other) > MOST_ALIKE:
        return "the replies are too alike"
    sizes = sorted((len(chosen.text), max(1, len(rejected.text))))
    if sizes[1] > MOST_LONGER * sizes[0]:
        return "one is twice as long"
    return "the rejected has longer queries" if _words(rejected) > _words(chosen) else ""


def _words(reply: Valued) -> float:
    return sum(len(terms(query)) for query in reply.queries) / max(1, len(reply.queries))
