"""A language model as the judge of what searches find, by a server that speaks the chat protocol."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from qexplorer.cli.dataset import _llm_judge
from qexplorer.errors import ConfigError
from qexplorer.learn import build
from qexplorer.learn.llm_judge import LlmJudge, probability
from qexplorer.learn.store import JudgedRow, ListingRow, Store
from qexplorer.llm.engine import EngineSettings, Generation
from qexplorer.llm.fake_openai import FakeOpenAIServer
from qexplorer.llm.openai_engine import OpenAIEngine
from qexplorer.policies import load_policies
from qexplorer.testing import WordTriage, a_flag


def says(messages: Sequence[dict[str, str]], _seed: int) -> str:
    """Wanted is what has zaza; of riddles it will not speak."""
    text = messages[-1]["content"]
    return "I cannot say" if "riddle" in text else "Yes." if "zaza" in text else "no"


def test_an_answer_is_a_probability() -> None:
    """Of the first token where it is told; neither yes nor no is nothing."""
    assert probability(Generation(text="Yes.", source="greedy", logprobs=(-0.1,))) == pytest.approx(0.9048, abs=1e-4)
    assert probability(Generation(text="no", source="greedy", logprobs=(-0.1,))) == pytest.approx(0.0952, abs=1e-4)
    assert probability(Generation(text="Yes, it does", source="greedy")) == 0.95
    assert probability(Generation(text="yesterday", source="greedy")) is None
    assert probability(Generation(text="", source="greedy")) is None


def test_a_model_judges_what_is_not_labelled(tmp_path: Path) -> None:
    """Once each; what it will not judge is left to the triage, and every judgement names its judge."""
    store = Store(tmp_path / "store")
    build.add_flags(store, "train", [a_flag("s0", "zaza lean")], WordTriage(wanted=frozenset({"zaza"})))
    texts = {"s0": "zaza lean", "a": "zaza drip", "b": "garden chair", "c": "a riddle of zaza"}
    store.add(
        [ListingRow(index="train", listing_id=name, version="1", normalised=text) for name, text in texts.items()]
    )
    settings = EngineSettings(kind="openai", model="fake", base_url="http://127.0.0.1:1/v1")
    server = FakeOpenAIServer(answer=says)
    settings = settings.model_copy(update={"base_url": server.base_url})
    with server, closing(OpenAIEngine(settings)) as engine:
        model = LlmJudge(engine)
        judges = build.Judges(triage=WordTriage(wanted=frozenset({"zaza"})), llm=model)
        build.judge(store, "train", judges)
        asked = len(server.requests)
        build.judge(store, "train", judges)
    found = {row.listing_id: (round(row.wanted, 2), row.judge) for row in store.read(JudgedRow)}
    # A round of alignment, which has the triage alone, takes nothing back.
    build.judge(store, "train", build.Judges(triage=judges.triage))
    assert {row.listing_id: (round(row.wanted, 2), row.judge) for row in store.read(JudgedRow)} == found
    assert found["s0"] == (1.0, "flag")
    assert found["a"] == (0.61, model.version)
    assert found["b"] == (0.39, model.version)
    assert found["c"] == (0.9, "words@1")
    assert asked == 3
    assert [request["messages"][-1]["content"] for request in server.requests[asked:]] == [
        "<listing>\na riddle of zaza\n</listing>"
    ]


def test_text_that_may_not_leave_is_not_judged_elsewhere() -> None:
    """The policy of each flag decides; an engine that is not in the settings is named."""
    away = EngineSettings(kind="openai", model="m", base_url="http://models.example.com/v1")
    engines, policies = {"default": EngineSettings(), "away": away}, load_policies(None)
    with pytest.raises(ConfigError, match="policy drugs would send text"):
        _llm_judge("away", engines, policies, [a_flag("s0", "zaza")])
    with pytest.raises(ConfigError, match="no engine other"):
        _llm_judge("other", engines, policies, [a_flag("s0", "zaza")])
