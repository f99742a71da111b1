"""Queries chosen with the labels: what the best choice among a method's candidates would find. An upper reference."""

from collections.abc import Callable, Sequence

from qexplorer.evaluation.budget import Answer, Ask, Budget, Index
from qexplorer.evaluation.case import Case
from qexplorer.evaluation.methods.base import Listed
from qexplorer.evaluation.seeds import Seed

MOST_CANDIDATES = 100


class Oracle(Listed):
    """Tries all candidates at no cost and runs those that add the most new campaigns, one after the other.

    Among equals the one with the fewest hits is run. A query that adds none is not run.
    """

    def __init__(self, name: str, case: Case, index: Index, candidates: Callable[[Seed], Sequence[Ask]]) -> None:
        super().__init__(name)
        self._case = case
        self._index = index
        self._candidates = candidates
        self._budget: Budget | None = None
        self._found: set[str] = set()

    async def explore(self, seed: Seed, budget: Budget) -> Sequence[Answer]:
        """Choose and run."""
        if budget is not self._budget:
            # Another group: nothing is found yet, but its own seeds are no finds.
            group = next(group for group in self._case.groups if any(judged.seed is seed for judged in group))
            self._budget, self._found = budget, {judged.item.campaign for judged in group}
        tried = await self._index.run([ask for ask in self._candidates(seed)[:MOST_CANDIDATES] if budget.is_new(ask)])
        campaigns = {id(answer): self._campaigns(answer) for answer in tried}
        chosen: list[Ask] = []
        while tried and len(chosen) < budget.left:
            best = max(tried, key=lambda answer: (len(campaigns[id(answer)] - self._found), -len(answer.hits)))
            if not campaigns[id(best)] - self._found:
                break
            self._found |= campaigns[id(best)]
            chosen.append(best.ask)
            tried = [answer for answer in tried if answer is not best]
        return await budget.run_first(chosen)

    def _campaigns(self, answer: Answer) -> set[str]:
        items = (self._case.documents.label(hit.place) for hit in answer.hits)
        return {item.campaign for item in items if item is not None}
