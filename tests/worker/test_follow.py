"""Taking what has changed while a worker runs."""

from pathlib import Path

import pytest

from qexplorer.metrics import Metrics
from qexplorer.search.client import OpenSearchClient
from qexplorer.settings import SearchSettings, Settings
from qexplorer.testing import ManualClock
from tests.worker.test_handler import Bench
from worker.follow import Follower
from worker.inference import InferenceProcess
from worker.release import Releases


@pytest.mark.parametrize(
    ("kinds", "refused", "asks_again"), [("[vapes]", 0, True), ("vapes", 1, False)], ids=["good", "broken"]
)
async def test_an_outage_refuses_no_change(tmp_path: Path, kinds: str, refused: int, *, asks_again: bool) -> None:
    """A good file that comes while the search is out of reach is looked at again; a broken one is refused once."""
    policies = tmp_path / "policies.yaml"
    policies.write_text("version: 1\npolicies: [{id: drugs, kinds: [drugs]}]")
    settings, bench, metrics = Settings(policies=policies), Bench(), Metrics(ManualClock())
    releases = Releases(settings, lambda _: bench.release.explorer)
    releases.settle()
    policies.write_text(f"version: 1\npolicies: [{{id: drugs, kinds: {kinds}}}]")
    async with OpenSearchClient(SearchSettings(url="http://127.0.0.1:1")) as dead:
        follower = Follower(releases, bench.handler, InferenceProcess(bench.release.used), dead, metrics)
        assert releases.changed()
        await follower.take()
    assert metrics.registry.get_sample_value("qexplorer_reloads_total", {"result": "refused"}) == refused
    assert releases.changed() is asks_again
    assert bench.handler.release is bench.release
