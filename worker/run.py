"""Wiring and life of one worker process: open everything, run until told to stop, drain, close."""

import asyncio
import contextlib
import gc
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import structlog

from qexplorer.bank import QueryBank
from qexplorer.clock import SystemClock
from qexplorer.discoveries import Discoveries
from qexplorer.errors import QExplorerError
from qexplorer.explore import Explorer
from qexplorer.limiter import SearchLimiter
from qexplorer.metrics import Metrics
from qexplorer.policies import Policies, load_policies
from qexplorer.search.client import OpenSearchClient
from qexplorer.search.mapping import bank_body, discoveries_body
from qexplorer.settings import Settings
from qexplorer.triage import open_triage
from worker.app import Pipeline, create_app
from worker.delivery import Delivery
from worker.handler import Handler
from worker.health import Pulse, health_server
from worker.inference import InferenceProcess
from worker.kafka import KafkaPublisher
from worker.topics import check_topics

log = structlog.get_logger()


async def run_worker(settings: Settings) -> int:
    """Run one worker until SIGTERM or SIGINT; return its exit code: 0, or 1 when it had to give up.

    Raises ConfigError, AccessError and the like when it cannot start.
    """
    policies = load_policies(settings.policies).for_engines(settings.engines)
    partitions = (await check_topics(settings))[settings.kafka.topics.flags]
    clock = SystemClock()
    metrics = Metrics(clock)
    pulse = Pulse(settings.worker.heartbeat_timeout_s)
    async with AsyncExitStack() as stack:
        ticking = asyncio.create_task(pulse.beat())
        stack.callback(ticking.cancel)
        port = await stack.enter_async_context(health_server(settings.worker, pulse, metrics))
        search = await stack.enter_async_context(OpenSearchClient(settings.search))
        await _check_indices(search, settings, policies)
        publisher = await stack.enter_async_context(KafkaPublisher(settings.kafka))
        inference = await stack.enter_async_context(_inference(settings, policies, pulse))
        limiter = SearchLimiter(settings.search.max_qps, clock)
        search.overloaded = limiter.back_off
        handler = _handler(settings, policies, search, publisher, inference, limiter=limiter, metrics=metrics)
        _spare_collector()
        log.info("ready to consume", health_port=port, policies=len(policies.policies))
        return await _consume(settings, handler, pulse, metrics, limiter, inference, partitions)


def _spare_collector() -> None:
    """Keep Python's cycle collector from walking what stays for ever: libraries, models, connections.

    By its defaults it walks all of them after every few hundred new objects that outlive a batch, a fifth of the
    worker's time. What the worker makes has few cycles, so collecting it less often costs no memory to speak of.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def _handler(
    settings: Settings,
    policies: Policies,
    search: OpenSearchClient,
    publisher: KafkaPublisher,
    inference: InferenceProcess,
    *,
    limiter: SearchLimiter,
    metrics: Metrics,
) -> Handler:
    clock = SystemClock()
    names = own_indices(settings)
    discoveries, bank = Discoveries(search, names[0]), QueryBank(search, names[1])
    explorer = Explorer(
        search,
        clock=clock,
        limiter=limiter,
        settings=settings.explore,
        search=settings.search,
        bank=bank,
        discoveries=discoveries,
        triage=open_triage(settings.triage),
    )
    topics = settings.kafka.topics
    if settings.worker.dry_run_topic:
        topics = topics.model_copy(update={"suspects": settings.worker.dry_run_topic})
    delivery = Delivery(
        publisher,
        discoveries,
        bank,
        topics=topics,
        clock=clock,
        claim_timeout_s=settings.explore.claim_timeout_s,
    )
    return Handler(
        explorer,
        delivery,
        inference,
        publisher,
        policies=policies,
        settings=settings,
        clock=clock,
        metrics=metrics,
    )


def own_indices(settings: Settings) -> tuple[str, str]:
    """Return the indices of discoveries and of the bank; a dry run has its own."""
    suffix = f"-dry-{settings.worker.dry_run_topic.lower()}" if settings.worker.dry_run_topic else ""
    return settings.search.discoveries + suffix, settings.search.bank + suffix


async def _check_indices(search: OpenSearchClient, settings: Settings, policies: Policies) -> None:
    """Fail early on a listing index that is missing; make the two of our own."""
    for name in sorted({policy.index for policy in policies.policies}):
        await search.count(name)
    discoveries, bank = own_indices(settings)
    await search.ensure_index(discoveries, discoveries_body())
    await search.ensure_index(bank, bank_body())


@asynccontextmanager
async def _inference(settings: Settings, policies: Policies, pulse: Pulse) -> AsyncIterator[InferenceProcess]:
    used = sorted({(policy.engine, policy.adapter) for policy in policies.policies})
    inference = InferenceProcess(settings.engines, used)
    await inference.start()
    pulse.silent = lambda: inference.silent_s
    try:
        yield inference
    finally:
        await inference.stop()


async def _consume(
    settings: Settings,
    handler: Handler,
    pulse: Pulse,
    metrics: Metrics,
    limiter: SearchLimiter,
    inference: InferenceProcess,
    partitions: int,
) -> int:
    loop = asyncio.get_running_loop()
    asked, ended, joined = asyncio.Event(), asyncio.Event(), asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, asked.set)
    pipeline = Pipeline(handler)
    app: Any = create_app(settings, pipeline, ended)

    async def assigned(_: Any, assigned: Any, **__: Any) -> None:
        joined.set()
        metrics.partitions.set(len(assigned))
        limiter.set_share(len(assigned) / max(1, partitions))
        log.info("assigned", partitions=sorted(tp.partition for tp in assigned))

    app.on_partitions_assigned.connect(assigned, weak=False)
    pulse.ready = joined.is_set
    pulse.report = lambda: {
        "partitions": sorted(tp.partition for tp in app.consumer.assignment()),
        "inference_pid": inference.pid,
        "inference_restarts": inference.restarts,
        "draining": pipeline.draining,
        "flags": pipeline.flags,
    }
    app.finalize()
    await app.start()
    finishing = asyncio.create_task(pipeline.finish_all())
    watching = asyncio.create_task(_watch(app, joined, metrics, limiter, inference))
    waits = [asyncio.create_task(asked.wait()), asyncio.create_task(ended.wait()), finishing, watching]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        if not asked.is_set():
            _say_why(finishing, watching)
            return 1
        app.flow_control.suspend()
        in_time = await pipeline.drain(settings.worker.drain_timeout_s)
        log.info("drained" if in_time else "not drained: the rest is left unacknowledged")
        return 0
    finally:
        with contextlib.suppress(Exception):
            await app.stop()
        for task in waits:
            task.cancel()
        await asyncio.gather(*waits, return_exceptions=True)


async def _watch(
    app: Any, joined: asyncio.Event, metrics: Metrics, limiter: SearchLimiter, inference: InferenceProcess
) -> None:
    """Keep the gauges current; ends when Faust has crashed."""
    while not app.crashed:
        metrics.search_rate.set(limiter.rate)
        metrics.inference_restarts.set(inference.restarts)
        for tp in app.consumer.assignment() if joined.is_set() else ():
            # Faust has no public way to ask how far it has committed.
            end, place = app.consumer.highwater(tp), app.consumer._committed_offset.get(tp)  # noqa: SLF001
            if end is not None and place is not None:
                metrics.lag.labels(str(tp.partition)).set(max(0, end - place))
        await asyncio.sleep(1.0)


def _say_why(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        if task.done() and not task.cancelled() and task.exception() is not None:
            error = task.exception()
            log.error("worker failed", error=str(error) if isinstance(error, QExplorerError) else repr(error))
            return
    log.error("worker failed", error="the stream of flags ended or Faust crashed")
