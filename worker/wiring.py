"""What a worker and a replay are made of: the same parts, with a memory and topics of their own."""

import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from qexplorer.bank import QueryBank
from qexplorer.clock import Clock, SystemClock
from qexplorer.discoveries import Discoveries
from qexplorer.explore import Explorer
from qexplorer.limiter import SearchLimiter
from qexplorer.metrics import Metrics
from qexplorer.search.client import OpenSearchClient
from qexplorer.search.mapping import bank_body, discoveries_body
from qexplorer.settings import Settings
from qexplorer.triage import Triage
from worker.dead_letters import DeadLetters, nobody
from worker.delivery import Delivery
from worker.handler import Handler
from worker.health import Pulse
from worker.inference import InferenceProcess
from worker.kafka import Publisher
from worker.limits import DeadLetterLimits
from worker.release import Explorers, Release
from worker.topics import dry_run_topics


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What is known and what has been asked, in two indices of ours; a dry run and a replay have their own."""

    discoveries: Discoveries
    bank: QueryBank
    indices: tuple[str, str]

    @classmethod
    def of(cls, search: OpenSearchClient, settings: Settings, suffix: str = "") -> "Memory":
        """Return the memory in the indices that the settings name."""
        known, asked = settings.search.discoveries + suffix, settings.search.bank + suffix
        return cls(discoveries=Discoveries(search, known), bank=QueryBank(search, asked), indices=(known, asked))

    async def ensure(self, search: OpenSearchClient) -> None:
        """Create the indices that are missing."""
        await search.ensure_index(self.indices[0], discoveries_body())
        await search.ensure_index(self.indices[1], bank_body())


def explorers(
    search: OpenSearchClient, memory: Memory, settings: Settings, *, clock: Clock, limiter: SearchLimiter
) -> Explorers:
    """Return what makes the core of a release."""

    def make(triage: Triage | None) -> Explorer:
        return Explorer(
            search,
            clock=clock,
            limiter=limiter,
            settings=settings.explore,
            search=settings.search,
            bank=memory.bank,
            discoveries=memory.discoveries,
            triage=triage,
        )

    return make


def for_dry_run(settings: Settings) -> Settings:
    """Return the settings of a dry run: all but what it reads is its own, its place among the flags, too.

    In production's group it would take flags away from production. Without a dry run they stay as they are.
    """
    name = settings.worker.dry_run_topic
    if not name:
        return settings
    suffix = f"-dry-{name.lower()}"
    kafka, search = settings.kafka, settings.search
    changed: dict[str, tuple[BaseModel, dict[str, Any]]] = {
        "kafka": (kafka, {"group": f"{kafka.group}-dry-{name}", "topics": dry_run_topics(kafka.topics, name)}),
        "search": (search, {"discoveries": search.discoveries + suffix, "bank": search.bank + suffix}),
        "worker": (settings.worker, {"run_id": f"dry-{name}"}),
    }
    return settings.model_copy(update={part: old.model_copy(update=new) for part, (old, new) in changed.items()})


async def checked(release: Release, search: OpenSearchClient) -> Release:
    """Return the release; raises ConfigError when an index of listings is missing."""
    for name in release.indices:
        await search.count(name)
    return release


def handler_of(
    settings: Settings,
    memory: Memory,
    publisher: Publisher,
    inference: InferenceProcess,
    release: Release,
    *,
    limits: DeadLetterLimits,
    metrics: Metrics,
    trip: Callable[[str], Awaitable[None]] = nobody,
) -> Handler:
    """Return the handler of a worker or a replay over its parts; all that it sends goes through `publisher`."""
    clock, topics = SystemClock(), settings.kafka.topics
    delivery = Delivery(
        publisher,
        memory.discoveries,
        memory.bank,
        topics=topics,
        clock=clock,
        claim_timeout_s=settings.explore.claim_timeout_s,
    )
    letters = DeadLetters(publisher, topics.dead_letters, clock=clock, metrics=metrics, limits=limits, trip=trip)
    return Handler(delivery, inference, letters, release=release, settings=settings, clock=clock, metrics=metrics)


@asynccontextmanager
async def inference_of(release: Release, pulse: Pulse) -> AsyncIterator[InferenceProcess]:
    """Run the inference process with the engines of a release."""
    inference = InferenceProcess(release.used)
    await inference.start()
    pulse.silent = lambda: inference.silent_s
    try:
        yield inference
    finally:
        await inference.stop()


def spare_collector() -> None:
    """Keep Python's cycle collector from walking what stays for ever: libraries, models, connections.

    By its defaults it walks all of them after every few hundred new objects that outlive a batch, a fifth of the
    worker's time. What the worker makes has few cycles, so collecting it less often costs no memory to speak of.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
