"""The core on files: `extract`."""

import json
from pathlib import Path

from qexplorer.cli.explore import extract


def test_the_queries_are_those_that_would_be_searched(tmp_path: Path) -> None:
    """What stands behind `explore.max_text` characters of a listing is searched for by nobody, so it is not shown."""
    text = "plug gummies " + "so " * 7_000 + "extraordinarily unmistakable"
    (tmp_path / "f.jsonl").write_text(json.dumps({"id": "a", "title": text, "kind": "drugs"}))
    extract(tmp_path / "f.jsonl", model="scripted", out=tmp_path / "q.jsonl")
    queries = [query["text"] for query in json.loads((tmp_path / "q.jsonl").read_text())["queries"]]
    assert "plug gummies" in " ".join(queries)
    assert not any("unmistakable" in query for query in queries)
