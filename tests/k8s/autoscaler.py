"""What KEDA and the horizontal pod autoscaler (HPA) do, as plain functions of a ScaledObject's values and the time.

The metric is that of KEDA's Kafka scaler (`getTotalLag`), the decision that of the HPA for an external metric with an
average value: tolerance, stabilisation windows, then the policies.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

# The cluster's defaults: --horizontal-pod-autoscaler-tolerance and -sync-period.
TOLERANCE = 0.1
SYNC_S = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """How many pods may come or go within a period: a number, or per cent of those at its start."""

    value: float
    percent: bool
    period_s: float

    def limit(self, start: int, direction: int) -> float:
        """Return the replicas that a period which began with `start` may end with."""
        if not self.percent:
            return start + direction * self.value
        changed = start * (1 + direction * self.value / 100)
        return math.ceil(changed) if direction > 0 else math.floor(changed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The values of a ScaledObject with one Kafka trigger; times in seconds."""

    least: int
    most: int
    poll_s: float
    lag_threshold: int
    even: bool
    exclude_persistent: bool
    up_window_s: float
    up: tuple[Step, ...]
    down_window_s: float
    down: tuple[Step, ...]
    sync_s: float = SYNC_S

    def faster(self, times: float) -> "Rules":
        """Return the same rules on a clock that runs so many times faster."""
        return replace(
            self,
            poll_s=self.poll_s / times,
            up_window_s=self.up_window_s / times,
            down_window_s=self.down_window_s / times,
            sync_s=self.sync_s / times,
            up=tuple(replace(step, period_s=step.period_s / times) for step in self.up),
            down=tuple(replace(step, period_s=step.period_s / times) for step in self.down),
        )


def rules_of(scaled_object: Mapping[str, Any]) -> Rules:
    """Read the rules. Raises KeyError for what is left to a default, ValueError for what is not modelled."""
    spec = scaled_object["spec"]
    (trigger,) = spec["triggers"]
    metadata = trigger["metadata"]
    behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    if metadata["offsetResetPolicy"] != "earliest" or not trigger["useCachedMetrics"]:
        raise ValueError("only offsetResetPolicy: earliest with useCachedMetrics: true is modelled")
    return Rules(
        least=spec["minReplicaCount"],
        most=spec["maxReplicaCount"],
        poll_s=spec["pollingInterval"],
        lag_threshold=int(metadata["lagThreshold"]),
        even=metadata["ensureEvenDistributionOfPartitions"] == "true",
        exclude_persistent=metadata["excludePersistentLag"] == "true",
        up_window_s=behavior["scaleUp"]["stabilizationWindowSeconds"],
        up=_steps(behavior["scaleUp"]),
        down_window_s=behavior["scaleDown"]["stabilizationWindowSeconds"],
        down=_steps(behavior["scaleDown"]),
    )


def _steps(rules: Mapping[str, Any]) -> tuple[Step, ...]:
    if rules["selectPolicy"] != "Max":
        raise ValueError("only selectPolicy: Max is modelled")
    return tuple(
        Step(value=policy["value"], percent=policy["type"] == "Percent", period_s=policy["periodSeconds"])
        for policy in rules["policies"]
    )


class Lag:
    """KEDA's measure of the lag. It remembers the offsets of its last look."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._before: dict[Any, int] = {}

    def measure(self, committed: Mapping[Any, int], ends: Mapping[Any, int]) -> int:
        """Return the metric of all partitions: the lag, or the lag of an even share, and no more than each can use."""
        total = 0
        for partition, end in ends.items():
            at = committed[partition]
            stuck = self._rules.exclude_persistent and self._before.get(partition) == at
            self._before[partition] = at
            total += 0 if stuck else end - at
        threshold, partitions = self._rules.lag_threshold, len(ends)
        if self._rules.even:
            shares = [n for n in range(1, partitions + 1) if partitions % n == 0]
            return threshold * next((n for n in shares if n * threshold >= total), partitions)
        return min(total, partitions * threshold)


class Autoscaler:
    """The HPA's decisions. It remembers what it recommended and what it changed."""

    def __init__(self, rules: Rules, *, now: float, replicas: int) -> None:
        self._rules = rules
        self._wanted: list[tuple[float, int]] = [(now, replicas)]
        self._changes: list[tuple[float, int]] = []

    def decide(self, now: float, replicas: int, metric: float) -> int:
        """Return how many replicas there are to be, from how many there are and the metric."""
        rules = self._rules
        used = metric / (rules.lag_threshold * replicas)
        raw = replicas if abs(1 - used) <= TOLERANCE else math.ceil(metric / rules.lag_threshold)
        wanted = min(rules.most, max(rules.least, raw))
        self._wanted.append((now, wanted))
        lowest = min(n for at, n in self._wanted if at >= now - rules.up_window_s)
        highest = max(n for at, n in self._wanted if at >= now - rules.down_window_s)
        steady = min(max(replicas, lowest), highest)
        result = self._within_steps(now, replicas, steady)
        if result != replicas:
            self._changes.append((now, result - replicas))
        return result

    def _within_steps(self, now: float, replicas: int, wanted: int) -> int:
        if wanted > replicas:
            most = max(step.limit(self._start(now, replicas, step), +1) for step in self._rules.up)
            return max(replicas, min(wanted, int(most)))
        least = min(step.limit(self._start(now, replicas, step), -1) for step in self._rules.down)
        return min(replicas, max(wanted, int(least)))

    def _start(self, now: float, replicas: int, step: Step) -> int:
        """Return the replicas at the start of the step's period."""
        return replicas - sum(change for at, change in self._changes if at > now - step.period_s)


def turns(replicas: Sequence[int]) -> int:
    """Return how often a course of replicas changes its direction."""
    changes = [after - before for before, after in pairwise(replicas) if after != before]
    return sum(1 for one, two in pairwise(changes) if (one > 0) != (two > 0))
