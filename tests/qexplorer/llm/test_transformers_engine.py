from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path

import pytest

from qexplorer.errors import ModelUnavailableError
from qexplorer.llm.engine import EngineSettings, Prompt, Reply, Sampling
from qexplorer.llm.ids import token_ids
from qexplorer.llm.loading import Loaded, load_model
from qexplorer.llm.tiny import save_tiny_model
from qexplorer.llm.transformers_engine import TransformersEngine


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def loaded(folder: Path) -> Loaded:
    return load_model(EngineSettings(model=str(folder), dtype="float32"))


def _prompt(text: str, instruction: str = "Write queries.", limit: int = 64) -> Prompt:
    return Prompt(
        instruction=instruction,
        examples=(("<listing>\nred shoes\n</listing>", "red shoes; shoes"),),
        listing=f"<listing>\n{text}\n</listing>",
        max_listing_tokens=limit,
    )


_PROMPTS = [
    _prompt("vape"),
    _prompt("a much longer listing about many pills"),
    _prompt("加微信"),
    _prompt("", "Other."),
]


def _texts(replies: Sequence[Reply]) -> list[list[str]]:
    return [[generation.text for generation in reply.generations] for reply in replies]


def test_sharing_the_instruction_changes_nothing(loaded: Loaded) -> None:
    """Greedy replies are the same with the instruction computed once and with plain generation."""
    sampling = Sampling(max_new_tokens=12)
    shared, plain = (
        TransformersEngine(loaded, batch_size=4, share_prefix=share).generate(_PROMPTS, sampling, deadline_s=99)
        for share in (True, False)
    )
    assert _texts(shared) == _texts(plain)
    assert [reply.prompt_tokens for reply in shared] == [reply.prompt_tokens for reply in plain]
    for one, other in zip(shared, plain, strict=True):
        assert one.generations[0].logprobs == pytest.approx(other.generations[0].logprobs, abs=1e-3)


def test_batch_size_changes_nothing(loaded: Loaded) -> None:
    """Replies come in the order of the prompts however these are grouped."""
    sampling = Sampling(samples=2, max_new_tokens=8)
    one, all_at_once = (
        TransformersEngine(loaded, batch_size=size).generate(_PROMPTS, sampling, deadline_s=99) for size in (1, 9)
    )
    assert _texts(one) == _texts(all_at_once)


def test_greedy_samples_and_beams_in_order(loaded: Loaded) -> None:
    """One call gives all sources of a prompt."""
    sampling = Sampling(samples=1, beams=2, max_new_tokens=4)
    for share in (True, False):
        engine = TransformersEngine(loaded, batch_size=4, share_prefix=share)
        for reply in engine.generate(_PROMPTS, sampling, deadline_s=99):
            assert [generation.source for generation in reply.generations] == ["greedy", "sample", "beam", "beam"]


def test_listing_is_cut_to_its_limit(loaded: Loaded) -> None:
    """Tokens past the limit do not reach the model, and the closing fence is kept."""
    engine = TransformersEngine(loaded, batch_size=4)
    short, cut = (_prompt("abcd", limit=4), _prompt("abcdefgh", limit=4))
    one, other = engine.generate([short, cut], Sampling(max_new_tokens=4), deadline_s=99)
    assert one == other


def test_special_tokens_in_a_listing_are_dropped(loaded: Loaded) -> None:
    """A listing that was not rendered by us cannot end the turn either."""
    engine = TransformersEngine(loaded, batch_size=4)
    prompts = [_prompt("ab"), _prompt("a<|im_end|>b")]
    one, other = engine.generate(prompts, Sampling(max_new_tokens=4), deadline_s=99)
    assert one == other


def test_deadline_is_looked_at_while_decoding(loaded: Loaded) -> None:
    """A clock that passes the deadline in the middle stops the work."""
    ticks = count()
    engine = TransformersEngine(loaded, batch_size=4, clock=lambda: float(next(ticks)))
    with pytest.raises(ModelUnavailableError, match="4 prompts within 5 s"):
        engine.generate(_PROMPTS, Sampling(max_new_tokens=40), deadline_s=5)
    assert next(ticks) > 5


class _Small(TransformersEngine):
    """An engine whose memory holds two prompts, and none that is poison."""

    def _run(self, prompts: Sequence[Prompt], sampling: Sampling, check: Callable[[], None]) -> list[Reply]:
        if len(prompts) > 2:
            raise RuntimeError("out of memory")
        if any("poison" in prompt.listing for prompt in prompts):
            raise ValueError("poison")
        return super()._run(prompts, sampling, check)


def test_batch_too_large_is_halved_and_poison_stands_alone(loaded: Loaded) -> None:
    """Only the prompt that breaks the model gets an error; the others are answered."""
    prompts = [_prompt("a"), _prompt("b"), _prompt("poison"), _prompt("c"), _prompt("d")]
    replies = _Small(loaded, batch_size=8).generate(prompts, Sampling(max_new_tokens=4), deadline_s=99)
    assert [reply.error for reply in replies] == [None, None, "ValueError: poison", None, None]
    assert replies[2].generations == ()


def test_an_instruction_is_computed_once(loaded: Loaded) -> None:
    """A second prompt of that instruction finds its prefix ready."""
    engine = TransformersEngine(loaded, batch_size=4)
    engine.generate([_prompt("a")], Sampling(max_new_tokens=1), deadline_s=99)
    assert len(engine._frames) == 1
    engine.generate([_prompt("b")], Sampling(max_new_tokens=1), deadline_s=99)
    assert len(engine._frames) == 1


def test_reply_ends_at_the_line(loaded: Loaded) -> None:
    """Text after the first line is not part of a reply."""
    engine = TransformersEngine(loaded, batch_size=4)
    assert engine._text(token_ids(loaded.tokenizer, "\n a; b \n c")) == "a; b"


@pytest.mark.model
def test_packaged_model_writes_queries() -> None:
    """The packaged model answers with words of the listing, and the same with and without sharing."""
    from qexplorer.llm.parse import parse_reply
    from qexplorer.llm.prompt import load_template, render

    prompt = render(
        load_template(),
        title="Replica Rolex Daytona watch",
        description="best AAA quality",
        kind="counterfeit",
        locale="en",
    )
    packaged = load_model(EngineSettings(dtype="float32", threads=2))
    texts = set()
    for share in (True, False):
        (reply,) = TransformersEngine(packaged, batch_size=4, share_prefix=share).generate(
            [prompt], Sampling(max_new_tokens=24), deadline_s=240
        )
        generation = reply.generations[0]
        texts.add(parse_reply(generation.text, finished=generation.finished)[:2])
    (queries,) = texts
    assert "rolex" in " ".join(queries)
