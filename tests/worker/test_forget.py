"""What counts as a trace of somebody who is to be forgotten."""

import gzip
from pathlib import Path
from typing import Any

import pytest

from worker.forget import Traces, forget_in_file

ONE = Traces(sellers=frozenset({"7"}), listings={"1"}, flags={"3"})


@pytest.mark.parametrize(
    ("record", "is_trace"),
    [
        pytest.param({"listing": {"id": "1"}}, True, id="the listing"),
        pytest.param({"listing": {"id": 1}}, True, id="a listing that is numbered"),
        pytest.param({"seed": {"flag_id": "3"}}, True, id="the flag"),
        pytest.param([{"seller": 7}], True, id="the seller"),
        pytest.param({"repeats": ["2", "1"]}, True, id="a near-duplicate of it"),
        pytest.param({"v": 1, "suspects": 1, "rank": 1, "listing_version": "1"}, False, id="counts and versions"),
        pytest.param({"listing_id": "7", "seller": "1", "flag_id": "1"}, False, id="another thing of the same number"),
        pytest.param({"listing": {"id": "10", "title": "1"}}, False, id="words and longer ids"),
    ],
)
def test_a_trace_is_told_by_its_field(record: Any, *, is_trace: bool) -> None:
    """Ids may be as short as one digit: what merely looks like one must not be thrown away with it."""
    assert ONE.mention(record) is is_trace


@pytest.mark.parametrize(
    "line",
    [
        b'{"seller": 7, "x": NaN}',
        b'{"x": NaN, "seller" : 7}',
        b'{"seller": "7", "x": NaN}',
        b'{"seller": "\\u5356\\u5bb6", "x": NaN}',
        '{"seller": "卖家", "x": NaN}'.encode(),
    ],
)
def test_what_only_looks_like_json_is_searched_for_values(tmp_path: Path, line: bytes) -> None:
    """Numbered sellers and escaped letters, too; the file stays readable for whom it was."""
    path = tmp_path / "run.jsonl"
    path.write_bytes(line + b'\n{"price": 77, "x": NaN}\n')
    path.chmod(0o600)
    assert forget_in_file(path, Traces(sellers=frozenset({"7", "卖家"}), listings=set())) == 1
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["run.jsonl", "run.jsonl.gz"])
def test_only_lines_with_a_trace_are_dropped(tmp_path: Path, name: str) -> None:
    """Also of what a killed process has half written, where the id stands in quotes."""
    path = tmp_path / name
    opened: Any = gzip.open if name.endswith(".gz") else open
    kept = b'{"record": {"listing_id": "2", "v": 1}}\n{"record": {"listing_id": "11\n'
    with opened(path, "wb") as file:
        file.write(kept + b'{"record": {"listing_id": "1"}}\n{"record": {"listing_id": "1", "ti')
    assert forget_in_file(path, ONE) == 2
    with opened(path, "rb") as file:
        assert file.read() == kept
