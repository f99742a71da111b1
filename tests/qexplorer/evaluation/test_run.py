"""What methods are told on each corpus."""

from pathlib import Path

from qexplorer.clock import SystemClock
from qexplorer.evaluation.case import CaseSettings
from qexplorer.evaluation.methods.replies import Replies
from qexplorer.evaluation.run import Plan, run_corpus
from qexplorer.evaluation.testing import small_corpus
from qexplorer.evaluation.unfinished import Unfinished
from qexplorer.llm.engine import Sampling
from qexplorer.llm.scripted import ScriptedEngine
from qexplorer.search.client import OpenSearchClient
from qexplorer.settings import SearchSettings
from qexplorer.stack import Endpoints


async def test_a_model_is_told_of_known_flags_where_there_is_a_triage(engines: Endpoints, tmp_path: Path) -> None:
    """The same extractor runs with one and without; only with it do spans of known flags stand in its prompts."""
    engine = ScriptedEngine()
    plan = Plan(
        case=CaseSettings(group_size=3), methods=(), loads=(1,), triage=(True, False), work=tmp_path / "work",
        extractors={"told": Replies(engine, prompt="known", sampling=Sampling())},
    )  # fmt: skip
    rows = Unfinished(tmp_path / "out", {})
    async with OpenSearchClient(SearchSettings(url=engines.opensearch)) as client:
        await run_corpus(small_corpus(), plan, client, SystemClock(), rows)
    lines = [prompt.parts()[1].split(" | ", 1) for call in engine.history for prompt in call.prompts]
    told, alone = {text for spans, text in lines if spans}, {text for spans, text in lines if not spans}
    assert told
    assert told <= alone
