"""Nothing that was searched is lost or searched twice."""

from pathlib import Path

import pytest

from qexplorer.errors import ConfigError
from qexplorer.learn.store import FORMAT, IndexRow, ReplyRow, SearchRow, Store, write_whole


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    """Also after the store is opened again, and the same rows twice are kept once."""
    rows = [SearchRow(key=f"k{n}", index="i", query="q", total=n, ids=("a", "b")[:n]) for n in range(3)]
    Store(tmp_path / "s").add(rows)
    Store(tmp_path / "s").add(rows)
    assert Store(tmp_path / "s").read(SearchRow) == rows
    assert Store(tmp_path / "s").read(ReplyRow) == []


def test_a_file_that_was_not_finished_is_no_part_of_it(tmp_path: Path) -> None:
    """A build that was killed leaves a piece behind, which is ignored, also where it is all that there is."""
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "store.json.part").write_bytes(b"half")
    store = Store(tmp_path / "s")
    store.add([IndexRow(index="i", size=1)])
    (next((tmp_path / "s" / "index").iterdir()).with_suffix(".parquet.part")).write_bytes(b"half")
    assert store.read(IndexRow) == [IndexRow(index="i", size=1)]


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    """Not silently skipped: rows would be lost."""
    store = Store(tmp_path / "s")
    store.add([IndexRow(index="i", size=1)])
    next((tmp_path / "s" / "index").iterdir()).write_bytes(b"broken")
    with pytest.raises(ConfigError, match="cannot be read"):
        store.read(IndexRow)


def test_another_versions_store_is_refused(tmp_path: Path) -> None:
    """Its rows may mean something else."""
    write_whole(tmp_path / "s" / "store.json", b'{"format": 99}')
    with pytest.raises(ConfigError, match=f"format 99; this version reads {FORMAT}"):
        Store(tmp_path / "s")


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    """Nobody's files are mixed with a store."""
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds other files"):
        Store(tmp_path)
