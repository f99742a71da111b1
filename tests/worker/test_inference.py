"""The inference process: answers, hangs, dies, and comes back."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from qexplorer.errors import ModelError, ModelUnavailableError
from qexplorer.llm.engine import EngineSettings, Prompt, Sampling
from qexplorer.llm.scripted import ScriptedEngine
from worker import inference as module
from worker.inference import InferenceProcess, Job, single

PROMPT = Prompt(instruction="i", listing="purple gummies", max_listing_tokens=9)


def job(*prompts: Prompt, deadline_s: float = 30.0) -> Job:
    return Job(
        engine="default",
        adapter="",
        prompts=prompts or (PROMPT,),
        sampling=Sampling(),
        deadline_s=deadline_s,
    )


@asynccontextmanager
async def running(**engines: EngineSettings) -> AsyncIterator[InferenceProcess]:
    process = InferenceProcess(engines or {"default": EngineSettings(kind="scripted")}, [("default", "")])
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
    process = InferenceProcess({"default": settings}, [("default", "")])
    with pytest.raises(ModelError, match="nothing"):
        await process.start()


async def test_an_unknown_engine_is_an_error_and_no_crash() -> None:
    """A job for an engine that the settings lack is refused by name."""
    async with running() as process:
        bad = Job(engine="other", adapter="", prompts=(PROMPT,), sampling=Sampling(), deadline_s=5)
        with pytest.raises(ModelError, match="other"):
            await process.generate(bad)
        assert (await process.generate(job())).replies


def test_a_job_can_be_cut_to_one_prompt() -> None:
    """What breaks a batch is looked for prompt by prompt."""
    other: Any = Prompt(instruction="i", listing="x", max_listing_tokens=1)
    assert single(job(PROMPT, other), other).prompts == (other,)


@pytest.mark.parametrize("down", [False, True], ids=["up", "down"])
def test_each_engine_answers_once_before_the_process_is_ready(monkeypatch: pytest.MonkeyPatch, *, down: bool) -> None:
    """The harmless prompt has been answered when the first flag comes; an engine out of reach keeps nobody waiting."""
    made = {"a": ScriptedEngine(), "b": ScriptedEngine()}
    if down:
        made["a"].enqueue([ModelUnavailableError("down")])
    monkeypatch.setattr(module, "_open", lambda _, name, __: made[name])
    opened = module._warmed_up({}, [("a", ""), ("b", "x")])
    assert opened == {("a", ""): made["a"], ("b", "x"): made["b"]}
    assert [[call.prompts for call in engine.history] for engine in made.values()] == [[(module.CANARY,)]] * 2
