"""What stops a training run that cheats, collapses or diverges, with the reason."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qexplorer.errors import TrainingError
from qexplorer.near_duplicates import terms

BETA = 0.1
MOST_FALL = 0.2
# A reply that is nearly certain may lose a nat.
ALLOWANCE = 1.0
TOO_EASY = 0.999
EARLY = 0.25
MOST_DRIFT = 0.3
MOST_RISE = 0.05
WINDOW = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """How a model writes: means over the queries of its replies to the same flags.

    `distinct` is how many distinct queries find something, a reply (words that find nothing are no breadth), `empty`
    the share of queries that finds nothing, `copied` the share that copies most of its listing, `unparseable` the
    share of replies that cannot be read.
    """

    words: float
    distinct: float
    empty: float
    copied: float
    unparseable: float


def check_log(entry: Mapping[str, Any], done: float) -> None:
    """Look at one line of the trainer's log; `done` is the share of the run behind it.

    Raises TrainingError for a loss that is no number, chosen replies that have become much less likely, and preferences
    that are learnt suspiciously fast.
    """
    # The last line, behind all steps, has their mean alone.
    loss = entry.get("loss", entry.get("train_loss"))
    if loss is not None and not math.isfinite(loss):
        raise TrainingError(f"the loss is {loss}", remedy="Lower the learning rate, and look at the data card")
    now = entry.get("logps/chosen", 0.0)
    # The reward is beta times the distance to the reference on the very same rows, so no other rows' noise is in it.
    before = now - entry.get("rewards/chosen", 0.0) / BETA
    if now < before * (1 + MOST_FALL) - ALLOWANCE:
        raise TrainingError(
            f"the chosen replies' log-probability fell from {before:.1f} to {now:.1f}",
            remedy="Lower the learning rate, or raise the share of the SFT loss",
        )
    if done < EARLY and entry.get("rewards/accuracies", 0.0) >= TOO_EASY and entry.get("rewards/margins", 0.0) > 1.0:
        raise TrainingError(
            "all pairs are told apart before a quarter of the run: something beside the queries gives them away",
            remedy="Compare length and form of chosen and rejected replies in the data card",
        )


def check_habits(before: Habits, after: Habits) -> list[str]:
    """Return what has got worse by more than is tolerated; nothing when the new model may be used."""
    flaws: list[str] = []
    if abs(after.words - before.words) > MOST_DRIFT * before.words:
        flaws.append(f"words a query went from {before.words:.2f} to {after.words:.2f}")
    if after.distinct < before.distinct * (1 - MOST_DRIFT):
        flaws.append(f"distinct queries that find something fell from {before.distinct:.2f} to {after.distinct:.2f}")
    for name in ("empty", "copied", "unparseable"):
        old, new = getattr(before, name), getattr(after, name)
        if new > old + MOST_RISE:
            flaws.append(f"the share of {name} queries rose from {old:.3f} to {new:.3f}")
    return flaws


def habits(replies: Sequence[Sequence[str]], *, finding: int, empty: int, copied: int) -> Habits:
    """Return the habits behind replies, each as its queries; an unparseable one has none.

    Of the queries so many distinct ones find something, and so many in all find nothing, or copy.
    """
    queries = [query for reply in replies for query in reply]
    count = max(1, len(queries))
    return Habits(
        words=sum(len(terms(query)) for query in queries) / count,
        distinct=finding / max(1, len(replies)),
        empty=empty / count,
        copied=copied / count,
        unparseable=sum(not reply for reply in replies) / max(1, len(replies)),
    )
