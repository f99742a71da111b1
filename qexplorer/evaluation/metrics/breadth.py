"""How broad the queries of a method are."""

import math
import statistics
from collections.abc import Sequence


def breadth(totals: Sequence[int]) -> float:
    """Return the median of log10 of the matches, over the queries that match at all; 0 without any."""
    found = [math.log10(total) for total in totals if total > 0]
    return statistics.median(found) if found else 0.0
