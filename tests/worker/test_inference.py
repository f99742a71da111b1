"""The inference process: answers, hangs, dies, and comes back."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from qexplorer.errors import ModelError, ModelUnavailableError
from qexplorer.llm.engine import EngineSettings, Prompt, Sampling
from qexplorer.llm.scripted import ScriptedEngine
from worker import inference as module
from worker.inference import InferenceProcess, Job, Loaded, Use, single

SCRIPTED = EngineSettings(kind="scripted")
PROMPT = Prompt(instruction="i", listing="purple gummies", max_listing_tokens=9)


def job(*prompts: Prompt, deadline_s: float = 30.0) -> Job:
    return Job(
        engine=SCRIPTED,
        prompts=prompts or (PROMPT,),
        sampling=Sampling(),
        deadline_s=deadline_s,
    )


@asynccontextmanager
async def running() -> AsyncIterator[InferenceProcess]:
    process = InferenceProcess([SCRIPTED])
    await process.start()
    try:
        yield process
    finally:
        await process.stop()


async def test_jobs_are_answered_in_order_with_the_version_that_answered() -> None:
    """Each prompt has its reply; the process says who it is."""
    async with running() as process:
        done = await process.generate(job(PROMPT, PROMPT))
        assert len(done.replies) == 2
        assert "gummies" in done.replies[0].generations[0].text
        assert done.version.model == "scripted@1"


async def test_a_process_that_dies_is_started_again() -> None:
    """A kill costs the job in hand at most; the next is answered by a new process."""
    async with running() as process:
        first = process.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        process._process.join(5)
        done = await process.generate(job())
        assert done.replies
        assert process.pid != first
        assert process.restarts == 1


async def test_a_process_that_hangs_is_killed_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stopped process gives no answer: it is killed, the caller hears of it, and the next job is answered."""
    monkeypatch.setattr(module, "GRACE_S", 0.2)
    async with running() as process:
        hung = process.pid
        assert hung is not None
        os.kill(hung, signal.SIGSTOP)
        with pytest.raises(ModelUnavailableError, match="no answer"):
            await process.generate(job(deadline_s=0.3))
        assert not psutil.pid_exists(hung)
        assert (await process.generate(job())).replies


async def test_a_process_that_hangs_as_it_comes_up_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long before a first start would be given up: it is known how long one takes. One that is slow has longer then."""
    monkeypatch.setattr(module, "RESTART_S", 0.2)
    monkeypatch.setattr(module, "RESTART_TIMES", 0.0)
    async with running() as process:
        first = process.pid
        assert first is not None

        async def stop_the_next() -> None:
            while process.pid in {first, None}:  # noqa: ASYNC110 - a process of the system's
                await asyncio.sleep(0)
            os.kill(process.pid or 0, signal.SIGSTOP)

        os.kill(first, signal.SIGKILL)
        process._process.join(5)
        stopping = asyncio.create_task(stop_the_next())
        with pytest.raises(ModelUnavailableError, match="no answer"):
            await process.generate(job())
        await stopping
        assert process.pid is None
        answered = False
        while not answered:
            with contextlib.suppress(ModelUnavailableError):
                answered = bool((await process.generate(job())).replies)


async def test_a_stopped_process_falls_silent() -> None:
    """The heartbeat tells a hanging process from a working one."""
    async with running() as process:
        assert process.silent_s < 5
        assert process.pid is not None
        os.kill(process.pid, signal.SIGSTOP)
        await asyncio.sleep(3 * module.TICK_S)
        assert process.silent_s > module.TICK_S


async def test_a_missing_model_is_named_at_the_start(tmp_path: Path) -> None:
    """The worker does not start with a model that is not there."""
    settings = EngineSettings(kind="transformers", model=str(tmp_path / "nothing"))
    process = InferenceProcess([settings])
    with pytest.raises(ModelError, match="nothing"):
        await process.start()


async def test_an_engine_that_cannot_be_used_is_an_error_and_no_crash(tmp_path: Path) -> None:
    """A job for a model that is not there is refused by name, and so is the change to it; the others go on."""
    missing = EngineSettings(kind="transformers", model=str(tmp_path / "nothing"))
    async with running() as process:
        first = process.pid
        with pytest.raises(ModelError, match="nothing"):
            await process.generate(replace(job(), engine=missing))
        with pytest.raises(ModelError, match="nothing"):
            await process.use([missing])
        assert (await process.generate(job())).replies
        assert process.pid == first


async def test_other_engines_are_taken_without_a_restart() -> None:
    """The process stays, and once it is killed it comes back with the new engines."""
    other = EngineSettings(kind="scripted", model="other")
    async with running() as process:
        first = process.pid
        assert first is not None
        await process.use([other])
        assert (await process.generate(replace(job(), engine=other))).replies
        assert process.pid == first
        assert process._engines == (other,)


def test_a_job_can_be_cut_to_one_prompt() -> None:
    """What breaks a batch is looked for prompt by prompt."""
    other: Any = Prompt(instruction="i", listing="x", max_listing_tokens=1)
    assert single(job(PROMPT, other), other).prompts == (other,)


@pytest.mark.parametrize("down", [False, True], ids=["up", "down"])
def test_each_engine_answers_once_before_it_is_ready(monkeypatch: pytest.MonkeyPatch, *, down: bool) -> None:
    """The harmless prompt has been answered when the first flag comes; an engine out of reach keeps nobody waiting."""
    made = {"a": ScriptedEngine(), "b": ScriptedEngine()}
    if down:
        made["a"].enqueue([ModelUnavailableError("down")])
    monkeypatch.setattr(module, "open_engine", lambda settings: made[settings.model])
    assert Loaded().answer(Use(engines=(named("a"), named("b")))) == "ready"
    assert [[call.prompts for call in engine.history] for engine in made.values()] == [[(module.CANARY,)]] * 2


def test_the_engines_of_one_change_ago_stay_loaded_and_older_ones_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Going back one step loads nothing; memory does not grow with every change."""
    opened: list[str] = []

    def open_one(settings: EngineSettings) -> ScriptedEngine:
        opened.append(settings.model)
        return ScriptedEngine()

    monkeypatch.setattr(module, "open_engine", open_one)
    loaded = Loaded()
    for name in ("a", "b", "a", "c", "b"):
        loaded.answer(Use(engines=(named(name),)))
    assert opened == ["a", "b", "c", "b"]


def named(model: str) -> EngineSettings:
    return EngineSettings(kind="scripted", model=model)
