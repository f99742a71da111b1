import pytest

from qexplorer.errors import ModelUnavailableError
from qexplorer.llm.engine import EngineSettings, EngineVersion, Prompt, Sampling
from qexplorer.llm.opening import open_engine
from qexplorer.llm.parse import parse_reply
from qexplorer.llm.scripted import ScriptedEngine, salient_words


def _prompt(text: str) -> Prompt:
    return Prompt(instruction="i", listing=f"<listing>\n{text}\n</listing>", max_listing_tokens=9)


def test_enqueued_replies_come_in_order_then_the_function() -> None:
    """The queue is used up first; the last text of an entry serves all further samples."""
    engine = ScriptedEngine(reply=lambda prompt: [prompt.parts()[1]])
    engine.enqueue([["g", "s1"]])
    replies = engine.generate([_prompt("a"), _prompt("b")], Sampling(samples=2), deadline_s=1)
    assert [[generation.text for generation in reply.generations] for reply in replies] == [
        ["g", "s1", "s1"],
        ["b"] * 3,
    ]


def test_history_records_every_call() -> None:
    """A test can see what the engine was asked."""
    engine = ScriptedEngine()
    engine.generate([_prompt("a")], Sampling(seed=3), deadline_s=2)
    assert [(call.prompts, call.sampling.seed, call.deadline_s) for call in engine.history] == [((_prompt("a"),), 3, 2)]


def test_enqueued_errors() -> None:
    """One kind of error breaks a prompt, the other the engine."""
    engine = ScriptedEngine()
    engine.enqueue([ValueError("bad row"), ["fine"], ModelUnavailableError("down")])
    broken, fine = engine.generate([_prompt("a"), _prompt("b")], Sampling(), deadline_s=1)
    assert (broken.error, broken.generations) == ("bad row", ())
    assert fine.error is None
    with pytest.raises(ModelUnavailableError, match="down"):
        engine.generate([_prompt("c")], Sampling(), deadline_s=1)


def test_delay_beyond_the_deadline_raises() -> None:
    """A slow engine does not sleep past its deadline."""
    with pytest.raises(ModelUnavailableError, match="needs 60 s"):
        ScriptedEngine(delay_s=60).generate([_prompt("a")], Sampling(), deadline_s=1)


def test_version_can_be_set() -> None:
    """A test of versions can pose as any model."""
    version = EngineVersion(model="m@1", adapter="a@2")
    assert ScriptedEngine(version=version).version == version


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        ("cheap cannabis vape, discreet shipping!", "cannabis discreet; shipping cheap; vape"),
        ("加微信代开发票", "加微信代开发票"),
        ("??", "listing"),
    ],
)
def test_salient_words(text: str, reply: str) -> None:
    """The scripted answer is the longest words of the listing in a reply that parses."""
    assert salient_words(_prompt(text)) == (reply,)
    assert parse_reply(reply)


def test_settings_open_it_without_torch() -> None:
    """The kind "scripted" gives a deterministic engine."""
    engine = open_engine(EngineSettings(kind="scripted"))
    (reply,) = engine.generate([_prompt("cannabis")], Sampling(), deadline_s=1)
    assert [generation.text for generation in reply.generations] == ["cannabis"]
