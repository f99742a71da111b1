"""Replies are written once, kept between runs, and counted."""

from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from qexplorer.errors import ModelError
from qexplorer.evaluation.methods.replies import Replies
from qexplorer.evaluation.seeds import Seed
from qexplorer.llm.engine import EngineSettings, EngineVersion, Sampling
from qexplorer.llm.fake_openai import FakeOpenAIServer
from qexplorer.llm.openai_engine import OpenAIEngine
from qexplorer.llm.scripted import ScriptedEngine
from qexplorer.testing import WordTriage

SEEDS = [Seed(title=f"strong gummies {n}", description="", kind="drugs", locale="en") for n in range(40)]
TWO = Sampling(samples=1)


def test_a_run_that_was_cut_off_goes_on(tmp_path: Path) -> None:
    """What is on the disk is not asked for again, and half a line is passed over."""
    first = ScriptedEngine(reply=lambda _: ["gummies; vapes", "pills; vapes"])
    kept = Replies(first, sampling=TWO, folder=tmp_path)
    kept.write(SEEDS[:2])
    (path,) = tmp_path.iterdir()
    path.write_text(path.read_text() + '{"key": "cut')
    second = ScriptedEngine(reply=lambda _: ["other"])
    again = Replies(second, sampling=TWO, folder=tmp_path)
    again.write(SEEDS[:3])
    assert [len(call.prompts) for call in second.history] == [1]
    assert again.queries(SEEDS[0]) == kept.queries(SEEDS[0]) == ["vapes", "gummies", "pills"]
    assert again.cost(SEEDS[0]) == kept.cost(SEEDS[0])


def test_other_samples_are_other_replies(tmp_path: Path) -> None:
    """Another temperature, prompt, model or number format is never answered from what was kept."""
    Replies(ScriptedEngine(), sampling=TWO, folder=tmp_path).write(SEEDS[:1])
    exact = ScriptedEngine(version=EngineVersion(model="scripted@1", dtype="float32"))
    Replies(exact, sampling=TWO, folder=tmp_path).write(SEEDS[:1])
    assert len(exact.history) == 1
    engine = ScriptedEngine()
    Replies(engine, sampling=Sampling(samples=1, temperature=1.4), folder=tmp_path).write(SEEDS[:1])
    Replies(engine, sampling=TWO, prompt="short", folder=tmp_path).write(SEEDS[:1])
    assert len(engine.history) == 2


def test_two_servers_that_call_their_models_the_same_are_told_apart(tmp_path: Path) -> None:
    """What one has answered is not taken for the other's, and a login in an address stays out of the name."""

    def answer(word: str, _messages: Sequence[dict[str, str]], _seed: int) -> str:
        return word

    said = []
    with (
        FakeOpenAIServer(answer=partial(answer, "gummies")) as one,
        FakeOpenAIServer(answer=partial(answer, "vapes")) as other,
    ):
        for server in (one, other):
            url = server.base_url.replace("//", "//user:secret@")
            with closing(OpenAIEngine(EngineSettings(kind="openai", model="fake", base_url=url))) as engine:
                replies = Replies(engine, sampling=Sampling(), folder=tmp_path)
                said += replies.queries(SEEDS[0])
                assert "secret" not in replies.version
    assert said == ["gummies", "vapes"]


def test_known_spans_are_of_the_corpus_at_hand() -> None:
    """A prompt that wants them has those of the triage; replies to other spans are other replies."""
    engine = ScriptedEngine()
    replies = Replies(engine, sampling=TWO, prompt="known")
    replies.write(SEEDS[:1])
    told = replies.told(WordTriage(wanted=frozenset({"gummies", "vapes"})))
    told.write(SEEDS[:1])
    replies.write(SEEDS[:1])
    assert [call.prompts[0].parts()[1] for call in engine.history] == [
        " | strong gummies 0", "vapes | strong gummies 0"
    ]  # fmt: skip


def test_seeds_are_answered_in_batches() -> None:
    """40 seeds are 32 and 8."""
    engine = ScriptedEngine()
    Replies(engine, sampling=TWO).write([*SEEDS, *SEEDS])
    assert [len(call.prompts) for call in engine.history] == [32, 8]


def test_a_failed_seed_is_tried_again_and_a_broken_engine_is_an_error(tmp_path: Path) -> None:
    """An error of one seed is not kept; when all fail, the figures would be those of no model."""
    engine = ScriptedEngine()
    engine.enqueue([ValueError("it is NaN"), ["gummies"]])
    Replies(engine, sampling=TWO, folder=tmp_path).write(SEEDS[:2])
    again = ScriptedEngine(reply=lambda _: ["mended"])
    assert Replies(again, sampling=TWO, folder=tmp_path).queries(SEEDS[0]) == ["mended"]
    broken = ScriptedEngine()
    broken.enqueue([ValueError("it is NaN")])
    with pytest.raises(ModelError, match="answers no seed: it is NaN"):
        Replies(broken, sampling=TWO).write(SEEDS[:1])


def test_replies_that_do_not_parse_are_counted() -> None:
    """One of two."""
    replies = Replies(ScriptedEngine(reply=lambda _: ["gummies", "```"]), sampling=TWO)
    replies.write(SEEDS[:1])
    cost = replies.cost(SEEDS[0])
    assert (cost.replies, cost.unparseable) == (2, 1)
    assert cost.tokens > 0
