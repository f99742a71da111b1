"""Prometheus metrics, all named here."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from qexplorer.clock import Clock
from schemas import DeadLetterReason

# `wait` is how long the oldest flag of a batch was in the worker before its batch began.
Stage = Literal["wait", "read", "generate", "propose", "search", "deliver"]
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
SECONDS_BUCKETS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Metrics:
    """The worker's metrics in a registry of their own, so that two workers in one test do not meet."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.registry = registry = CollectorRegistry()
        self.flags = Counter(
            "qexplorer_flags", "Flags answered, by policy and outcome", ["policy", "outcome"], registry=registry
        )
        self.suspects = Counter("qexplorer_suspects", "Suspects published", ["policy"], registry=registry)
        self.candidates = Counter("qexplorer_candidates", "Query candidates", ["source", "fate"], registry=registry)
        self.searches = Counter("qexplorer_searches", "Searches executed", ["policy"], registry=registry)
        self.searches_saved = Counter("qexplorer_searches_saved", "Searches that the bank saved", registry=registry)
        self.tokens = Counter("qexplorer_tokens", "Tokens of the model", ["direction"], registry=registry)
        self.unparseable = Counter("qexplorer_unparseable_replies", "Replies outside the grammar", registry=registry)
        self.dead_letters = Counter("qexplorer_dead_letters", "Messages set aside", ["reason"], registry=registry)
        self.retries = Counter("qexplorer_retries", "Steps tried again", ["error"], registry=registry)
        self.inference_restarts = Gauge(
            "qexplorer_inference_restarts", "Restarts of the inference process", registry=registry
        )
        self.lag = Gauge("qexplorer_lag", "Messages not yet answered", ["topic", "partition"], registry=registry)
        self.partitions = Gauge("qexplorer_partitions", "Partitions assigned to this worker", registry=registry)
        self.paused = Gauge("qexplorer_paused", "1 while an order has the fleet pause", registry=registry)
        self.tripped = Gauge(
            "qexplorer_tripped", "1 while the fleet pauses because of too many dead letters", registry=registry
        )
        self.waiting = Gauge(
            "qexplorer_waiting_seconds", "How long a stage has been trying again", ["stage"], registry=registry
        )
        self.release = Gauge(
            "qexplorer_release_info",
            "What answers now, as labels",
            ["release", "model", "adapter", "prompt", "triage", "policies"],
            registry=registry,
        )
        self.reloads = Counter(
            "qexplorer_reloads", "Changes of policies or release, taken or refused", ["result"], registry=registry
        )
        self.held = Gauge("qexplorer_held", "Suspects held back by the cap of the hour", ["policy"], registry=registry)
        self.search_rate = Gauge("qexplorer_search_rate", "Searches a second allowed now", registry=registry)
        self.batch_size = Histogram(
            "qexplorer_batch_size", "Flags in a micro-batch", buckets=BATCH_BUCKETS, registry=registry
        )
        self.stage_seconds = Histogram(
            "qexplorer_stage_seconds",
            "Time of a stage for a batch; wait is the oldest flag's time in the worker before its batch began",
            ["stage"],
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )

        # A counter that first appears with its first event hides that event from a rate.
        for reason in DeadLetterReason:
            self.dead_letters.labels(reason.value)
        for result in ("taken", "refused"):
            self.reloads.labels(result)

    @contextmanager
    def timed(self, stage: Stage) -> Iterator[None]:
        """Measure a stage of one batch."""
        started = self._clock.monotonic()
        yield
        self.stage_seconds.labels(stage).observe(self._clock.monotonic() - started)
