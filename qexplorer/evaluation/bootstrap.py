"""How sure a figure is: 95 % intervals by the paired bootstrap over groups of seeds.

A unit is a group (or a cluster): what is measured within one is not independent, so units are drawn and never their
parts. Percentile intervals, 2,000 resamples; Efron and Tibshirani, An Introduction to the Bootstrap, chapter 13.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

RESAMPLES = 2_000
LEVEL = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A figure with the bounds of its 95 % interval; with one unit the bounds are the figure."""

    value: float
    low: float
    high: float

    def text(self, digits: int = 1) -> str:
        """Return `value [low, high]`; a ratio whose baseline is 0 in some resamples has no interval."""
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            return f"{self.value:.{digits}f} [no interval]"
        return f"{self.value:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}]"


def mean(values: Sequence[float], *, seed: int = 0) -> Interval:
    """Return the mean over units."""
    return _interval([values], "mean", seed)


def difference(one: Sequence[float], other: Sequence[float], *, seed: int = 0) -> Interval:
    """Return the mean of the paired differences."""
    return _interval([[a - b for a, b in zip(one, other, strict=True)]], "mean", seed)


def ratio(one: Sequence[float], other: Sequence[float], *, seed: int = 0) -> Interval:
    """Return the ratio of the means of paired units; infinite or nan where the other mean is 0."""
    return _interval([one, other], "ratio", seed)


def _interval(samples: Sequence[Sequence[float]], statistic: str, seed: int) -> Interval:
    import numpy as np

    data = np.array(samples, dtype=float)
    drawn = np.random.default_rng(seed).integers(0, data.shape[1], size=(RESAMPLES, data.shape[1]))
    means = data[:, drawn].mean(axis=2)
    with np.errstate(divide="ignore", invalid="ignore"):
        values = means[0] if statistic == "mean" else means[0] / means[1]
        value = data[0].mean() if statistic == "mean" else np.float64(data[0].mean()) / data[1].mean()
    tail = (1 - LEVEL) / 2
    with np.errstate(invalid="ignore"):
        low, high = np.quantile(values, [tail, 1 - tail])
    return Interval(value=float(value), low=float(low), high=float(high))
