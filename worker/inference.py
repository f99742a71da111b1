"""The language model in a process of its own, so that it can hang, die and be started again.

The event loop never waits for it without a deadline. One job is in flight at a time; the queue is the caller.
"""

import asyncio
import contextlib
import multiprocessing
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Any

import structlog

from qexplorer.errors import ModelUnavailableError, QExplorerError
from qexplorer.llm.engine import Engine, EngineSettings, EngineVersion, Prompt, Reply, Sampling
from qexplorer.llm.opening import open_engine

log = structlog.get_logger()

TICK_S = 1.0
GRACE_S = 5.0
# A harmless prompt: an engine that does not answer this one answers none.
CANARY = Prompt(instruction="Write search queries.", listing="bicycle", max_listing_tokens=8)
START_S = 600.0
# A process that takes so many times as long as the last one to come up, and so long at least, is taken to hang.
RESTART_TIMES, RESTART_S = 5.0, 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One batch for one engine."""

    engine: EngineSettings
    prompts: tuple[Prompt, ...]
    sampling: Sampling
    deadline_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The replies to a job and who gave them."""

    replies: tuple[Reply, ...]
    version: EngineVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """Have these engines ready; answered once they are."""

    engines: tuple[EngineSettings, ...]


class InferenceProcess:
    """Starts, feeds, watches and restarts the process that holds the engines."""

    def __init__(self, engines: Sequence[EngineSettings]) -> None:
        self._engines = tuple(engines)
        self._context = multiprocessing.get_context("spawn")
        self._tick = self._context.Value("d", 0.0)
        self._process: Any = None
        self._pipe: Connection | None = None
        self._lock = asyncio.Lock()
        # How long a start may take: for the first one a model may have to be fetched.
        self._patience_s = START_S
        self.restarts = 0

    @property
    def pid(self) -> int | None:
        """The process's id while it runs."""
        return self._process.pid if self._process is not None else None

    @property
    def silent_s(self) -> float:
        """Seconds since the process last gave a sign of life."""
        return time.monotonic() - float(self._tick.value)

    async def start(self) -> None:
        """Start the process and wait until its engines are loaded and warm.

        Raises ModelError when a model is missing, ModelUnavailableError when it does not come up.
        """
        async with self._lock:
            await self._start()

    async def generate(self, job: Job) -> Done:
        """Return the replies to a job.

        A process that dies or passes the deadline is killed and started again, and ModelUnavailableError is raised.
        """
        async with self._lock:
            answer = await self._ask(job, job.deadline_s + GRACE_S)
        if not isinstance(answer, Done):
            raise ModelUnavailableError(f"the inference process answered {type(answer).__name__}")
        return answer

    async def use(self, engines: Sequence[EngineSettings]) -> None:
        """Load and warm up other engines; those used before stay loaded too, so that going back takes no time.

        Raises ModelError when one cannot be used; the ones before are used on then.
        """
        async with self._lock:
            await self._ask(Use(engines=tuple(engines)), START_S)
            self._engines = tuple(engines)
            self._patience_s = START_S

    async def _ask(self, question: Job | Use, within_s: float) -> Any:
        if self._process is None or not self._process.is_alive():
            await self._restart("it was gone")
        try:
            answer = await self._exchange(question, within_s)
        except ModelUnavailableError as error:
            await self._restart(error.message)
            raise
        if isinstance(answer, QExplorerError):
            raise answer
        return answer

    async def stop(self) -> None:
        """End the process."""
        await asyncio.to_thread(self._kill)

    async def _restart(self, reason: str) -> None:
        log.warning("inference restarted", reason=reason)
        self.restarts += 1
        await asyncio.to_thread(self._kill)
        await self._start()

    async def _start(self) -> None:
        ours, theirs = self._context.Pipe()
        self._tick.value = time.monotonic()
        self._process = self._context.Process(
            target=_serve, args=(theirs, self._tick, self._engines), daemon=True, name="inference"
        )
        await asyncio.to_thread(self._process.start)
        theirs.close()
        self._pipe = ours
        began = time.monotonic()
        try:
            answer = await asyncio.to_thread(self._wait, self._patience_s)
        except ModelUnavailableError:
            # It may only be slow, on a machine that is busy.
            self._patience_s = min(START_S, 2 * self._patience_s)
            await asyncio.to_thread(self._kill)
            raise
        if isinstance(answer, QExplorerError):
            await asyncio.to_thread(self._kill)
            raise answer
        self._patience_s = min(START_S, max(RESTART_S, RESTART_TIMES * (time.monotonic() - began)))

    async def _exchange(self, question: Job | Use, within_s: float) -> Any:
        assert self._pipe is not None  # noqa: S101 - started above
        return await asyncio.to_thread(self._send_and_wait, self._pipe, question, within_s)

    def _send_and_wait(self, pipe: Connection, question: Job | Use, within_s: float) -> Any:
        # One hop to a thread for both: a hop waits for its turn behind all that the loop has to do.
        try:
            pipe.send(question)
        except OSError as error:
            raise ModelUnavailableError("the inference process died") from error
        return self._wait(within_s)

    def _wait(self, within_s: float) -> Any:
        assert self._pipe is not None  # noqa: S101 - started above
        until = time.monotonic() + within_s
        try:
            while not self._pipe.poll(min(TICK_S, max(0.0, until - time.monotonic()))):
                if not self._process.is_alive() and not self._pipe.poll(0):
                    raise ModelUnavailableError(f"the inference process died (exit {self._process.exitcode})")
                if time.monotonic() >= until:
                    raise ModelUnavailableError(f"the inference process gave no answer within {within_s:.0f} s")
            return self._pipe.recv()
        except (EOFError, OSError) as error:
            raise ModelUnavailableError("the inference process died") from error

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None


def _serve(pipe: Connection, tick: Any, engines: Sequence[EngineSettings]) -> None:
    """Run in the child: load, say so, then answer job after job until the parent is gone."""
    import signal

    # The parent decides when the child ends; a Ctrl-C in the terminal goes to the parent.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_beat, args=(tick, os.getppid()), daemon=True).start()
    loaded = Loaded()
    answer = loaded.answer(Use(engines=tuple(engines)))
    pipe.send(answer)
    if isinstance(answer, QExplorerError):
        return
    while True:
        try:
            question: Job | Use = pipe.recv()
        except (EOFError, OSError):
            return
        with contextlib.suppress(BrokenPipeError):
            pipe.send(loaded.answer(question))


class Loaded:
    """The engines in the child's memory: those in use, and those that were in use before them."""

    def __init__(self) -> None:
        self._opened: dict[EngineSettings, Engine] = {}
        self._used: tuple[EngineSettings, ...] = ()

    def answer(self, question: Job | Use) -> object:
        """Return the replies, "ready", or the error."""
        try:
            return self._use(question.engines) if isinstance(question, Use) else self._generate(question)
        except QExplorerError as error:
            return error
        except Exception as error:  # noqa: BLE001 - the edge of the process: whatever it is, the parent must hear of it
            return ModelUnavailableError(f"the engine failed: {type(error).__name__}: {error}")

    def _generate(self, job: Job) -> Done:
        engine = self._open(job.engine)
        replies = engine.generate(job.prompts, job.sampling, deadline_s=job.deadline_s)
        return Done(replies=tuple(replies), version=engine.version)

    def _use(self, engines: tuple[EngineSettings, ...]) -> str:
        for settings in engines:
            if settings in self._opened:
                continue
            engine = self._open(settings)
            # The first answer takes the longest, and no flag should wait for it. A server that is out of reach now is
            # waited for by the first flags.
            with contextlib.suppress(ModelUnavailableError):
                engine.generate([CANARY], Sampling(max_new_tokens=2), deadline_s=START_S)
        for old in self._opened.keys() - {*engines, *self._used}:
            del self._opened[old]
        self._used = engines
        return "ready"

    def _open(self, settings: EngineSettings) -> Engine:
        if settings not in self._opened:
            self._opened[settings] = open_engine(settings)
        return self._opened[settings]


def _beat(tick: Any, parent: int) -> None:
    """Give a sign of life, and end the process when its parent has gone."""
    while os.getppid() == parent:
        tick.value = time.monotonic()
        time.sleep(TICK_S)
    os._exit(0)


def single(job: Job, prompt: Prompt) -> Job:
    """Return the job for one of its prompts alone."""
    return replace(job, prompts=(prompt,))
