"""Methods at equal fetched hits: what each has in the pool by the time it has fetched as much as a text match.

A method has run at some loads; between two of them its campaigns are taken to grow evenly with the hits, and before the
first from none. Past its last load it stays where it was: it has nothing more to search.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from qexplorer.evaluation.bootstrap import Interval, ratio
from qexplorer.evaluation.results import Row, pick

BASELINE = "whole_text"


@dataclass(frozen=True, slots=True, kw_only=True)
class AtEqualHits:
    """One method at the hits a seed of the baseline; the ratio is paired over groups."""

    method: str
    hits: float
    campaigns: float
    baseline: float
    ratio: Interval


def at_equal_hits(rows: Sequence[Row], baseline: str = BASELINE) -> list[AtEqualHits]:
    """Return all methods but the baseline, for rows of one corpus, protocol and triage; nothing without a baseline."""
    there = {row.group: row for row in pick(rows, method=baseline)}
    found = []
    for method in dict.fromkeys(row.method for row in rows if row.method != baseline):
        groups = [group for group in sorted(there) if pick(rows, method=method, group=group)]
        if not groups:
            continue
        ours = [campaigns_at(pick(rows, method=method, group=group), there[group].hits) for group in groups]
        theirs = [there[group].campaigns for group in groups]
        found.append(
            AtEqualHits(
                method=method,
                hits=sum(there[group].hits for group in groups) / len(groups),
                campaigns=sum(ours) / len(groups),
                baseline=sum(theirs) / len(groups),
                ratio=ratio(ours, theirs),
            )
        )
    return found


def campaigns_at(rows: Sequence[Row], hits: float) -> float:
    """Return the campaigns of one method and group at so many hits a seed, from its rows at all loads."""
    import numpy as np

    points = sorted((row.hits, row.campaigns) for row in rows)
    return float(np.interp(hits, [0.0, *(x for x, _ in points)], [0.0, *(y for _, y in points)]))
