"""Queries that a language model writes: the greedy reply and samples, all seeds in batches."""

from collections.abc import Sequence
from typing import Literal

from qexplorer.candidates import propose
from qexplorer.evaluation.budget import HITS, Answer, Ask, Budget
from qexplorer.evaluation.methods.base import Cost, guarded
from qexplorer.evaluation.methods.by_foresight import in_foresight
from qexplorer.evaluation.methods.replies import Replies
from qexplorer.evaluation.methods.whole_text import whole_text
from qexplorer.evaluation.seeds import Knowledge, Seed
from qexplorer.search.backend import SearchKind

Order = Literal["votes", "foresight"]


class Extractor:
    """The model's queries by their votes among its replies, or by foresight; the first not yet run.

    With `text_too` the last search of a seed is that for its whole text.
    """

    hits = HITS

    def __init__(
        self,
        name: str,
        replies: Replies,
        knowledge: Knowledge,
        *,
        order: Order = "votes",
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
        if self._order == "foresight":
            queries = in_foresight(queries, self._knowledge, seed)
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


class System(Extractor):
    """What the product does with the model's reply: its own candidates beside the model's, in its own order."""

    def asks(self, seed: Seed) -> list[Ask]:
        """Return the candidates that the guard lets through, the most deserving first."""
        made = propose(
            seed.text,
            seed.normalised,
            self._replies.reply(seed),
            contact_key=b"",
            triage=self._knowledge.triage,
            policy=seed.policy,
        )
        return [
            Ask(text=seed.text if each.kind is SearchKind.WHOLE_TEXT else each.text, kind=each.kind, source=self.name)
            for each in made.candidates
            if not each.refused
        ]
