"""`qexplorer dataset`: a split keeps its corpus, and reviewers' verdicts are read row by row."""

import json
from pathlib import Path

import pytest

from qexplorer.cli.dataset import _verdicts, build, split
from qexplorer.cli.index import load
from qexplorer.cli.triage import train
from qexplorer.errors import ConfigError
from qexplorer.learn.store import read_table
from qexplorer.stack import Endpoints


def test_a_split_does_not_take_the_place_of_its_corpus(tmp_path: Path) -> None:
    """A corpus that has the name of a part, in the folder of the parts, would be gone."""
    rows = [{"id": f"p{n}", "text": f"zaza{n} lean{n}", "kind": "drugs", "toxic": True} for n in range(30)]
    rows += [{"id": f"h{n}", "text": f"chair{n} wood{n}"} for n in range(30)]
    corpus = tmp_path / "listings.jsonl"
    corpus.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(ConfigError, match="would be overwritten"):
        split(corpus, tmp_path / "link")
    assert len(corpus.read_text().splitlines()) == 60
    with pytest.raises(ConfigError, match="would be overwritten"):
        split(tmp_path / "link" / "listings.jsonl", tmp_path)
    assert len(corpus.read_text().splitlines()) == 60
    split(corpus, tmp_path / "parts")
    assert len((tmp_path / "parts" / "listings.jsonl").read_text().splitlines()) == 45


def test_a_refused_row_is_named_by_the_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With its number and why."""
    rows = [{"id": "x", "toxic": True, "text": "zaza"}]
    rows += [{"id": f"p{n}", "text": f"zaza{n} lean{n}", "kind": "drugs", "toxic": True} for n in range(30)]
    rows += [{"id": f"h{n}", "text": f"chair{n} wood{n}"} for n in range(30)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    split(tmp_path / "a.jsonl", tmp_path / "parts")
    assert "30 others, 1 rows refused (the first: row 1: toxic, and without a kind)" in capsys.readouterr().err


def test_a_bad_verdict_costs_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is named by its row, and the others count."""
    path = tmp_path / "verdicts.jsonl"
    good = [
        {"review_key": key, "decision": decision, "at": "2026-01-01T00:00:00Z"}
        for key, decision in (("a", "violating"), ("b", "not_violating"), ("c", "unsure"))
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in [good[0], {"review_key": "x"}, *good[1:]]) + "{broken\n")
    assert _verdicts(path) == {"a": True, "b": False}
    said = capsys.readouterr().err
    assert "row 2 left out: Verdict: decision: Field required" in said
    assert "row 5 left out: not JSON" in said


def test_a_store_is_of_one_way_to_search(engines: Endpoints, tmp_path: Path) -> None:
    """With another filter its searches would not be run again, and what they found without it would be learnt."""
    flags = [{"id": f"f{n}", "text": f"zaza jar{n} box{n}", "kind": "drugs"} for n in range(24)]
    others = [{"id": f"h{n}", "text": f"garden chair{n} wood{n}"} for n in range(40)]
    (tmp_path / "flags.jsonl").write_text("".join(json.dumps(row) + "\n" for row in flags))
    (tmp_path / "listings.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*flags, *others]))
    load(tmp_path / "listings.jsonl", "dataset-build", opensearch=engines.opensearch)
    triage, store = tmp_path / "triage.safetensors", tmp_path / "store"
    train(tmp_path / "flags.jsonl", tmp_path / "listings.jsonl", triage)

    def run() -> None:
        settings = tmp_path / "settings.yaml"
        build(tmp_path / "flags.jsonl", "dataset-build", triage, store, config=settings, opensearch=engines.opensearch)

    (tmp_path / "settings.yaml").write_text("search: {}\n")
    for _ in range(2):
        run()
    assert any("zaza" in row["reply"] for row in read_table(store / "sft.parquet"))
    (tmp_path / "settings.yaml").write_text("search: {indices: {dataset-build: {filters: []}}}\n")
    with pytest.raises(ConfigError, match="searches of the index dataset-build with other fields or filters"):
        run()
