"""Runs of a replay side by side."""

import csv
import gzip
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from qexplorer.errors import BadInputError
from qexplorer.evaluation.results import read_results
from qexplorer.testing import START, a_flag
from schemas import FlagOutcome, FlagResult, Query, QueryAudit, QueryFate, QuerySource, SeedFlag, Suspect
from worker.runs import RunRecords, _pool, compare_runs

QUERY = Query(id="q", text="lean", normalised="lean", source=QuerySource.GREEDY)


def write(path: Path, found: Mapping[str, Sequence[tuple[str, float]]]) -> Path:
    """Write a run in which each flag has found these listings with these scores."""
    lines: list[dict[str, Any]] = []
    for flag, listings in found.items():
        seed = SeedFlag.of(a_flag(flag))
        for listing, score in listings:
            suspect = Suspect(
                review_key=f"key-{listing}",
                seed=seed,
                listing_id=listing,
                listing_version="1",
                index="listings",
                query=QUERY,
                dsl_hash="d",
                rank=1,
                triage_score=score,
                found_at=START,
            )
            key = f"{suspect.review_key}-{flag}"
            lines.append({"type": "Suspect", "key": key, "record": orjson.loads(suspect.to_bytes())})
        outcome = FlagOutcome.SUSPECTS if listings else FlagOutcome.EMPTY
        result = FlagResult(
            result_id=flag, flag_id=seed.flag_id, policy="drugs", outcome=outcome, searches=3, hits=9, at=START
        )
        lines.append({"type": "FlagResult", "key": flag, "record": orjson.loads(result.to_bytes())})
    path.write_bytes(b"\n".join(orjson.dumps(line) for line in lines))
    return path


def test_labels_decide_which_run_is_better(tmp_path: Path) -> None:
    """Fifty flags: one run finds the violating listing of each, the other a harmless one with a better score."""
    names = ['a "b", c', *(f"f{n}" for n in range(49))]
    good = write(tmp_path / "good.jsonl", {name: [(f"bad-{name}", 0.6), (f"fine-{name}", 0.5)] for name in names})
    poor = write(tmp_path / "poor.jsonl", {name: [(f"fine-{name}", 0.9)] for name in names})
    truth = tmp_path / "truth.jsonl"
    truth.write_bytes(b"\n".join(orjson.dumps({"id": f"bad-{name}", "toxic": True}) for name in names))
    reads: list[str] = []
    said = compare_runs([good, poor], truth, reads.append)
    assert reads == [f"reads {good}", f"reads {poor}"]
    assert any("good 10.0, poor 0.0 finds: better" in line for line in said)
    rows = read_results(tmp_path / "good-to-poor").rows
    assert [row.finds for row in rows if row.method == "good"] == [10.0] * 5
    with (tmp_path / "good-to-poor" / "flags.csv").open(newline="") as file:
        rows_by_flag = list(csv.reader(file))
    assert rows_by_flag[1] == [f"flag-{names[0]}", "2", "1.0", "3", "1", "0.0", "3", "1", "0"]


def test_a_group_in_which_a_run_finds_nothing_counts(tmp_path: Path) -> None:
    """One run finds nothing for 50 of 100 flags, the other all: 5 to 10 finds a group of ten, over ten groups."""
    names = [f"f{n:02}" for n in range(100)]
    found = {name: [(f"bad-{name}", 0.6)] for name in names}
    some = write(tmp_path / "some.jsonl", found | {name: [] for name in names[:50]})
    every = write(tmp_path / "every.jsonl", found)
    truth = tmp_path / "truth.jsonl"
    truth.write_bytes(b"\n".join(orjson.dumps({"id": f"bad-{name}", "toxic": True}) for name in names))
    said = compare_runs([some, every], truth)
    assert any("some 5.0, every 10.0 finds: worse" in line and "10 groups" in line for line in said)


def test_labels_may_be_words(tmp_path: Path) -> None:
    """`"false"` and `"0"` are no finds, as in a corpus."""
    names = [f"f{n}" for n in range(10)]
    found = {name: [(name, 0.6)] for name in names}
    paths = [write(tmp_path / f"{run}.jsonl", found) for run in ("one", "two")]
    truth = tmp_path / "truth.jsonl"
    words = ["false", "0", 0, False, "true", "1", 1, True, "no", "yes"]
    rows = [{"id": name, "toxic": word} for name, word in zip(names, words, strict=True)]
    truth.write_bytes(b"\n".join(map(orjson.dumps, rows)))
    assert any("one 5.0, two 5.0 finds" in line for line in compare_runs(paths, truth))


def test_a_listing_that_several_flags_found_is_reviewed_once(tmp_path: Path) -> None:
    """Ten flags with the same violating find make one find of their pool, not ten."""
    names = [f"f{n}" for n in range(10)]
    one = write(tmp_path / "one.jsonl", {name: [("same", 0.5 + n / 100)] for n, name in enumerate(names)})
    run = RunRecords.read(one)
    pool = _pool(run, [f"flag-{name}" for name in names])
    assert [find.listing_id for find in pool] == ["same"]
    assert pool[0].score == 0.59


def test_a_listing_that_was_found_twice_stands_at_its_better_place(tmp_path: Path) -> None:
    """Found with 0.9 and again with 0.1, it is reviewed before another one of 0.5."""
    path = write(tmp_path / "one.jsonl", {"f0": [("twice", 0.9), ("once", 0.5)], "f1": [("twice", 0.1)]})
    pool = _pool(RunRecords.read(path), ["flag-f0", "flag-f1"])
    assert [(find.listing_id, find.score) for find in pool] == [("twice", 0.9), ("once", 0.5)]


def test_without_labels_the_report_says_that_it_is_no_proof(tmp_path: Path) -> None:
    """Each find counts with its probability, and the first line says whose judgement that is."""
    names = [f"f{n}" for n in range(10)]
    one = write(tmp_path / "one.jsonl", {name: [(f"x-{name}", 0.8)] for name in names})
    two = write(tmp_path / "two.jsonl", {name: [(f"x-{name}", 0.8)] for name in names})
    said = compare_runs([one, two], None)
    assert "no labels were given" in said[0]
    assert "one 8.0, two 8.0 finds: not told apart" in said[1]


def test_repeats_and_half_lines_are_passed_over(tmp_path: Path) -> None:
    """What a killed process has written twice counts once; its last, torn line is none."""
    path = write(tmp_path / "one.jsonl", {"f0": [("x", 0.8)]})
    path.write_bytes(path.read_bytes() + b"\n" + path.read_bytes() + b'\n{"type": "Susp')
    run = RunRecords.read(path)
    assert [len(found) for found in run.finds.values()] == [1]


def test_the_last_record_of_a_key_holds(tmp_path: Path) -> None:
    """A search that a repeat of its flag found in the bank was not made for that answer."""
    path = write(tmp_path / "one.jsonl", {"f0": []})
    audits = [
        QueryAudit(
            audit_id="a", flag_id="flag-f0", policy="drugs", query=QUERY, fate=fate, searches=searches, hits=7, at=START
        )
        for fate, searches in ((QueryFate.SELECTED, 1), (QueryFate.BANKED, 0))
    ]
    lines = [{"type": "QueryAudit", "key": "a", "record": orjson.loads(audit.to_bytes())} for audit in audits]
    path.write_bytes(path.read_bytes() + b"\n" + orjson.dumps(lines[0]) + b"\n")
    assert [(search.words, search.hits) for search in RunRecords.read(path).searches["flag-f0"]] == [("lean", 7)]
    path.write_bytes(path.read_bytes() + orjson.dumps(lines[1]))
    assert not RunRecords.read(path).searches


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b'{"id": 1}', "is no file of a replay", id="other rows"),
        pytest.param(b"", "has no answered flag", id="empty"),
        pytest.param(b"[1]", "is no object", id="a list"),
    ],
)
def test_another_file_is_refused_by_name(tmp_path: Path, content: bytes, message: str) -> None:
    """The error names the file and the remedy."""
    path = tmp_path / "run.jsonl"
    path.write_bytes(content)
    with pytest.raises(BadInputError, match=message):
        RunRecords.read(path)


@pytest.mark.parametrize("content", [gzip.compress(b"\n" * 99)[:-9], b"no gzip"], ids=["cut off", "something else"])
def test_a_broken_gzip_file_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    """What was copied by half, or only bears the name."""
    path = tmp_path / "run.jsonl.gz"
    path.write_bytes(content)
    with pytest.raises(BadInputError, match=r"run\.jsonl\.gz is a broken gzip file"):
        RunRecords.read(path)
