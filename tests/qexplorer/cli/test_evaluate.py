"""`qexplorer evaluate` and `compare`, as they are run."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from qexplorer.cli.app import app
from qexplorer.cli.evaluate import _methods
from qexplorer.errors import BadInputError, ConfigError
from qexplorer.evaluation.methods import METHODS
from qexplorer.evaluation.results import read_results
from qexplorer.evaluation.testing import small_rows
from qexplorer.stack import Endpoints


def corpus(folder: Path, name: str = "small", rows: int | None = None) -> Path:
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in small_rows()[:rows]))
    return path


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_an_evaluation_is_written_and_compared(engines: Endpoints, tmp_path: Path) -> None:
    """Two methods and an extractor under three protocols, with triage and without; then one against the other."""
    out = tmp_path / "out"
    said = run(
        "evaluate", corpus(tmp_path), "--out", out, "--method", "own_spans", "--method", "whole_text",
        "--method", "significant_text", "--method", "rm3", "--extractor", "made=scripted", "--samples", 1,
        "--searches", 1, "--searches", 3, "--group-size", 3, "--protocol", "pool", "--protocol", "per_seed",
        "--protocol", "disguised", "--both", "--opensearch", engines.opensearch, "--work", tmp_path / "work",
    )  # fmt: skip
    assert "small, dev, pool, triage, 3 searches a seed" in said
    results = read_results(out)
    assert {row.protocol for row in results.rows} == {"pool", "per_seed", "disguised"}
    assert {row.triage for row in results.rows} == {True, False}
    assert {row.method for row in results.rows} >= {
        "own_spans",
        "whole_text",
        "made",
        "made:foresight",
        "made:best_of_n",
    }
    assert results.meta["openings"] == []
    assert results.meta["corpora"][0]["campaigns"] == 12
    assert {path.name for path in out.iterdir()} == {
        "report.html", "report.md", "results.json", "rows.parquet", "seeds.parquet",
    }  # fmt: skip
    lines = run("compare", "own_spans", "whole_text", "--results", out).splitlines()
    assert re.match(r"small, pool, 1 searches: own_spans [\d.]+, whole_text [\d.]+ finds: ", lines[0])
    assert len(run("compare", out, out).splitlines()) > len(lines)


def test_opening_the_test_part_is_written_down(engines: Endpoints, tmp_path: Path) -> None:
    """The release, the corpus and the time stand in the results."""
    out = tmp_path / "out"
    run(
        "evaluate", corpus(tmp_path, "locked"), "--out", out, "--method", "own_spans", "--searches", 1,
        "--group-size", 3, "--part", "test", "--release", "v1", "--no-triage", "--opensearch", engines.opensearch,
        "--work", tmp_path / "work",
    )  # fmt: skip
    (opening,) = read_results(out).meta["openings"]
    assert (opening["release"], opening["corpus"], opening["part"]) == ("v1", "locked", "test")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["--part", "test"], ConfigError, "the part test with the release ''"),
        (["--release", "v1"], ConfigError, "the part dev with the release 'v1'"),
        (["--source", "other=x"], ConfigError, "--source names other"),
        (["--source", "small=nowhere"], BadInputError, "small has 0 prohibited and 0 other"),
        (["--extractor", "scripted"], ConfigError, "--extractor scripted is of another form"),
        (["--extractor", "tfidf=scripted"], ConfigError, "--extractor tfidf=scripted: the name tfidf is taken"),
        (["--extractor", "a=scripted", "--extractor", "a=scripted,,short"], ConfigError, "the name a is taken"),
        (["--extractor", "a:system=scripted"], ConfigError, "the name a:system is taken"),
        (["--method", "bm26"], ConfigError, "there is no method bm26"),
        (["--method", "human"], ConfigError, "the method human has no queries"),
        (["--human", "missing.csv", "--method", "human"], ConfigError, r"missing\.csv cannot be read"),
    ],
    ids=[
        "locked",
        "no release",
        "no corpus",
        "no source",
        "extractor",
        "method",
        "twice",
        "part",
        "no method",
        "nobody",
        "human",
    ],
)
def test_a_mistake_is_named_before_anything_starts(
    tmp_path: Path, arguments: list[str], error: type[Exception], message: str
) -> None:
    """Nothing is written."""
    with pytest.raises(error, match=message):
        run("evaluate", corpus(tmp_path), "--out", tmp_path / "out", *arguments)
    assert not (tmp_path / "out").exists()


def test_all_methods_are_those_that_can_run() -> None:
    """What people have written is judged where their file is named, and stops no evaluation without one."""
    assert set(METHODS) - set(_methods(["all"], human=None)) == {"human"}
    assert set(_methods(["all"], human=Path("people.csv"))) == set(METHODS)


def test_a_corpus_from_a_pipe_is_refused(tmp_path: Path) -> None:
    """The results hold the hash of its file, and a run that was cut off reads it again."""
    with pytest.raises(ConfigError, match="a corpus is read more than once, and standard input cannot be"):
        run("evaluate", "-", "--out", tmp_path / "out")


def test_two_corpora_of_one_name_are_refused(tmp_path: Path) -> None:
    """Their rows would be one table, so both files are named before anything starts."""
    corpora = [corpus(tmp_path, name) for name in ("listings.v1", "listings.v2")]
    with pytest.raises(
        ConfigError, match=r"listings\.v1\.jsonl and .*listings\.v2\.jsonl would both be the corpus listings"
    ):
        run("evaluate", *corpora, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_load_that_is_named_twice_is_run_once(engines: Endpoints, tmp_path: Path) -> None:
    """Groups that count twice would make an interval narrower than it is."""
    out = tmp_path / "out"
    run(
        "evaluate", corpus(tmp_path, "twice"), "--out", out, "--method", "own_spans", "--searches", 1, "--searches", 1,
        "--group-size", 3, "--no-triage", "--opensearch", engines.opensearch, "--work", tmp_path / "work",
    )  # fmt: skip
    groups = [row.group for row in read_results(out).rows]
    assert groups == sorted(set(groups))


def test_a_template_for_people_has_the_seeds(tmp_path: Path) -> None:
    """Twelve of them, and no evaluation is started."""
    template = tmp_path / "template.csv"
    run(
        "evaluate", corpus(tmp_path), "--out", tmp_path / "out", "--group-size", 3, "--human-template", template
    )  # fmt: skip
    assert len(template.read_text().splitlines()) == 1 + 12
    assert not (tmp_path / "out").exists()


def test_a_corpus_of_one_class_is_refused(tmp_path: Path) -> None:
    """There is nothing to find among flags alone."""
    with pytest.raises(BadInputError, match="one has 160 prohibited and 0 other listings"):
        run("evaluate", corpus(tmp_path, "one", 160), "--out", tmp_path / "out")


def test_results_are_not_overwritten(tmp_path: Path) -> None:
    """A folder that exists is refused before the evaluation and not after it."""
    with pytest.raises(ConfigError, match="exists already"):
        run("evaluate", corpus(tmp_path), "--out", tmp_path)


def test_comparing_what_is_no_result_is_refused(tmp_path: Path) -> None:
    """The folder is named."""
    with pytest.raises(BadInputError, match="holds no results"):
        run("compare", tmp_path, tmp_path)
