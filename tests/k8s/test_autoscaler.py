"""The autoscaler's own values absorb a burst, come down calmly, and buy no workers that could not search."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import ceil
from typing import Any

import pytest

from qexplorer.settings import SearchSettings
from tests.k8s.autoscaler import Autoscaler, Lag, Rules, rules_of, turns
from tests.k8s.manifests import K8S, OVERLAYS, config_file, documents, load, of_kind

SEARCHES = "qexplorer/searches-per-second-of-one-worker"
(SCALED,) = of_kind("ScaledObject", documents(K8S / "components"))
RULES = rules_of(SCALED)
PARTITIONS = next(
    topic["spec"]["partitions"]
    for topic in of_kind("KafkaTopic", documents(K8S / "topics"))
    if topic["metadata"]["name"] == SCALED["spec"]["triggers"][0]["metadata"]["topic"]
)
MINUTE, HOUR = 60, 3600

Load = Callable[[int], float]


@dataclass(slots=True)
class Fleet:
    """A queue and its workers on a simulated clock of one second a tick.

    A worker answers so many flags a second and commits once a batch; a new one takes `start_s` until it is ready; each
    change stops all for `rebalance_s`; all together search no more than the budget allows, each by its partitions.
    """

    rules: Rules = RULES
    flags_a_second: float = 2.0
    max_qps: float = 200.0
    searches_a_flag: int = 12
    partitions: int = PARTITIONS
    start_s: int = 60
    rebalance_s: int = 5
    commit_s: int = 10
    search_dead: tuple[int, int] = (0, 0)
    replicas: int = 1
    now: int = 0
    history: list[int] = field(default_factory=list)
    lags: list[float] = field(default_factory=list)

    def run(self, load: Load, seconds: int) -> None:
        """Let the time pass with so many flags coming in a second."""
        ends = dict.fromkeys(range(self.partitions), 0.0)
        done, committed = dict(ends), dict(ends)
        lag, scaler = Lag(self.rules), Autoscaler(self.rules, now=0, replicas=self.replicas)
        metric, serving, blocked_until = 0, self.replicas, 0
        arrivals: list[tuple[int, int]] = []
        for self.now in range(seconds):
            for partition in ends:
                ends[partition] += load(self.now) / self.partitions
            if any(at == self.now for at, _ in arrivals):
                serving, blocked_until = self.replicas, self.now + self.rebalance_s
            self._work(done, ends, serving, blocked_until)
            if self.now % self.commit_s == 0:
                committed = dict(done)
            if self.now % self.rules.poll_s == 0:
                metric = lag.measure(_whole(committed), _whole(ends))
            if self.now % self.rules.sync_s == 0:
                wanted = scaler.decide(self.now, self.replicas, metric)
                if wanted < self.replicas:
                    serving, blocked_until = min(serving, wanted), self.now + self.rebalance_s
                elif wanted > self.replicas:
                    arrivals.append((self.now + self.start_s, wanted))
                self.replicas = wanted
            self.history.append(self.replicas)
            self.lags.append(sum(ends.values()) - sum(done.values()))

    def _work(self, done: dict[int, float], ends: dict[int, float], serving: int, blocked_until: int) -> None:
        dead_from, dead_to = self.search_dead
        if self.now < blocked_until or dead_from <= self.now < dead_to:
            return
        for worker in range(min(serving, self.partitions)):
            mine = [partition for partition in ends if partition % serving == worker]
            searches = self.max_qps * len(mine) / self.partitions
            left = min(self.flags_a_second, searches / self.searches_a_flag)
            for partition in sorted(mine, key=lambda partition: done[partition] - ends[partition]):
                taken = min(left, ends[partition] - done[partition])
                done[partition] += taken
                left -= taken

    def absorbed_after(self, flags: float) -> int:
        """Return the second at which the lag last fell below so many flags."""
        return max(at for at, lag in enumerate(self.lags) if lag >= flags) + 1


def _whole(offsets: dict[int, float]) -> dict[int, int]:
    return {partition: int(offset) for partition, offset in offsets.items()}


def quiet(_: int) -> float:
    return 0.5


def burst(now: int) -> float:
    """6,000 flags within five minutes, ten minutes after the start, upon a quiet stream."""
    return 20.5 if 10 * MINUTE <= now < 15 * MINUTE else 0.5


def test_a_burst_is_absorbed() -> None:
    """6,000 flags would take one worker over an hour; the fleet grows to its limit and is through within a quarter."""
    fleet = Fleet()
    fleet.run(burst, HOUR)
    assert max(fleet.history) == RULES.most
    assert fleet.absorbed_after(RULES.lag_threshold) <= 25 * MINUTE
    alone = Fleet(rules=replace(RULES, most=1))
    alone.run(burst, 2 * HOUR)
    assert alone.absorbed_after(RULES.lag_threshold) > 70 * MINUTE


def test_it_comes_down_once_and_late() -> None:
    """Up, then down to one, ten minutes after the burst at the earliest, and never two changes of direction."""
    fleet = Fleet()
    fleet.run(burst, 2 * HOUR)
    assert fleet.history[-1] == RULES.least
    assert turns(fleet.history) == 1
    through = fleet.absorbed_after(RULES.lag_threshold)
    first_down = next(at for at in range(1, len(fleet.history)) if fleet.history[at] < fleet.history[at - 1])
    assert first_down >= through
    steps = [before - after for before, after in pairwise(fleet.history) if after < before]
    assert max(steps) <= 2


@pytest.mark.parametrize("half", [2 * MINUTE, 3 * MINUTE, 5 * MINUTE])
def test_waves_do_not_make_it_thrash(half: int) -> None:
    """Flags come in waves, for two hours: it turns at most twice in a window, and moves far fewer pods."""

    def run(down_window_s: float) -> list[int]:
        fleet = Fleet(rules=replace(RULES, down_window_s=down_window_s))
        fleet.run(lambda now: 12.0 if (now // half) % 2 == 0 else 0.0, 2 * HOUR)
        return fleet.history

    def moved(history: list[int]) -> int:
        return sum(abs(after - before) for before, after in pairwise(history))

    calm, hasty = run(RULES.down_window_s), run(0)
    assert turns(calm) <= 2 * (2 * HOUR / RULES.down_window_s)
    assert turns(calm) < turns(hasty)
    assert moved(calm) < 0.6 * moved(hasty)


def test_a_dead_search_buys_no_workers() -> None:
    """While nothing is answered offsets stand still, and such lag does not count; afterwards it is worked off."""
    fleet = Fleet(search_dead=(20 * MINUTE, 80 * MINUTE))
    fleet.run(lambda _: 1.0, 2 * HOUR)
    during = fleet.history[21 * MINUTE : 80 * MINUTE]
    assert max(during) == RULES.least
    assert fleet.lags[80 * MINUTE - 1] >= 3500
    assert max(fleet.history[80 * MINUTE :]) > RULES.least
    assert fleet.lags[-1] < RULES.lag_threshold
    counted = Fleet(rules=replace(RULES, exclude_persistent=False), search_dead=(20 * MINUTE, 80 * MINUTE))
    counted.run(lambda _: 1.0, 2 * HOUR)
    assert max(counted.history[: 80 * MINUTE]) == RULES.most


def test_workers_beyond_the_search_budget_buy_nothing() -> None:
    """Twice the limit is not faster, half of it is slower: the limit is where the budget ends."""

    def time(most: int) -> int:
        fleet = Fleet(rules=replace(RULES, most=most))
        fleet.run(burst, HOUR)
        return fleet.absorbed_after(RULES.lag_threshold)

    assert time(2 * RULES.most) >= 0.97 * time(RULES.most)
    assert time(RULES.most // 2) > 1.2 * time(RULES.most)


def test_a_quiet_stream_is_left_to_one_worker() -> None:
    """The lag of batches in hand is no backlog."""
    fleet = Fleet()
    fleet.run(quiet, HOUR)
    assert set(fleet.history) == {1}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_limit_is_that_of_partitions_and_search_budget(overlay: str) -> None:
    """MaxReplicaCount ≤ partitions, and no worker more than use max_qps up."""
    patch = K8S / "overlays" / overlay / "scaledobject.yaml"
    scaled: dict[str, Any] = load(patch) if patch.is_file() else SCALED
    search = SearchSettings.model_validate(load(config_file(overlay, "settings.yaml"))["search"])
    searches = float(scaled["metadata"]["annotations"][SEARCHES])
    assert scaled["spec"]["maxReplicaCount"] <= min(PARTITIONS, ceil(search.max_qps / searches))
    assert PARTITIONS % scaled["spec"]["maxReplicaCount"] == 0


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_table_of_the_documents_is_that_of_the_files(overlay: str) -> None:
    """docs/scaling.md names the searches of a worker, the budget and the limit as they are, and multiplies rightly."""
    text = (K8S.parent / "docs/scaling.md").read_text("utf-8").replace(",", "")
    (row,) = [line for line in text.splitlines() if line.startswith(f"| {overlay} |")]
    cells = [float(cell.split()[0]) for cell in row.split("|")[2:7]]
    patch = K8S / "overlays" / overlay / "scaledobject.yaml"
    scaled = load(patch) if patch.is_file() else SCALED
    search = SearchSettings.model_validate(load(config_file(overlay, "settings.yaml"))["search"])
    flags, searches, budget, workers, fleet = cells
    assert searches == flags * search.max_per_seed == float(scaled["metadata"]["annotations"][SEARCHES])
    assert (budget, workers) == (search.max_qps, scaled["spec"]["maxReplicaCount"])
    assert fleet == flags * workers


@pytest.mark.parametrize(
    ("lags", "workers"),
    [
        pytest.param([0, 0, 0, 0, 0, 0], 1, id="nothing to do"),
        pytest.param([25, 25, 25, 25, 25, 25], 1, id="150 = one threshold"),
        pytest.param([26, 25, 25, 25, 25, 25], 2, id="151: two"),
        pytest.param([100, 100, 100, 100, 100, 100], 6, id="600: four, which six do not share evenly"),
        pytest.param([9000, 0, 0, 0, 0, 0], 6, id="no more than partitions"),
    ],
)
def test_the_measure_is_that_of_the_scaler(lags: list[int], workers: int) -> None:
    """Worked by hand for a threshold of 150 and six partitions."""
    rules = replace(RULES, lag_threshold=150)
    ends = dict(enumerate(lags))
    assert Lag(rules).measure(dict.fromkeys(ends, 0), ends) == workers * 150


def test_what_stands_still_is_left_out_from_the_second_look_on() -> None:
    """Partition 0 has not moved, partition 1 has: only its 400 count, for three workers of six partitions."""
    lag = Lag(replace(RULES, lag_threshold=150))
    ends = {0: 900, 1: 500, **dict.fromkeys(range(2, 6), 0)}
    lag.measure(dict.fromkeys(ends, 0), ends)
    assert lag.measure({**dict.fromkeys(ends, 0), 1: 100}, ends) == 3 * 150


def test_the_decision_is_that_of_the_hpa() -> None:
    """Within 10 % nothing changes; upwards by four pods or 100 % a minute; downwards by two in two minutes."""
    rules = replace(RULES, lag_threshold=100, most=24)
    assert Autoscaler(rules, now=0, replicas=4).decide(15, 4, 430) == 4
    up = Autoscaler(rules, now=0, replicas=2)
    assert [up.decide(15, 2, 2400), up.decide(30, 6, 2400), up.decide(75, 6, 2400)] == [6, 6, 12]
    down = Autoscaler(rules, now=0, replicas=8)
    assert [down.decide(600, 8, 100), down.decide(615, 8, 100)] == [8, 6]
    assert [down.decide(630, 6, 100), down.decide(736, 6, 100)] == [6, 4]
