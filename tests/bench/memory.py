"""The worker's own memory over 100,000 flags, and the time of --help."""

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from qexplorer.demo.workers import workers
from qexplorer.stack import running
from qexplorer.testing import a_flag
from tests.bench.site_of_bench import Bench

FLAGS = 100_000
LISTINGS = 2_000


async def help_time() -> str:
    """Return the median time of `--help` of both command lines."""
    ours = await asyncio.to_thread(_median, ["-c", "from qexplorer.cli.app import main; main()", "--help"])
    workers_ = await asyncio.to_thread(_median, ["-m", "worker", "--help"])
    return f"qexplorer --help {ours:.2f} s, python -m worker --help {workers_:.2f} s (goal ≤ 0.40)"


def _median(arguments: list[str]) -> float:
    seconds: list[float] = []
    for _ in range(7):
        started = time.monotonic()
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        seconds.append(time.monotonic() - started)
    return statistics.median(seconds)


async def million_flags() -> str:
    """Watch the worker over ten times as many flags."""
    return await worker_memory(10 * FLAGS)


async def worker_memory(flags: int = FLAGS) -> str:
    """Run flags of a few thousand listings through one worker and watch the main process."""
    now = datetime.now(UTC)
    with tempfile.TemporaryDirectory() as name, running() as engines:
        bench = Bench(engines, Path(name), batch_size=64)
        await bench.prepare(LISTINGS)
        with workers(1, bench.settings, Path(name)) as (worker,):
            sending = asyncio.create_task(
                bench.send(
                    a_flag(
                        f"s{n % LISTINGS}", f"zaza{n % LISTINGS}x lean{n % LISTINGS}x", flag_id=f"f{n}", flagged_at=now
                    ).to_bytes()
                    for n in range(flags)
                )
            )
            started = time.monotonic()
            seen = [(done, rss(worker.process.guard_pid)) async for done in bench.results(flags)]
            seconds = time.monotonic() - started
            await sending
    early = statistics.median(size for done, size in seen if 0.1 * flags <= done <= 0.2 * flags)
    late = statistics.median(size for done, size in seen if done >= 0.9 * flags)
    return (
        f"{flags} flags at {flags / seconds:.0f}/s: at most {max(size for _, size in seen) / 2**20:.0f} MB "
        f"(goal ≤ 250), growth from the second to the last tenth {late / early - 1:+.1%}"
    )


def rss(guard: int) -> int:
    """Return the resident bytes of the worker's main process, the inference process left out."""
    children: list[Any] = psutil.Process(guard).children()
    return int(children[0].memory_info().rss) if children else 0
