"""Live, ready, status and metrics over HTTP."""

import socket
from collections.abc import AsyncIterator

import aiohttp
import pytest

from qexplorer.errors import ConfigError
from qexplorer.metrics import Metrics
from qexplorer.settings import WorkerSettings
from qexplorer.testing import ManualClock
from worker.health import Pulse, health_server


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def test_live_and_ready_are_different_questions(http: aiohttp.ClientSession) -> None:
    """A worker that loads its model is alive and not ready; one whose inference is silent is not alive."""
    pulse = Pulse(30)
    async with health_server(WorkerSettings(health_port=0), pulse, Metrics(ManualClock())) as port:

        async def status(page: str) -> int:
            async with http.get(f"http://127.0.0.1:{port}/{page}") as answer:
                return answer.status

        assert (await status("live"), await status("ready")) == (200, 503)
        pulse.ready = lambda: True
        assert await status("ready") == 200
        pulse.silent = lambda: 31.0
        assert await status("live") == 503


async def test_metrics_are_prometheus_text(http: aiohttp.ClientSession) -> None:
    """What is counted can be scraped."""
    metrics = Metrics(ManualClock())
    metrics.suspects.labels("drugs").inc(3)
    async with (
        health_server(WorkerSettings(health_port=0), Pulse(30), metrics) as port,
        http.get(f"http://127.0.0.1:{port}/metrics") as answer,
    ):
        assert 'qexplorer_suspects_total{policy="drugs"} 3.0' in await answer.text()


async def test_a_taken_port_is_named() -> None:
    """The error says which port and how to choose another."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"the port {port} of 127.0.0.1 is taken") as caught:
            async with health_server(WorkerSettings(health_port=port), Pulse(30), Metrics(ManualClock())):
                pass
    assert "worker.health_port" in caught.value.remedy


def test_a_stage_is_timed_by_the_clock() -> None:
    """Two seconds on the clock are two seconds in the histogram."""
    clock = ManualClock()
    metrics = Metrics(clock)
    with metrics.timed("search"):
        clock.advance(2)
    assert metrics.registry.get_sample_value("qexplorer_stage_seconds_sum", {"stage": "search"}) == 2
