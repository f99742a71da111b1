"""From known flags and listings to a store of what their words find, on the real engine."""

import json
import re
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from qexplorer.errors import BadInputError, ConfigError
from qexplorer.learn.recipe import claim, fill_from, sources_of
from qexplorer.learn.store import FlagRow, SearchRow, Store
from qexplorer.learn.training import TrainingSettings
from qexplorer.policies import load_policies
from qexplorer.search.client import OpenSearchClient
from qexplorer.settings import SearchSettings
from qexplorer.stack import Endpoints

FLAGS = [{"id": f"f{n}", "text": f"zaza jar{n} box{n}", "kind": "drugs"} for n in range(24)]
OTHERS = [{"id": f"h{n}", "text": f"garden chair{n} wood{n}"} for n in range(40)]


def a_source(folder: Path, listings: list[dict[str, Any]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "train.jsonl", FLAGS)
    write(folder / "listings.jsonl", listings)
    return folder


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


async def test_an_index_of_other_listings_is_not_searched(engines: Endpoints, tmp_path: Path) -> None:
    """As many listings are not the same ones: another training on this OpenSearch may have had a folder of that name.

    Rows have their text in the column `text`, flags and listings alike, and one without any is left out by name.
    """
    said: list[str] = []
    async with OpenSearchClient(SearchSettings(url=engines.opensearch)) as client:
        for place, text in (("one", "chair"), ("two", "table")):
            rows = [*FLAGS, *OTHERS, {"id": "x", "text": text}, {"id": "empty"}]
            [source] = sources_of([a_source(tmp_path / place / "My platform of recipes", rows)])
            told = pytest.raises(ConfigError, match="not made for these") if place == "two" else nullcontext()
            with told:
                await fill_from(
                    Store(tmp_path / place / "store"), source, client, load_policies(None), searches=100, seed=0,
                    say=said.append,
                )  # fmt: skip
        assert await client.count(source.index) == 65
    assert {row.title for row in Store(tmp_path / "one" / "store").read(FlagRow)} == {row["text"] for row in FLAGS}
    assert [line for line in said if "; 1 rows refused, the first: row 66: no title, description or text" in line]


@pytest.mark.parametrize(
    ("seed", "rounds", "title", "differs"),
    [
        pytest.param(0, 2, "chair", "", id="more rounds go on"),
        pytest.param(0, 0, "chair", "kept back from SFT", id="no round"),
        pytest.param(7, 1, "chair", "seed", id="seed"),
        pytest.param(7, 1, "table", "seed, sources", id="rows"),
    ],
)
def test_results_of_other_inputs_are_not_taken_for_these(
    tmp_path: Path, seed: int, rounds: int, title: str, differs: str
) -> None:
    """A folder goes on with what it was begun with; else the old adapter would be reported as the new one."""

    def begin(title: str, seed: int, rounds: int) -> None:
        sources = sources_of([a_source(tmp_path / "market", [{"id": "h", "text": title}])])
        settings = TrainingSettings(seed=seed)
        claim(tmp_path / "out", sources, load_policies(None), settings, searches=9, rounds=rounds)

    begin("chair", 0, 1)
    with pytest.raises(ConfigError, match=f"other inputs: {differs}\\.") if differs else nullcontext():
        begin(title, seed, rounds)


@pytest.mark.parametrize(
    ("folder", "index"),
    [
        ("market-en", "train-market-en"),
        ("Market", "train-market"),
        ("my platform", r"train-my-platform-[0-9a-f]{8}"),
        ("市场", r"train---[0-9a-f]{8}"),
        ("m" * 120, rf"train-{'m' * 100}-[0-9a-f]{{8}}"),
    ],
)
def test_every_folder_names_an_index(tmp_path: Path, folder: str, index: str) -> None:
    """OpenSearch takes neither spaces nor capitals; a name that it takes stays as it is."""
    [source] = sources_of([a_source(tmp_path / folder, OTHERS)])
    assert re.fullmatch(index, source.index)


def test_two_folders_of_one_index_are_refused(tmp_path: Path) -> None:
    """Else the second's listings would never be indexed; names that only look alike without spaces are told apart."""
    with pytest.raises(BadInputError, match="in small letters"):
        sources_of([a_source(tmp_path / name, OTHERS) for name in ("Market", "market")])
    assert len(sources_of([a_source(tmp_path / name, OTHERS) for name in ("my market", "my-market", "my,market")])) == 3
