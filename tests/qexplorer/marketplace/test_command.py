from pathlib import Path

import pytest
import typer

from qexplorer.cli.marketplace import marketplace
from qexplorer.rows import read_rows
from schemas import FlaggedListing


def values(path: Path) -> list[dict[str, object]]:
    return [dict(row.value) for row in read_rows(path) if row.value is not None]


def test_the_file_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    """A gzipped file has the listings asked for, with their truth, and the same bytes each time."""
    first, second = tmp_path / "first.jsonl.gz", tmp_path / "second.jsonl.gz"
    for path in (first, second):
        marketplace(count=200, prohibited=0.1, out=path)

    assert first.read_bytes() == second.read_bytes()
    rows = values(first)
    assert len(rows) == 200
    assert sum(bool(row["toxic"]) for row in rows) == 20


def test_the_truth_can_be_left_out(tmp_path: Path) -> None:
    """Without the truth no column says what is prohibited."""
    marketplace(count=50, out=tmp_path / "plain.jsonl", without_truth=True)

    assert all(not {"kind", "toxic", "campaign", "variant"} & set(row) for row in values(tmp_path / "plain.jsonl"))


def test_flags_are_prohibited_listings_of_the_file(tmp_path: Path) -> None:
    """Each flag is a prohibited listing with its kind and a policy that takes it, none of them twice."""
    marketplace(count=400, prohibited=0.2, out=tmp_path / "all.jsonl", flags=15, flags_out=tmp_path / "flags.jsonl")
    kinds = {row["id"]: row["kind"] for row in values(tmp_path / "all.jsonl") if row["toxic"]}
    flags = [FlaggedListing.from_value(value) for value in values(tmp_path / "flags.jsonl")]

    assert len({flag.listing.id for flag in flags}) == 15
    assert all(kinds[flag.listing.id] == flag.kind == flag.policy for flag in flags)


def test_flags_need_a_file() -> None:
    """A number of flags without a place to write them is a mistake on the command line."""
    with pytest.raises(typer.BadParameter, match="go together"):
        marketplace(count=1, flags=3)
