"""A language model that says of listings whether they are wanted, in place of the triage."""

import math
from collections.abc import Sequence

from qexplorer.llm.engine import NOBODY_WAITS_S, Engine, Generation, Sampling
from qexplorer.llm.prompt import load_template, render

SAID = {"yes": 0.95, "no": 0.05}
KINDS = 6
LLM = "llm:"


class LlmJudge:
    """Asks an engine for yes or no; the probability is that of the first token, where the engine tells it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._template = load_template("judge")

    @property
    def version(self) -> str:
        """Name the model and the prompt."""
        version = self._engine.version
        return LLM + "|".join(filter(None, (version.model, version.adapter, self._template.version)))

    def score(self, texts: Sequence[str], kinds: Sequence[str]) -> list[float | None]:
        """Return how likely each text is of one of the kinds, None for an answer that is neither yes nor no.

        Raises ModelUnavailableError when the engine does not answer.
        """
        named = ", ".join(list(dict.fromkeys(kind.replace("/", " ") for kind in kinds))[:KINDS])
        prompts = [render(self._template, title=text, description="", kind=named, locale="unknown") for text in texts]
        replies = self._engine.generate(prompts, Sampling(greedy=True, max_new_tokens=4), deadline_s=NOBODY_WAITS_S)
        return [probability(reply.generations[0]) if reply.generations else None for reply in replies]


def probability(said: Generation) -> float | None:
    """Return the probability of yes behind an answer: that of its first token, or its opposite where it is no."""
    word = next(iter(said.text.lower().replace(".", " ").replace(",", " ").split()), "")
    if word not in SAID:
        return None
    if not said.logprobs:
        return SAID[word]
    sure = math.exp(said.logprobs[0])
    return sure if word == "yes" else 1.0 - sure
