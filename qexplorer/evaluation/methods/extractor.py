"""Queries that a language model writes: the greedy reply and samples, all seeds in batches."""

import itertools
import time
from collections.abc import Sequence
from typing import Literal

from qexplorer.errors import ModelError, ReplyError
from qexplorer.evaluation.budget import HITS, Answer, Ask, Budget
from qexplorer.evaluation.methods.base import Cost, by_weight, guarded
from qexplorer.evaluation.methods.grams import by_word_weight
from qexplorer.evaluation.methods.whole_text import whole_text
from qexplorer.evaluation.seeds import Knowledge, Seed
from qexplorer.llm.engine import Engine, Prompt, Reply, Sampling
from qexplorer.llm.parse import parse_reply
from qexplorer.llm.prompt import load_template, render

Order = Literal["model", "triage", "mean"]
BATCH = 32
DEADLINE_S = 600.0


class Replies:
    """The replies of one engine and prompt, written once for all methods that order them differently."""

    def __init__(self, engine: Engine, *, prompt: str = "default", sampling: Sampling) -> None:
        self._engine = engine
        self._template = load_template(prompt)
        self._sampling = sampling
        self._replies: dict[Seed, Reply] = {}
        self._ms: dict[Seed, float] = {}

    @property
    def version(self) -> str:
        """Name model, adapter, prompt and sampling."""
        version = self._engine.version
        return f"{version.model} {version.adapter or 'no adapter'} {self._template.version} {self._sampling}"

    def write(self, seeds: Sequence[Seed]) -> None:
        """Write the replies of all seeds that have none.

        Raises ModelError when no seed gets one, ModelUnavailableError when the engine does not answer.
        """
        new = [seed for seed in dict.fromkeys(seeds) if seed not in self._replies]
        for start in range(0, len(new), BATCH):
            batch = new[start : start + BATCH]
            began = time.monotonic()
            replies = self._engine.generate(
                [self._prompt(seed) for seed in batch], self._sampling, deadline_s=DEADLINE_S
            )
            ms = (time.monotonic() - began) * 1000 / len(batch)
            self._replies |= dict(zip(batch, replies, strict=True))
            self._ms |= dict.fromkeys(batch, ms)
        if new and all(self._replies[seed].error for seed in new):
            raise ModelError(f"the engine answers no seed: {self._replies[new[0]].error}", remedy="Try another dtype")

    def queries(self, seed: Seed) -> list[str]:
        """Return the queries of all generations, interleaved by place: each generation puts its best first."""
        self.write([seed])
        parsed = []
        for generation in self._replies[seed].generations:
            try:
                parsed.append(parse_reply(generation.text, finished=generation.finished))
            except ReplyError:
                continue
        rows = itertools.zip_longest(*parsed)
        return list(dict.fromkeys(query for row in rows for query in row if query is not None))

    def cost(self, seed: Seed) -> Cost:
        """Return tokens, time and failed replies of a seed."""
        reply = self._replies[seed]
        failed = 0
        for generation in reply.generations:
            try:
                parse_reply(generation.text, finished=generation.finished)
            except ReplyError:
                failed += 1
        return Cost(
            tokens=reply.prompt_tokens + reply.completion_tokens,
            ms=self._ms[seed],
            replies=len(reply.generations),
            unparseable=failed,
        )

    def _prompt(self, seed: Seed) -> Prompt:
        return render(
            self._template, title=seed.title, description=seed.description, kind=seed.kind, locale=seed.locale
        )


class Extractor:
    """The model's queries in its order, by their triage weight or by that of a mean word; the first not yet run.

    With `text_too` the last search of a seed is that for its whole text.
    """

    hits = HITS

    def __init__(
        self,
        name: str,
        replies: Replies,
        knowledge: Knowledge,
        *,
        order: Order = "model",
        text_too: bool = False,
    ) -> None:
        self.name = name
        self._replies = replies
        self._knowledge = knowledge
        self._order = order
        self._text_too = text_too

    async def prepare(self, seeds: Sequence[Seed]) -> None:
        """Have the replies of all seeds written."""
        self._replies.write(seeds)

    def asks(self, seed: Seed) -> list[Ask]:
        """Return the queries, the most deserving first."""
        queries = self._replies.queries(seed)
        if self._order == "mean":
            queries = by_word_weight(queries, self._knowledge.weigh)
        elif self._order == "triage":
            queries = by_weight(queries, self._knowledge.weigh(queries))
        return guarded(queries, self.name)

    async def explore(self, seed: Seed, budget: Budget) -> Sequence[Answer]:
        """Run the first ones, and the whole text where it is asked for."""
        if not self._text_too:
            return await budget.run_first(self.asks(seed))
        answers = await budget.run_first(self.asks(seed), budget.searches - 1)
        return [*answers, *await budget.run_first([whole_text(seed, HITS)])]

    def cost(self, seed: Seed) -> Cost:
        """Return what the model took."""
        return self._replies.cost(seed)
