"""How far foresight keeps its promises: asked for flags that it has not seen, of people whom it has not seen.

What known flags share is often theirs alone: a brand, a turn of phrase of one group. A query of such words promises
much and finds nothing of others', while a whole text always finds its like. How much so differs from one marketplace
to another, and known flags tell it without a search.
"""

import random
from collections.abc import Sequence

from qexplorer.foresight import Foreseen, Foresight, tensors_of

SPLITS = 4
MOST_ASKED = 100


def text_worth(
    flags: Sequence[str],
    campaigns: Sequence[int],
    others: Sequence[str],
    total: int,
    *,
    policies: Sequence[str],
    posters: Sequence[int],
    shown: Sequence[str] = (),
    seed: int = 0,
) -> float:
    """Return how many times better the promise of a whole text is kept than that of a query.

    The arguments are those of `tensors_of`. Half of the posters are known, and what the flags of the others hold, apart
    from the campaign that is asked for, is what a search would find; then the other way round, for `SPLITS` splits:

        worth = (Σ found by texts / Σ promised of texts) / (Σ found by queries / Σ promised of queries)

    in campaigns less their load (`Foreseen.gain`), one added to each sum. The query is the first of `siblings`.
    """
    draw = random.Random(seed)
    names = sorted(set(posters))
    query, text = [1.0, 1.0], [1.0, 1.0]
    for _ in range(SPLITS):
        first = set(draw.sample(names, len(names) // 2))
        halves = [[place for place, name in enumerate(posters) if (name in first) is side] for side in (True, False)]
        models = [
            Foresight(
                tensors_of(
                    [flags[place] for place in half],
                    [campaigns[place] for place in half],
                    others,
                    total,
                    policies=[policies[place] for place in half],
                    posters=[posters[place] for place in half],
                    shown=[(shown or flags)[place] for place in half],
                )
            )
            for half in halves
        ]
        for known, unknown, half in zip(models, reversed(models), reversed(halves), strict=True):
            one_each = list({campaigns[place]: place for place in half}.values())
            for place in draw.sample(one_each, min(MOST_ASKED, len(one_each))):
                asked, policy, own = flags[place], policies[place], campaigns[place]
                for span in known.siblings(asked, 1, policy):
                    _add(query, known.foresee(span, policy), unknown.foresee(span, policy), own)
                    _add(text, known.foresee_text(asked, policy), unknown.foresee_text(asked, policy), own)
    return (text[1] / text[0]) / (query[1] / query[0])


def _add(sums: list[float], promised: Foreseen, found: Foreseen, own: int) -> None:
    sums[0] += max(0.0, promised.gain(frozenset()))
    sums[1] += max(0.0, found.gain(frozenset({own})))
