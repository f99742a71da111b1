"""Wiring and life of one worker process: open everything, run until told to stop, drain, close."""

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import structlog

from qexplorer.clock import SystemClock
from qexplorer.errors import QExplorerError
from qexplorer.limiter import SearchLimiter
from qexplorer.metrics import Metrics
from qexplorer.search.client import OpenSearchClient
from qexplorer.settings import Settings
from schemas import Command, Control
from worker.app import Pipeline, create_app
from worker.control import TRIPPED, ControlTopic, Orders, order
from worker.follow import Follower, show
from worker.handler import Handler
from worker.health import Pulse, health_server
from worker.inference import InferenceProcess
from worker.kafka import KafkaPublisher
from worker.limits import DeadLetterLimits, no_limits
from worker.release import Releases
from worker.topics import check_topics
from worker.wiring import Memory, checked, explorers, for_dry_run, handler_of, inference_of, spare_collector

log = structlog.get_logger()

FREE_EVERY_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What one worker process is made of."""

    settings: Settings
    pulse: Pulse
    metrics: Metrics
    limiter: SearchLimiter
    inference: InferenceProcess
    handler: Handler
    orders: Orders
    control: ControlTopic
    follower: Follower
    partitions: int


async def run_worker(settings: Settings) -> int:
    """Run one worker until SIGTERM or SIGINT; return its exit code: 0, or 1 when it had to give up.

    Raises ConfigError, AccessError and the like when it cannot start.
    """
    asked, began = asyncio.Event(), asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, asked.set)
    running = asyncio.create_task(_run(for_dry_run(settings), asked, began))
    stopping = asyncio.create_task(asked.wait())
    await asyncio.wait((running, stopping), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if asked.is_set() and not began.is_set():
        # As process 1 of a container it would not die of the signal: it would start, and be killed with work in hand.
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return 0
    return await running


async def _run(settings: Settings, asked: asyncio.Event, began: asyncio.Event) -> int:
    clock = SystemClock()
    metrics, pulse = Metrics(clock), Pulse(settings.worker.heartbeat_timeout_s)
    limiter = SearchLimiter(settings.search.max_qps, clock)
    async with AsyncExitStack() as stack:
        ticking = asyncio.create_task(pulse.beat())
        stack.callback(ticking.cancel)
        search = OpenSearchClient(settings.search)
        search.overloaded = limiter.back_off
        memory = Memory.of(search, settings)
        releases = Releases(settings, explorers(search, memory, settings, clock=clock, limiter=limiter))
        # What the files say is looked at before anything is waited for.
        release = releases.read()
        releases.settle()
        counts = await check_topics(settings)
        port = await stack.enter_async_context(health_server(settings.worker, pulse, metrics))
        await stack.enter_async_context(search)
        await checked(release, search)
        await memory.ensure(search)
        publisher = await stack.enter_async_context(KafkaPublisher(settings.kafka))
        inference = await stack.enter_async_context(inference_of(release, pulse))
        limits = _limits(settings)
        orders = Orders(lambda: _obey(orders, limits, metrics))
        control = await stack.enter_async_context(ControlTopic(settings.kafka, orders))
        trip = _tripping(settings.kafka.topics.control, publisher, orders)
        handler = handler_of(settings, memory, publisher, inference, release, limits=limits, metrics=metrics, trip=trip)
        show(release, metrics)
        spare_collector()
        log.info("ready to consume", health_port=port, policies=len(release.policies.policies))
        parts = Parts(
            settings=settings,
            pulse=pulse,
            metrics=metrics,
            limiter=limiter,
            inference=inference,
            handler=handler,
            orders=orders,
            control=control,
            follower=Follower(releases, handler, inference, search, metrics),
            partitions=sum(counts[topic] for topic in settings.kafka.topics.flags),
        )
        began.set()
        return await _consume(parts, asked)


def _limits(settings: Settings) -> DeadLetterLimits:
    worker = settings.worker
    if worker.dry_run_topic:
        # It must not stop the fleet.
        return no_limits()
    return DeadLetterLimits(in_a_row=worker.dead_letters_in_a_row, share=worker.dead_letter_share)


def _obey(orders: Orders, limits: DeadLetterLimits, metrics: Metrics) -> None:
    if orders.running.is_set():
        limits.reset()
    metrics.paused.set(not orders.running.is_set())
    metrics.tripped.set(orders.tripped)


def _tripping(topic: str, publisher: KafkaPublisher, orders: Orders) -> Callable[[str], Awaitable[None]]:
    """Return what has the fleet pause because of too many dead letters."""

    async def trip(reason: str) -> None:
        record = order(Command.PAUSE, reason, SystemClock(), topic, issued_by=TRIPPED)
        await publisher.publish([record])
        # The topic says so in a moment to all workers; this one stops now.
        orders.take(Control.from_bytes(record.value or b""))

    return trip


async def _consume(parts: Parts, asked: asyncio.Event) -> int:
    settings = parts.settings
    ended, joined = asyncio.Event(), asyncio.Event()
    pipeline = Pipeline(parts.handler, parts.orders.running)
    app: Any = create_app(settings, pipeline, ended)

    async def assigned(_: Any, assigned: Any, **__: Any) -> None:
        joined.set()
        parts.metrics.partitions.set(len(assigned))
        parts.limiter.set_share(len(assigned) / max(1, parts.partitions))
        log.info("assigned", partitions=_named(assigned))

    app.on_partitions_assigned.connect(assigned, weak=False)
    parts.pulse.ready = joined.is_set
    parts.pulse.report = lambda: _report(parts, pipeline, app)
    app.finalize()
    await app.start()
    # Each of these runs for ever; the worker ends with the first that does not.
    tasks = [
        asyncio.create_task(coroutine)
        for coroutine in (
            asked.wait(),
            ended.wait(),
            pipeline.finish_all(),
            _watch(app, joined, parts),
            parts.control.follow(),
            parts.follower.follow(),
            _free_held(app, joined, parts),
        )
    ]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if not asked.is_set():
            _say_why(tasks)
            return 1
        app.flow_control.suspend()
        in_time = await pipeline.drain(settings.worker.drain_timeout_s)
        log.info("drained" if in_time else "not drained: the rest is left unacknowledged")
        return 0
    finally:
        with contextlib.suppress(Exception):
            await app.stop()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _report(parts: Parts, pipeline: Pipeline, app: Any) -> dict[str, Any]:
    last = parts.orders.last
    return {
        "partitions": _named(app.consumer.assignment()),
        "inference_pid": parts.inference.pid,
        "inference_restarts": parts.inference.restarts,
        "paused": not parts.orders.running.is_set(),
        "order": last.model_dump(mode="json") if last is not None else None,
        "release": parts.handler.release.name,
        "policies": parts.handler.release.policies_hash,
        "draining": pipeline.draining,
        "in_hand": pipeline.in_hand,
        "flags": pipeline.flags,
    }


def _named(places: Any) -> list[str]:
    return sorted(f"{place.topic}/{place.partition}" for place in places)


async def _free_held(app: Any, joined: asyncio.Event, parts: Parts) -> None:
    """Publish what waited for a cap, by one worker of the fleet: the one that has the first partition."""
    first = parts.settings.kafka.topics.flags[0]
    while True:
        await asyncio.sleep(FREE_EVERY_S)
        mine = app.consumer.assignment() if joined.is_set() and parts.orders.running.is_set() else ()
        if any(place.topic == first and place.partition == 0 for place in mine):
            await parts.handler.free()
        else:
            parts.metrics.held.clear()


async def _watch(app: Any, joined: asyncio.Event, parts: Parts) -> None:
    """Keep the gauges current; ends when Faust has crashed."""
    metrics = parts.metrics
    reported: set[Any] = set()
    while not app.crashed:
        # Before it has its share of the partitions it would say that it may use all of the fleet's allowance.
        metrics.search_rate.set(parts.limiter.rate if joined.is_set() else 0.0)
        metrics.inference_restarts.set(parts.inference.restarts)
        mine = app.consumer.assignment() if joined.is_set() else set()
        for tp in reported - mine:
            # Who has the partition now says how far it has come.
            metrics.lag.remove(tp.topic, str(tp.partition))
        reported &= mine
        for tp in mine:
            # Faust has no public way to ask how far it has committed.
            end, place = app.consumer.highwater(tp), app.consumer._committed_offset.get(tp)  # noqa: SLF001
            if end is not None and place is not None:
                metrics.lag.labels(tp.topic, str(tp.partition)).set(max(0, end - place))
                reported.add(tp)
        await asyncio.sleep(1.0)


def _say_why(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        if task.done() and not task.cancelled() and (error := task.exception()) is not None:
            log.error("worker failed", error=str(error) if isinstance(error, QExplorerError) else repr(error))
            return
    log.error("worker failed", error="the stream of flags ended or Faust crashed")
