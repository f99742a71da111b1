"""Generation and search overlap: 200 ms of inference and 150 ms of search a batch."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from qexplorer.bank import QueryBank
from qexplorer.clock import SystemClock
from qexplorer.discoveries import Discoveries
from qexplorer.explore import Explorer
from qexplorer.limiter import SearchLimiter
from qexplorer.llm.engine import EngineVersion, Generation, Reply
from qexplorer.metrics import Metrics
from qexplorer.policies import Policies, Policy
from qexplorer.search.backend import SearchRequest, SearchResult
from qexplorer.search.memory import MemoryStore
from qexplorer.settings import Settings
from qexplorer.testing import MemorySearcher, RecordingPublisher, a_flag
from worker.app import Pipeline
from worker.dead_letters import DeadLetters
from worker.delivery import Delivery
from worker.handler import Handler, Inference
from worker.inference import Done, Job
from worker.limits import DeadLetterLimits
from worker.release import Release

BATCHES, SIZE = 50, 16
INFERENCE_S, SEARCH_S = 0.2, 0.15


class SlowInference:
    """Takes a fixed time for a batch."""

    async def generate(self, job: Job) -> Done:
        """Answer each prompt with words of its own."""
        await asyncio.sleep(INFERENCE_S)
        replies = tuple(
            Reply(generations=(Generation(text=prompt.parts()[1].strip()[:40], source="greedy"),))
            for prompt in job.prompts
        )
        return Done(replies=replies, version=EngineVersion(model="slow@1"))


class SlowSearcher(MemorySearcher):
    """Takes a fixed time for a batch."""

    async def search(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        """Answer after a while."""
        await asyncio.sleep(SEARCH_S)
        return await MemorySearcher.search(self, requests)


class Message:
    """What the pipeline sees of a Kafka message."""

    def __init__(self, number: int, value: bytes) -> None:
        self.topic, self.partition, self.offset = "flagged-listings", 0, number
        self.key, self.headers, self.value = None, (), value
        self.message = self


def always() -> asyncio.Event:
    """Return a set event: nobody has the fleet pause."""
    running = asyncio.Event()
    running.set()
    return running


class InMemoryBatch:
    """A batch that did not come from Kafka."""

    def __init__(self, events: Sequence[Any]) -> None:
        self.events = events

    def is_stale(self) -> bool:
        """Tell that it is ours."""
        return False

    def ack(self) -> int:
        """Acknowledge all."""
        return 0


def handler(inference: Inference, searcher: MemorySearcher, settings: Settings) -> Handler:
    """Return a handler on stores in memory."""
    clock, store, publisher = SystemClock(), MemoryStore(), RecordingPublisher()
    discoveries, bank = Discoveries(store, "discoveries"), QueryBank(store, "bank")
    explorer = Explorer(
        searcher,
        clock=clock,
        limiter=SearchLimiter(1e6, clock),
        settings=settings.explore,
        search=settings.search,
        bank=bank,
        discoveries=discoveries,
    )
    delivery = Delivery(publisher, discoveries, bank, topics=settings.kafka.topics, clock=clock, claim_timeout_s=600)
    policy = Policy(id="drugs", kinds=("drugs",), candidates=0, max_flag_age="P9999D")
    metrics = Metrics(clock)
    release = Release(
        name="", policies=Policies(policies=(policy,)), policies_hash="", engines=settings.engines, explorer=explorer
    )
    letters = DeadLetters(
        publisher,
        settings.kafka.topics.dead_letters,
        clock=clock,
        metrics=metrics,
        limits=DeadLetterLimits(in_a_row=50, share=0.5),
    )
    return Handler(delivery, inference, letters, release=release, settings=settings, clock=clock, metrics=metrics)


async def run(pipeline: Pipeline, flags: Sequence[bytes], size: int) -> float:
    """Take the flags through the pipeline in batches; return the seconds it took."""
    finishing = asyncio.create_task(pipeline.finish_all())
    started = time.monotonic()
    for start in range(0, len(flags), size):
        events = [Message(start + at, flag) for at, flag in enumerate(flags[start : start + size])]
        batch: Any = InMemoryBatch(events)
        await pipeline.submit(batch)
    await pipeline.settle(600)
    seconds = time.monotonic() - started
    finishing.cancel()
    return seconds


async def overlap() -> str:
    """Compare with the slower stage alone."""
    flags = [a_flag(f"a{n}", f"first{n} second{n} third{n}").to_bytes() for n in range(BATCHES * SIZE)]
    pipeline = Pipeline(handler(SlowInference(), SlowSearcher(), Settings()), always())
    # The first batch imports what is imported late.
    await run(pipeline, [a_flag("warm", "zeroth gummies").to_bytes()], SIZE)
    seconds = await run(pipeline, flags, SIZE)
    alone = BATCHES * INFERENCE_S
    return (
        f"{BATCHES} batches of {SIZE}: {seconds:.2f} s, the slower stage alone {alone:.2f} s: "
        f"throughput ratio {alone / seconds:.2f} (goal ≥ 0.90; without overlap it would be "
        f"{INFERENCE_S / (INFERENCE_S + SEARCH_S):.2f})"
    )
