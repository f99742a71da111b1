"""What every engine must do, whatever answers behind it."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from qexplorer.errors import ModelUnavailableError
from qexplorer.llm.engine import Engine, EngineSettings, Prompt, Sampling
from qexplorer.llm.fake_openai import FakeOpenAIServer
from qexplorer.llm.openai_engine import OpenAIEngine
from qexplorer.llm.opening import open_engine
from qexplorer.llm.scripted import ScriptedEngine
from qexplorer.llm.tiny import save_tiny_model

LONG_S = 120.0


def _prompt(text: str = "cheap vape pods wholesale", limit: int = 64) -> Prompt:
    return Prompt(
        instruction="Write queries for the listing.", listing=f"<listing>\n{text}\n</listing>", max_listing_tokens=limit
    )


class EngineContract:
    """Subclasses give the fixture `engine`."""

    def test_one_reply_a_prompt_in_order(self, engine: Engine) -> None:
        """Replies come in the order of the prompts, each prompt with what it alone gets."""
        prompts = [_prompt(f"listing number {'long ' * n}{n}") for n in range(5)]
        sampling = Sampling(max_new_tokens=6)
        together = engine.generate(prompts, sampling, deadline_s=LONG_S)
        alone = [engine.generate([prompt], sampling, deadline_s=LONG_S)[0] for prompt in prompts]
        assert [reply.generations[0].text for reply in together] == [reply.generations[0].text for reply in alone]

    def test_generations_follow_the_sampling(self, engine: Engine) -> None:
        """Greedy comes first, then the samples; each has its log-probabilities or none, and its tokens are counted."""
        (reply,) = engine.generate([_prompt()], Sampling(samples=3, max_new_tokens=6), deadline_s=LONG_S)
        assert [generation.source for generation in reply.generations] == ["greedy", "sample", "sample", "sample"]
        assert reply.error is None
        assert reply.prompt_tokens > 0
        assert reply.completion_tokens > 0
        assert all(logprob <= 0 for generation in reply.generations for logprob in generation.logprobs)
        assert all("\n" not in generation.text for generation in reply.generations)

    def test_samples_only(self, engine: Engine) -> None:
        """Without greedy there are only samples."""
        sampling = Sampling(greedy=False, samples=2, max_new_tokens=6)
        (reply,) = engine.generate([_prompt()], sampling, deadline_s=LONG_S)
        assert [generation.source for generation in reply.generations] == ["sample", "sample"]

    def test_same_seed_same_samples(self, engine: Engine) -> None:
        """A seed decides the samples."""
        sampling = Sampling(greedy=False, samples=4, max_new_tokens=8, seed=7)
        first, again = (engine.generate([_prompt()], sampling, deadline_s=LONG_S)[0].generations for _ in range(2))
        assert [generation.text for generation in first] == [generation.text for generation in again]

    def test_no_prompts_no_replies(self, engine: Engine) -> None:
        """Nothing asked is nothing answered."""
        assert engine.generate([], Sampling(), deadline_s=LONG_S) == []

    def test_deadline_that_is_over(self, engine: Engine) -> None:
        """An engine that has no time left says so instead of answering late."""
        with pytest.raises(ModelUnavailableError):
            engine.generate([_prompt()], Sampling(), deadline_s=0.0)

    def test_very_long_listing_is_answered(self, engine: Engine) -> None:
        """A listing longer than its limit is cut, not refused."""
        long = _prompt("word " * 5000, limit=16)
        (reply,) = engine.generate([long], Sampling(max_new_tokens=4), deadline_s=LONG_S)
        assert reply.error is None

    def test_version_names_the_model(self, engine: Engine) -> None:
        """The version does not change between calls and is not empty."""
        assert engine.version.model
        assert engine.version == engine.version


class TestScripted(EngineContract):
    @pytest.fixture
    def engine(self) -> Engine:
        return ScriptedEngine()


@pytest.fixture(scope="module")
def tiny_engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    folder = save_tiny_model(tmp_path_factory.mktemp("tiny"))
    return open_engine(EngineSettings(model=str(folder), dtype="float32"))


class TestTransformers(EngineContract):
    @pytest.fixture
    def engine(self, tiny_engine: Engine) -> Engine:
        return tiny_engine


@pytest.fixture(scope="module")
def packaged_engine() -> Engine:
    return open_engine(EngineSettings(model="packaged", dtype="float32", threads=2))


@pytest.mark.model
class TestPackaged(EngineContract):
    @pytest.fixture
    def engine(self, packaged_engine: Engine) -> Engine:
        return packaged_engine


class TestOpenAI(EngineContract):
    @pytest.fixture
    def engine(self) -> Iterator[Engine]:
        with FakeOpenAIServer() as server:
            settings = EngineSettings(kind="openai", model="fake", base_url=server.base_url)
            with closing(OpenAIEngine(settings)) as engine:
                yield engine
