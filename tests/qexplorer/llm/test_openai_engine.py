from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import pytest

from qexplorer.errors import AccessError, ModelError, ModelUnavailableError, QExplorerError
from qexplorer.llm.engine import EngineSettings, Prompt, Sampling
from qexplorer.llm.fake_openai import FakeOpenAIServer, Misbehaviour
from qexplorer.llm.openai_engine import OpenAIEngine


def _prompt(text: str = "cheap vape pods", limit: int = 64) -> Prompt:
    return Prompt(instruction="Write.", listing=f"<listing>\n{text}\n</listing>", max_listing_tokens=limit)


@contextmanager
def _open(server: FakeOpenAIServer, naps: list[float] | None = None, **changes: Any) -> Iterator[OpenAIEngine]:
    settings = EngineSettings.model_validate(
        {"kind": "openai", "model": "fake", "base_url": server.base_url, **changes}
    )
    with server, closing(OpenAIEngine(settings, sleep=(naps if naps is not None else []).append)) as engine:
        yield engine


def test_greedy_and_samples_are_asked_for() -> None:
    """A reply takes two requests: the likeliest answer, and n drawn ones by temperature, top-p and seed."""
    server = FakeOpenAIServer()
    with _open(server) as engine:
        sampling = Sampling(samples=3, temperature=1.3, top_p=0.9, seed=5, max_new_tokens=20)
        (reply,) = engine.generate([_prompt()], sampling, deadline_s=30)
    greedy, drawn = server.requests
    assert (greedy["temperature"], greedy["n"]) == (0.0, 1)
    assert [drawn[key] for key in ("temperature", "top_p", "seed", "n", "max_tokens")] == [1.3, 0.9, 5, 3, 20]
    assert [generation.source for generation in reply.generations] == ["greedy", "sample", "sample", "sample"]
    assert reply.generations[0].logprobs == (-0.5,) * len(reply.generations[0].text.split())
    assert reply.prompt_tokens == 9
    assert [message["role"] for message in greedy["messages"]] == ["system", "user"]


@pytest.mark.parametrize("variable", ["http_proxy", "ALL_PROXY"])
def test_a_server_on_this_machine_is_reached_past_any_proxy(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """Text that may not leave this machine does not leave it by a proxy of the environment either."""
    server, proxy = FakeOpenAIServer(), FakeOpenAIServer()
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv(variable, proxy.base_url.removesuffix("/v1"))
    with proxy, _open(server) as engine:
        engine.generate([_prompt()], Sampling(), deadline_s=30)
    assert proxy.requests == []
    assert len(server.requests) == 1


def test_long_listing_is_cut_inside_its_fence() -> None:
    """The listing is cut by characters, and its closing fence is kept."""
    server = FakeOpenAIServer()
    with _open(server) as engine:
        engine.generate([_prompt("x" * 999, limit=2)], Sampling(), deadline_s=30)
    assert server.requests[0]["messages"][-1]["content"] == "<listing>\nxxxxxxxx\n</listing>"


def test_server_that_gives_one_choice_is_asked_again() -> None:
    """Where n is ignored, further requests with other seeds make up the number."""
    server = FakeOpenAIServer(one_choice=True)
    with _open(server) as engine:
        (reply,) = engine.generate([_prompt()], Sampling(greedy=False, samples=3, seed=1), deadline_s=30)
    assert [request["seed"] for request in server.requests] == [1, 2, 3]
    assert len(reply.generations) == 3


def test_server_that_refuses_more_than_one_choice_is_asked_for_one() -> None:
    """As llama.cpp's does, by a failure of its own; it is asked so but once."""
    server = FakeOpenAIServer(refuses_many=True)
    with _open(server) as engine:
        for _ in range(2):
            (reply,) = engine.generate([_prompt()], Sampling(samples=3, seed=1), deadline_s=30)
            assert [generation.source for generation in reply.generations] == ["greedy", *["sample"] * 3]
    assert [request["n"] for request in server.requests] == [1, 3, *[1] * 7]


def _message(answer: dict[str, Any]) -> Any:
    return answer["choices"][0]["message"]


def _first_token(answer: dict[str, Any]) -> Any:
    return answer["choices"][0]["logprobs"]["content"][0]


@pytest.mark.parametrize(
    "alter",
    [
        pytest.param(lambda answer: _first_token(answer).update(logprob=None), id="no number"),
        pytest.param(lambda answer: _first_token(answer).update(logprob=1e999), id="infinite"),
        pytest.param(lambda answer: answer["usage"].update(prompt_tokens=None, completion_tokens=None), id="no usage"),
        pytest.param(
            lambda answer: _message(answer).update(content=[{"type": "text", "text": "cheap pods"}]), id="parts"
        ),
        pytest.param(lambda answer: answer["choices"][0].update(message=None), id="no message"),
        pytest.param(lambda answer: _message(answer).update(content=None), id="no content"),
    ],
)
def test_a_field_of_another_form_costs_itself(alter: Any) -> None:
    """What a server leaves out or writes otherwise does not stop the others' answers."""
    with _open(FakeOpenAIServer(alter=alter)) as engine:
        (reply,) = engine.generate([_prompt()], Sampling(), deadline_s=30)
    assert reply.error is None
    assert len(reply.generations) == 1
    assert all(value <= 0 for value in reply.generations[0].logprobs)


@pytest.mark.parametrize(
    "alter",
    [
        pytest.param(lambda answer: answer.update(choices=[None]), id="no choice"),
        pytest.param(lambda answer: answer.update(choices="cheap pods"), id="choices as text"),
        pytest.param(lambda answer: answer["choices"][0].update(message="cheap pods"), id="message as text"),
        pytest.param(lambda answer: _message(answer).update(content=5), id="content as number"),
        pytest.param(lambda answer: answer["choices"][0].update(logprobs=[-0.5]), id="list of logprobs"),
        pytest.param(lambda answer: answer.update(usage="much"), id="usage as text"),
    ],
)
def test_an_answer_of_another_form_is_an_error_of_its_prompt(alter: Any) -> None:
    """The others of the call are answered."""
    server = FakeOpenAIServer(alter=lambda answer: alter(answer) if len(server.requests) == 1 else None)
    with _open(server, concurrency=1) as engine:
        replies = engine.generate([_prompt(), _prompt("b")], Sampling(), deadline_s=30)
    assert "of another form" in (replies[0].error or "")
    assert replies[1].error is None


def test_server_without_logprobs() -> None:
    """A server that refuses log-probabilities is asked without them, from then on."""
    server = FakeOpenAIServer(logprobs=False)
    with _open(server, concurrency=1) as engine:
        replies = engine.generate([_prompt(), _prompt("b")], Sampling(), deadline_s=30)
    assert [reply.generations[0].logprobs for reply in replies] == [(), ()]
    assert ["logprobs" in request for request in server.requests] == [True, False, False]


def test_lines_are_joined_and_cut_text_is_marked() -> None:
    """Queries one a line become one line; an answer at the token limit is not finished."""
    server = FakeOpenAIServer(answer=lambda _messages, _seed: "1. a\n\n2. b c\n")
    with _open(server) as engine:
        (whole,) = engine.generate([_prompt()], Sampling(max_new_tokens=9), deadline_s=30)
        (cut,) = engine.generate([_prompt()], Sampling(max_new_tokens=2), deadline_s=30)
    assert (whole.generations[0].text, whole.generations[0].finished) == ("1. a; 2. b c", True)
    assert not cut.generations[0].finished


@pytest.mark.parametrize("failures", [[429], [503, 500], ["drop"], ["drop", 429]], ids=str)
def test_passing_failures_are_retried(failures: Sequence[Misbehaviour]) -> None:
    """A busy or failing server is tried up to three times, with growing pauses."""
    server = FakeOpenAIServer()
    server.misbehave(*failures)
    naps: list[float] = []
    with _open(server, naps) as engine:
        (reply,) = engine.generate([_prompt()], Sampling(), deadline_s=30)
    assert reply.error is None
    assert naps == [0.5, 1.0][: len(failures)]


def test_server_says_when_to_come_back() -> None:
    """Retry-After sets the pause; one past the deadline is not waited for."""
    server = FakeOpenAIServer()
    server.misbehave(429, headers={"retry-after": "7"})
    server.misbehave(429, headers={"retry-after": "60"})
    naps: list[float] = []
    with _open(server, naps) as engine, pytest.raises(ModelUnavailableError, match="answers 429"):
        engine.generate([_prompt()], Sampling(), deadline_s=30)
    assert naps == [7.0]


@pytest.mark.parametrize(
    ("failures", "error", "match"),
    [
        ([401], AccessError, "refused the key"),
        ([403], AccessError, "refused the key"),
        ([404], ModelError, "does not know 'fake'"),
        ([503] * 3, ModelUnavailableError, "answers 503"),
        (["drop"] * 3, ModelUnavailableError, "does not answer"),
    ],
    ids=["401", "403", "404", "503", "drop"],
)
def test_lasting_failures_are_translated(
    failures: Sequence[Misbehaviour], error: type[QExplorerError], match: str
) -> None:
    """Each lasting failure is an error of ours that names the server."""
    server = FakeOpenAIServer()
    server.misbehave(*failures)
    with _open(server) as engine, pytest.raises(error, match=match) as raised:
        engine.generate([_prompt()], Sampling(), deadline_s=30)
    assert server.base_url in str(raised.value)


def test_server_that_is_not_there() -> None:
    """No connection is a server that is unavailable."""
    with FakeOpenAIServer() as server:
        url = server.base_url
    settings = EngineSettings(kind="openai", model="fake", base_url=url)
    with closing(OpenAIEngine(settings, sleep=lambda _: None)) as engine, pytest.raises(ModelUnavailableError):
        engine.generate([_prompt()], Sampling(), deadline_s=30)


@pytest.mark.parametrize("failure", [400, 413, 422, "garbage", "empty"], ids=str)
def test_prompt_that_the_server_refuses_has_an_error_of_its_own(failure: Misbehaviour) -> None:
    """The other prompts are answered."""
    server = FakeOpenAIServer()
    server.misbehave(failure)
    with _open(server, concurrency=1) as engine:
        refused, answered = engine.generate([_prompt("a"), _prompt("b")], Sampling(), deadline_s=30)
    assert refused.error
    assert refused.generations == ()
    assert answered.error is None


def test_server_that_hangs_is_left_at_the_deadline() -> None:
    """A request without an answer does not hold the caller past the deadline."""
    server = FakeOpenAIServer()
    server.misbehave("hang")
    with _open(server) as engine, pytest.raises(ModelUnavailableError):
        engine.generate([_prompt("a"), _prompt("b")], Sampling(), deadline_s=0.3)


def test_concurrency_is_bounded() -> None:
    """No more requests run at once than the settings allow."""
    server = FakeOpenAIServer()
    with _open(server, concurrency=2) as engine:
        prompts = [_prompt(f"text {i}") for i in range(20)]
        replies = engine.generate(prompts, Sampling(), deadline_s=30)
    assert [reply.error for reply in replies] == [None] * 20
    assert 1 <= server.most_at_once <= 2


@pytest.mark.parametrize(
    ("changes", "match"),
    [({"base_url": ""}, "base_url"), ({"model": "packaged"}, "packaged"), ({"adapter": "x"}, "adapter")],
    ids=["url", "model", "adapter"],
)
def test_settings_that_make_no_sense(changes: dict[str, str], match: str) -> None:
    """What a server cannot do is refused when the engine is made."""
    settings = {"kind": "openai", "model": "m", "base_url": "http://127.0.0.1:1/v1", **changes}
    with pytest.raises(ModelError, match=match):
        OpenAIEngine(EngineSettings.model_validate(settings))
