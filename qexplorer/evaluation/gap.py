"""The gap to the upper references: which share of their finds and of their campaigns a method has, at each load.

Read down the table, it says how much of the gap each step closes: a model without training, SFT, DPO, another order.
"""

from collections.abc import Callable, Mapping, Sequence

from qexplorer.evaluation.bootstrap import Interval, ratio
from qexplorer.evaluation.methods import is_upper_reference
from qexplorer.evaluation.results import Row, pick

# Where every review is a find, finds have no gap left, and the campaigns in the pool tell what more reviews could find.
MEASURES: Mapping[str, Callable[[Row], float]] = {
    "Finds": lambda row: row.finds,
    "Campaigns": lambda row: row.campaigns,
}


def references(rows: Sequence[Row]) -> list[str]:
    """Return the upper references among the methods of some rows."""
    return [name for name in dict.fromkeys(row.method for row in rows) if is_upper_reference(name)]


def shares(rows: Sequence[Row], reference: str, measure: str) -> dict[str, dict[int, Interval]]:
    """Return for each other method and load its finds or campaigns ÷ those of a reference, paired over groups.

    `measure` is a key of `MEASURES`. The rows are of one corpus, protocol and triage. A load that only one of both has
    run is left out.
    """
    of = MEASURES[measure]
    found: dict[str, dict[int, Interval]] = {}
    for method in dict.fromkeys(row.method for row in rows if not is_upper_reference(row.method)):
        for load in sorted({row.load for row in rows}):
            ours = {row.group: of(row) for row in pick(rows, method=method, load=load)}
            theirs = {row.group: of(row) for row in pick(rows, method=reference, load=load)}
            if groups := sorted(set(ours) & set(theirs)):
                share = ratio([ours[group] for group in groups], [theirs[group] for group in groups])
                found.setdefault(method, {})[load] = share
    return found
