"""A small evaluation in memory: for tests, and to try a method without an index."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from qexplorer.corpus import Corpus, make_corpus
from qexplorer.evaluation.budget import Answer, Ask, Budget
from qexplorer.evaluation.case import Case, CaseSettings, Documents, indexed, make_case
from qexplorer.evaluation.methods.base import Listed
from qexplorer.evaluation.searches import Searches
from qexplorer.evaluation.seeds import Seed
from qexplorer.rows import Row
from qexplorer.testing import MemorySearcher, WordTriage

GOODS = "gummies vapes pills badges".split()


def small_rows(campaigns: int = 80, others: int = 40) -> list[dict[str, Any]]:
    """Return rows of two kinds: each campaign has two listings, and shares one of four goods with others."""
    rows: list[dict[str, Any]] = [
        {"id": f"p{n}-{copy}", "text": f"strong {GOODS[n % 4]} brand{n} batch{n} copy{copy}", "toxic": True}
        | {"kind": "drugs" if n % 4 < 3 else "papers", "lang": "en"}
        for n in range(campaigns)
        for copy in range(2)
    ]
    return rows + [{"id": f"h{n}", "text": f"garden chair {n} strong wood{n}", "toxic": False} for n in range(others)]


def small_corpus(campaigns: int = 80, others: int = 40) -> Corpus:
    """Return a corpus of such rows."""
    rows = small_rows(campaigns, others)
    return make_corpus("small", [Row(number=n, value=row) for n, row in enumerate(rows, start=1)])


def small_case(corpus: Corpus | None = None, *, group_size: int = 3, triage: bool = True) -> tuple[Case, Searches]:
    """Return the dev part of a corpus with a triage that knows the goods, and its index in memory."""
    corpus = corpus or small_corpus()
    case = make_case(corpus, CaseSettings(group_size=group_size, triage=False), Path())
    words = WordTriage(frozenset(GOODS))
    documents = type(case.documents)(indexed(corpus, "dev"), corpus.of("dev"), words if triage else None)
    known = replace(case.knowledge, triage=words if triage else None)
    case = replace(case, documents=documents, knowledge=known)
    searcher = MemorySearcher(listings={case.index: indexed(corpus, "dev")})
    return case, Searches(searcher, case.index, case.documents, also=InMemory(case.documents))


class InMemory:
    """Weighted searches over documents in memory: the score is the weight of the words that a document has."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    async def find(self, index: str, ask: Ask) -> tuple[list[int], int]:
        """Return the places found, best first, and how many there are."""
        del index
        scored = [
            (-sum(weight for term, weight in ask.terms if term in self._documents.words(place)), place)
            for place in range(len(self._documents))
        ]
        found = [place for score, place in sorted(scored) if score < 0]
        return found[: ask.hits], len(found)


class Scripted(Listed):
    """A method with the same queries for every seed; it reviews only the answers whose query is not in `rejected`."""

    def __init__(self, queries: Sequence[str], *, rejected: Sequence[str] = (), name: str = "scripted") -> None:
        super().__init__(name)
        self._queries = queries
        self._rejected = rejected
        self.saw: list[tuple[Seed, Budget]] = []

    async def explore(self, seed: Seed, budget: Budget) -> Sequence[Answer]:
        """Run the first queries that have not run."""
        self.saw.append((seed, budget))
        answers = await budget.run_first([Ask(text=query) for query in self._queries])
        return [answer for answer in answers if answer.ask.text not in self._rejected]
