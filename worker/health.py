"""Health and metrics over HTTP: /live, /ready, /status and /metrics."""

import asyncio
import errno
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from qexplorer.errors import ConfigError
from qexplorer.metrics import Metrics
from qexplorer.settings import WorkerSettings

TICK_S = 0.5


class Pulse:
    """Signs of life: the loop's own tick, and what else must not be silent for long."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._tick = time.monotonic()
        self.silent: Callable[[], float] = lambda: 0.0
        self.ready: Callable[[], bool] = lambda: False
        self.report: Callable[[], dict[str, Any]] = dict

    async def beat(self) -> None:
        """Tick for ever; a blocked loop does not."""
        while True:
            self._tick = time.monotonic()
            await asyncio.sleep(TICK_S)

    def alive(self) -> bool:
        """Whether loop and inference have ticked lately; a paused or idle worker has."""
        return max(time.monotonic() - self._tick, self.silent()) < self._timeout_s


@asynccontextmanager
async def health_server(worker: WorkerSettings, pulse: Pulse, metrics: Metrics) -> AsyncIterator[int]:
    """Serve health and metrics; yields the port. Raises ConfigError when the port is taken."""

    async def live(_: web.Request) -> web.Response:
        alive = pulse.alive()
        return web.json_response({"live": alive}, status=200 if alive else 503)

    async def ready(_: web.Request) -> web.Response:
        is_ready = pulse.ready()
        return web.json_response({"ready": is_ready}, status=200 if is_ready else 503)

    async def status(_: web.Request) -> web.Response:
        return web.json_response({"live": pulse.alive(), "ready": pulse.ready(), **pulse.report()})

    async def scrape(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.add_routes(
        [web.get("/live", live), web.get("/ready", ready), web.get("/status", status), web.get("/metrics", scrape)]
    )
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, worker.health_host, worker.health_port)
        try:
            await site.start()
        except OSError as error:
            what = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be used: {error.strerror}"
            raise ConfigError(
                f"the port {worker.health_port} of {worker.health_host} {what}",
                remedy="Set another worker.health_port, or 0 for any free one",
            ) from error
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
