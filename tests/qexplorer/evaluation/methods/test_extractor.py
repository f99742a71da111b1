"""The extractor runs what the model writes, in the order that is asked for."""

import pytest

from qexplorer.errors import ModelError
from qexplorer.evaluation.budget import Budget
from qexplorer.evaluation.methods.extractor import Extractor, Order, System
from qexplorer.evaluation.methods.replies import Replies
from qexplorer.evaluation.pool import all_seeds
from qexplorer.evaluation.seeds import Knowledge, Seed
from qexplorer.evaluation.testing import small_case
from qexplorer.llm.engine import Sampling
from qexplorer.llm.scripted import ScriptedEngine
from qexplorer.search.backend import SearchKind
from qexplorer.testing import WordTriage

SEED = Seed(title="strong gummies brand1", description="", kind="drugs", locale="en")
TRIAGE = WordTriage(frozenset({"gummies", "vapes"}))


def extractor(texts: list[str], order: Order = "votes", *, text_too: bool = False) -> Extractor:
    engine = ScriptedEngine(reply=lambda _: texts)
    replies = Replies(engine, sampling=Sampling(samples=len(texts) - 1))
    return Extractor("x", replies, Knowledge(flags=(), triage=TRIAGE), order=order, text_too=text_too)


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("votes", ["gummies", "dd", "aa bb", "gummies vapes cc"]),
        ("foresight", ["gummies vapes cc", "gummies", "dd", "aa bb"]),
    ],
)
def test_queries_of_all_replies_are_ordered(order: Order, expected: list[str]) -> None:
    """By votes, the word of both replies first; by foresight, the query of two known campaigns."""
    asks = extractor(["aa bb; gummies", "gummies vapes cc; dd"], order).asks(SEED)
    assert [ask.text for ask in asks] == expected


def test_the_guard_drops_what_must_not_be_searched() -> None:
    """Banal words, and the near-copy of a query before."""
    asks = extractor(["free sale; red round pressed pills; pressed red pills round; bars"]).asks(SEED)
    assert [ask.text for ask in asks] == ["red round pressed pills", "bars"]


async def test_the_whole_text_takes_the_last_search() -> None:
    """At three searches two are the model's; at one there is only the text."""
    case, index = small_case()
    seed = all_seeds(case)[0]
    for load, expected in ((3, ["gummies", "vapes", seed.text]), (1, [seed.text])):
        budget = Budget(index, searches=load)
        budget.next_seed()
        answers = await extractor(["gummies; vapes; pills"], text_too=True).explore(seed, budget)
        assert [answer.ask.text for answer in answers] == expected


async def test_replies_are_written_once_and_cost_is_kept() -> None:
    """Two methods over the same replies ask the engine once for each seed; a reply that failed is counted."""
    engine = ScriptedEngine(reply=lambda _: ["gummies", "```"])
    replies = Replies(engine, sampling=Sampling(samples=1))
    knowledge = Knowledge(flags=(), triage=None)
    for order in ("votes", "foresight"):
        method = Extractor("x", replies, knowledge, order=order)
        await method.prepare([SEED, SEED])
        method.asks(SEED)
    assert len(engine.history) == 1
    cost = replies.cost(SEED)
    assert (cost.replies, cost.unparseable) == (2, 1)
    assert cost.tokens > 0


async def test_an_engine_that_never_answers_is_an_error() -> None:
    """Figures of a broken model would look like those of a bad one."""
    engine = ScriptedEngine()
    engine.enqueue([ValueError("it is NaN")])
    method = Extractor("x", Replies(engine, sampling=Sampling()), Knowledge(flags=(), triage=None))
    with pytest.raises(ModelError, match="answers no seed: it is NaN"):
        await method.prepare([SEED])


def test_the_system_asks_what_the_product_would() -> None:
    """Its own spans beside the model's, in the product's order, and the whole text as one candidate."""
    replies = Replies(ScriptedEngine(reply=lambda _: ["vapes cc"]), sampling=Sampling(samples=0))
    seed = Seed(title="strong gummies brand1 today", description="", kind="drugs", locale="en")
    asks = System("x", replies, Knowledge(flags=(), triage=TRIAGE)).asks(seed)
    assert asks[0].text == "gummies"
    assert {"vapes", "vapes cc"} <= {ask.text for ask in asks}
    assert seed.text in [ask.text for ask in asks if ask.kind is SearchKind.WHOLE_TEXT]
