"""What the size of a batch and its wait do to throughput and latency, with a model whose time is known.

The pipeline is the worker's own; inference takes `BASE_S` a batch and `EACH_S` a flag, as a small model on a processor
does. Nothing is computed, so all settings run side by side.
"""

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qexplorer.llm.scripted import ScriptedEngine
from qexplorer.settings import Settings
from qexplorer.testing import MemorySearcher, a_flag, a_listing
from tests.bench.overlap import Message, always, handler
from worker.app import Pipeline
from worker.inference import Done, Job

BASE_S, EACH_S = 0.5, 0.1
SIZES = (1, 2, 4, 8, 16, 32)
WAITS_S = (0.1, 0.5, 1.0, 2.0)
# Flags a second: a quiet hour, and three quarters of what batches of 16 can do.
CALM, BUSY = 1.0, 5.7
SECONDS = 60.0
FLOOD = 96
CHART = Path(__file__).parents[2] / "docs" / "batching.png"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One setting: flags a second when there are always more, and how long a flag takes at two rates (median, 95 %)."""

    size: int
    wait_s: float
    rate: float
    calm: tuple[float, float]
    busy: tuple[float, float]


class TimedInference:
    """Answers after the time that a batch of this size takes."""

    async def generate(self, job: Job) -> Done:
        """Answer."""
        await asyncio.sleep(BASE_S + EACH_S * len(job.prompts))
        engine = ScriptedEngine()
        replies = engine.generate(job.prompts, job.sampling, deadline_s=job.deadline_s)
        return Done(replies=tuple(replies), version=engine.version)


class TimedBatch:
    """A batch that notes when it was acknowledged."""

    def __init__(self, numbers: Sequence[int], done: dict[int, float]) -> None:
        self.events = [
            Message(number, a_flag(f"a{number}", f"first{number} second{number}").to_bytes()) for number in numbers
        ]
        self._numbers, self._done = numbers, done

    def is_stale(self) -> bool:
        """Tell that it is ours."""
        return False

    def ack(self) -> int:
        """Note the time."""
        self._done |= dict.fromkeys(self._numbers, time.monotonic())
        return 0


async def batching() -> str:
    """Return the table, and draw it."""
    found = await asyncio.gather(*(_setting(size, wait_s) for size in SIZES for wait_s in WAITS_S))
    _draw(found)
    head = f"inference of {BASE_S} s + {EACH_S} s a flag; seconds from arrival to answer, median / 95 %"
    lines = [
        f"size {each.size:2}, wait {each.wait_s:.1f} s: {each.rate:4.1f} flags/s; at {CALM:.0f}/s "
        f"{each.calm[0]:.1f} / {each.calm[1]:.1f}; at {BUSY}/s {each.busy[0]:5.1f} / {each.busy[1]:5.1f}"
        for each in found
    ]
    return "\n          ".join([head, *lines, f"drawn in {CHART.name}"])


async def _setting(size: int, wait_s: float) -> Found:
    flood, calm, busy = await asyncio.gather(
        _run(size, wait_s, [0.0] * FLOOD),
        _run(size, wait_s, _arrivals(CALM)),
        _run(size, wait_s, _arrivals(BUSY)),
    )
    return Found(size=size, wait_s=wait_s, rate=FLOOD / max(flood), calm=_quantiles(calm), busy=_quantiles(busy))


def _arrivals(rate: float) -> list[float]:
    rng, at, times = random.Random(0), 0.0, []
    while (at := at + rng.expovariate(rate)) < SECONDS:
        times.append(at)
    return times


async def _run(size: int, wait_s: float, arrivals: Sequence[float]) -> list[float]:
    """Return how long each flag took: batches close at their size, or when the first has waited."""
    pipeline = Pipeline(
        handler(TimedInference(), MemorySearcher(listings={"listings": [a_listing()]}), Settings()), always()
    )
    finishing = asyncio.create_task(pipeline.finish_all())
    done: dict[int, float] = {}
    queue: asyncio.Queue[int] = asyncio.Queue()
    began = time.monotonic()

    async def arrive() -> None:
        for number, at in enumerate(arrivals):
            await asyncio.sleep(max(0.0, began + at - time.monotonic()))
            queue.put_nowait(number)

    arriving = asyncio.create_task(arrive())
    taken = 0
    while taken < len(arrivals):
        numbers = [await queue.get()]
        closes = time.monotonic() + wait_s
        while len(numbers) < size and (left := closes - time.monotonic()) > 0:
            try:
                numbers.append(await asyncio.wait_for(queue.get(), left))
            except TimeoutError:
                break
        taken += len(numbers)
        batch: Any = TimedBatch(numbers, done)
        await pipeline.submit(batch)
    await pipeline.settle(600)
    await arriving
    finishing.cancel()
    return [done[number] - began - at for number, at in enumerate(arrivals)]


def _quantiles(times: Sequence[float]) -> tuple[float, float]:
    ranked = sorted(times)
    return ranked[len(ranked) // 2], ranked[int(len(ranked) * 0.95)]


def _draw(found: Sequence[Found]) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.5, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 3)
    for wait_s in WAITS_S:
        rows = [each for each in found if each.wait_s == wait_s]
        sizes = [each.size for each in rows]
        for axis, values in zip(
            axes, ([r.rate for r in rows], [r.calm[1] for r in rows], [r.busy[1] for r in rows]), strict=True
        ):
            axis.plot(sizes, values, marker="o", markersize=4, label=f"wait {wait_s} s")
    titles = ("flags a second, always more", f"seconds, 95 %, at {CALM:.0f}/s", f"seconds, 95 %, at {BUSY}/s")
    for axis, title in zip(axes, titles, strict=True):
        axis.set(title=title, xlabel="batch size", xscale="log", xticks=SIZES, xticklabels=SIZES)
        axis.minorticks_off()
        axis.grid(visible=True, color="#e5e5e5", linewidth=0.6)
        axis.spines[["top", "right"]].set_visible(False)
    axes[2].set_yscale("log")
    axes[0].legend(frameon=False, fontsize=8)
    figure.savefig(CHART, dpi=120)
