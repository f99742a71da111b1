"""A real engine without a model: it answers from a script or by a function. For tests and dry runs."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from qexplorer.errors import ModelUnavailableError
from qexplorer.llm.engine import EngineVersion, Generation, GenerationSource, Prompt, Reply, Sampling
from qexplorer.words import is_han, tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of `generate` as the engine saw it."""

    prompts: tuple[Prompt, ...]
    sampling: Sampling
    deadline_s: float


def salient_words(prompt: Prompt) -> tuple[str, ...]:
    """Answer with the longest words of the listing, two a query: the same text always gives the same reply."""
    _, body, _ = prompt.parts()
    words = dict.fromkeys(token for token in tokens(body) if 1 < len(token) <= 24 and (is_han(token) or len(token) > 3))
    best = sorted(words, key=lambda word: (-len(word), word))[:6]
    pairs = [" ".join(best[i : i + 2]) for i in range(0, len(best), 2)]
    return ("; ".join(pairs) or "listing",)


class ScriptedEngine:
    """An engine that answers each prompt with the next enqueued reply, else with what `reply` returns.

    `reply` returns the texts for greedy and samples in turn, and repeats the last when more are asked for.
    `delay_s` is slept for each call; a call that would sleep past its deadline raises.
    """

    def __init__(
        self,
        *,
        reply: Callable[[Prompt], Sequence[str]] = salient_words,
        delay_s: float = 0.0,
        version: EngineVersion | None = None,
    ) -> None:
        self.history: list[Call] = []
        self._reply = reply
        self._delay_s = delay_s
        self._version = version or EngineVersion(model="scripted@1")
        self._queue: deque[Sequence[str] | Exception] = deque()

    @property
    def version(self) -> EngineVersion:
        """Name the script."""
        return self._version

    def enqueue(self, replies: Iterable[Sequence[str] | Exception]) -> None:
        """Add the texts of one prompt each, in order.

        A ModelUnavailableError among them is raised by the whole call; any other exception becomes the prompt's error.
        """
        self._queue.extend(replies)

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling, *, deadline_s: float) -> list[Reply]:
        """Return one reply for each prompt, in the same order."""
        self.history.append(Call(prompts=tuple(prompts), sampling=sampling, deadline_s=deadline_s))
        if deadline_s <= self._delay_s:
            raise ModelUnavailableError(
                f"The scripted engine needs {self._delay_s:g} s, the deadline is {deadline_s:g} s",
                remedy="Give it more time",
            )
        time.sleep(self._delay_s)
        return [self._answer(prompt, sampling) for prompt in prompts]

    def _answer(self, prompt: Prompt, sampling: Sampling) -> Reply:
        texts = self._queue.popleft() if self._queue else self._reply(prompt)
        if isinstance(texts, ModelUnavailableError):
            raise texts
        if isinstance(texts, Exception):
            return Reply(error=str(texts) or type(texts).__name__)
        sources = _sources(sampling)
        kept = [texts[min(i, len(texts) - 1)] for i in range(len(sources))]
        generations = tuple(
            Generation(text=text, source=source, logprobs=(-1.0,) * (len(text.split()) + 1))
            for text, source in zip(kept, sources, strict=True)
        )
        return Reply(
            generations=generations,
            prompt_tokens=len(prompt.instruction.split()) + len(prompt.listing.split()),
            completion_tokens=sum(len(generation.logprobs) for generation in generations),
        )


def _sources(sampling: Sampling) -> list[GenerationSource]:
    sources: list[GenerationSource] = ["greedy"] if sampling.greedy else []
    sources += ["sample"] * sampling.samples
    sources += ["beam"] * sampling.beams
    return sources
