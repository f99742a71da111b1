"""From known flags and listings to a store of what their words find, on the real engine."""

import json
from pathlib import Path
from typing import Any

from qexplorer.learn.recipe import fill_from, sources_of
from qexplorer.learn.store import FlagRow, SearchRow, Store
from qexplorer.policies import load_policies
from qexplorer.search.client import OpenSearchClient
from qexplorer.settings import SearchSettings
from qexplorer.stack import Endpoints


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


async def test_what_flags_share_is_told_without_their_sellers(engines: Endpoints, tmp_path: Path) -> None:
    """A brand that two listings of one seller have stands in prompts to learn from, and the search was asked for it."""
    folder = tmp_path / "recipe-source"
    folder.mkdir()
    flags = [
        {"id": f"f{n}", "title": f"zaza brand{n // 2} jar{n} box{n}", "seller": f"s{n // 2}", "kind": "drugs"}
        for n in range(24)
    ]
    others = [{"id": f"h{n}", "title": f"garden chair{n} wood{n}"} for n in range(40)]
    write(folder / "train.jsonl", flags)
    write(folder / "listings.jsonl", flags + others)
    store = Store(tmp_path / "store")
    said: list[str] = []
    async with OpenSearchClient(SearchSettings(url=engines.opensearch)) as client:
        [source] = sources_of([folder])
        for _ in range(2):
            await fill_from(store, source, client, load_policies(None), searches=100, seed=0, say=said.append)
    rows = list(store.read(FlagRow))
    assert len(rows) == 24
    assert any(span.startswith("brand") for row in rows for span in row.known)
    found = {row.query: row.total for row in store.read(SearchRow)}
    assert found["brand1"] == 2
    assert [line for line in said if "24 flags among 64 listings" in line] == said[-1:] * 2
