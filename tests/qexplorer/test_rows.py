"""Rows from files: what is read of them, and how those are named that cannot be read."""

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qexplorer.errors import BadInputError, ConfigError
from qexplorer.rows import MOST_CELL, parse_fields, read_rows, to_flag, to_listing
from schemas import WireError


def test_the_column_text_is_the_title_where_there_is_none() -> None:
    """Rows with `id`, `text`, `kind` are listings and flags everywhere; a mapped `text` is not taken twice."""
    row = {"id": "a", "text": "zaza", "kind": "drugs"}
    assert to_listing(row, {}) == to_listing(row, {"title": "text"})
    assert to_flag(row, {}, lambda kind: kind).listing.title == "zaza"
    assert to_listing({**row, "title": "lean"}, {}).text == "lean"
    assert to_listing(row, {"description": "text"}).text == "zaza"


def test_a_row_without_text_is_refused() -> None:
    """An empty listing would be indexed and trained on without a word."""
    with pytest.raises(WireError, match="--field title=COLUMN"):
        to_listing({"id": "a", "body": "zaza", "title": " "}, {})
    assert to_listing({"id": "a", "body": "zaza"}, {"title": "body"}).text == "zaza"


def test_a_number_is_text_where_text_is_wanted() -> None:
    """Ids with gaps are floats in Parquet, a category is often a number, and a title may be a year."""
    listing = to_listing({"id": 7.0, "seller": 12.0, "title": 1984, "category": 5, "version": 3}, {})
    assert (listing.id, listing.seller, listing.title) == ("7", "12", "1984")
    assert (listing.category, listing.version) == ("5", "3")
    with pytest.raises(WireError, match="id: Input should be a valid string"):
        to_listing({"id": 1e20, "title": "digits that a float has lost"}, {})


def test_a_price_of_another_form_costs_no_row() -> None:
    """Nothing reads it; one of our form is kept, and what is read is still checked."""
    row = {"id": "a", "title": "zaza", "images": "a.jpg", "attributes": {"size": 4}}
    assert to_listing({**row, "price": 12.5}, {}) == to_listing({"id": "a", "title": "zaza"}, {})
    price = {"amount": 5, "currency": "EUR"}
    assert to_listing({"id": "a", "title": "zaza", "price": price}, {}).price is not None
    with pytest.raises(WireError, match=r"^Listing: status: [^;]*$"):
        to_listing({**row, "price": "12.50", "status": "lost"}, {})


def test_a_flag_keeps_the_id_that_its_row_has() -> None:
    """Answers name the platform's own flag; without one it is made of the listing's id."""
    row = {"id": "a", "title": "zaza", "kind": "drugs", "case": 7}
    assert to_flag(row, parse_fields(["flag_id=case"]), lambda kind: kind).flag_id == "7"
    assert to_flag({**row, "flag_id": "f9"}, {}, lambda kind: kind).flag_id == "f9"
    assert to_flag(row, {}, lambda kind: kind).flag_id == "flag-a"


def test_a_field_that_no_row_can_give_is_refused() -> None:
    """The policy of a flag follows from its kind."""
    with pytest.raises(ConfigError, match="--field policy=x is not of the form"):
        parse_fields(["policy=x"])


def test_a_mark_of_the_byte_order_costs_no_row(tmp_path: Path) -> None:
    """Files from Windows begin with one."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"id": 1}\n{"id": 2}\n')
    assert [row.value for row in read_rows(path)] == [{"id": 1}, {"id": 2}]


def test_a_long_cell_is_read(tmp_path: Path) -> None:
    """The reader's own bound is a thirtieth of what a listing may have."""
    path = tmp_path / "a.csv"
    path.write_text(f"id,title\n1,{'x' * 200_000}\n")
    assert [len((row.value or {})["title"]) for row in read_rows(path)] == [200_000]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param('1,zaza\n2,"lean\n3,drip\n', "after row 2: unexpected end of data", id="a quote left open"),
        pytest.param('1,"za"za\n2,lean\n', "after row 1: ", id="a quote within a cell"),
        pytest.param(f"1,{'x' * MOST_CELL}y\n", "after row 1: field larger", id="a cell without end"),
    ],
)
def test_broken_csv_is_named_and_not_guessed_at(tmp_path: Path, text: str, says: str) -> None:
    """A stray quote would swallow the rows behind it."""
    path = tmp_path / "a.csv"
    path.write_text(f"id,title\n{text}")
    with pytest.raises(BadInputError, match=says):
        list(read_rows(path))


def test_a_row_of_another_encoding_is_refused(tmp_path: Path) -> None:
    """A spreadsheet's "café" in Latin-1 would lose its last letter, and never be found, without a word."""
    path = tmp_path / "a.csv"
    path.write_bytes(b"id,title\n1,caf\xe9\n2,caf\xc3\xa9\n")
    assert [(row.value, row.problem) for row in read_rows(path)] == [
        (None, "not UTF-8"), ({"id": "2", "title": "café"}, ""),
    ]  # fmt: skip


def test_a_damaged_gzip_file_is_named(tmp_path: Path) -> None:
    """Bytes that have changed behind its header are no bug of ours."""
    whole = bytearray(gzip.compress(b'{"id": 1}\n'))
    whole[10] = 0xFF
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(whole)
    with pytest.raises(BadInputError, match="is a broken gzip file"):
        list(read_rows(path))


@pytest.mark.parametrize(
    "column",
    [
        pytest.param(pa.array([10**15], pa.timestamp("ms", "UTC")), id="a date that Python has not"),
        pytest.param(pa.array([10**12], pa.timestamp("ms", "Europe/Nowhere")), id="a time zone that nobody knows"),
        pytest.param(pa.array([b"\xff"], pa.binary()).view(pa.string()), id="text that is not UTF-8"),
    ],
)
def test_a_parquet_file_that_cannot_be_read_is_named(tmp_path: Path, column: pa.Array) -> None:
    """What another program wrote is no bug of ours."""
    pq.write_table(pa.table({"id": ["a"], "other": column}), tmp_path / "a.parquet")
    with pytest.raises(BadInputError, match=r"a\.parquet holds what cannot be read, behind row 0"):
        list(read_rows(tmp_path / "a.parquet"))
