"""A version is entered once, promoted when it has earned it, and rolled back."""

import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from qexplorer.cli.app import app
from qexplorer.errors import BadInputError, ConfigError
from qexplorer.evaluation.results import Results, Row, write_results
from qexplorer.registry import CURRENT, Registry, Version

ROW = Row(
    corpus="c", digest="d", part="dev", protocol="pool", triage=True, method="m", load=3, group=0,
    seeds_hash="s0", seeds=20, reviews=200, reviewed=200, finds_half=50.0, finds=90.0, campaigns=80.0,
    campaigns_most=200, searches=3.0, hits=50.0,
    zero_results=0.0, copies=0.0, distinct=1.0, words=1.5, breadth=1.0, tokens=100.0, model_ms=1.0, search_ms=1.0,
    replies=9, unparseable=0, kinds="{}", curve=[1],
)  # fmt: skip


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "models")


def version(name: str, day: int = 1) -> Version:
    return Version(name=name, method="m", created_at=datetime(2026, 1, day, tzinfo=UTC))


def results(folder: Path, more: float, groups: int = 6) -> Path:
    rows = tuple(
        replace(ROW, group=group, seeds_hash=f"s{group}", campaigns=80.0 + group + more) for group in range(groups)
    )
    write_results(Results(rows=rows, seeds=()), folder)
    return folder


def add(registry: Registry, tmp_path: Path, name: str, more: float, groups: int = 6) -> None:
    registry.add(version(name), evaluation=results(tmp_path / f"results-{name}", more, groups))


def test_a_version_is_kept_with_its_parts(registry: Registry, tmp_path: Path) -> None:
    """Copied, so that nobody's clean-up takes them away."""
    adapter = tmp_path / "adapter"
    (adapter / "checkpoints").mkdir(parents=True)
    (adapter / "adapter_config.json").write_text("{}")
    (tmp_path / "t.safetensors").write_bytes(b"t")
    registry.add(version("one", 2), adapter=adapter, triage=tmp_path / "t.safetensors")
    registry.add(version("two", 1))
    kept = registry.read("one")
    assert registry.path(kept, kept.adapter).joinpath("adapter_config.json").read_text() == "{}"
    assert not registry.path(kept, kept.adapter).joinpath("checkpoints").exists()
    assert registry.path(kept, kept.triage).read_bytes() == b"t"
    assert registry.names() == ["two", "one"]


def test_a_version_never_changes(registry: Registry) -> None:
    """A second one of that name is refused, and so is a name that is none."""
    registry.add(version("one"))
    with pytest.raises(ConfigError, match="exists already"):
        registry.add(version("one"))
    with pytest.raises(ConfigError, match="has no version two"):
        registry.promote("two")


def test_nothing_is_left_of_a_version_that_could_not_be_added(registry: Registry, tmp_path: Path) -> None:
    """An adapter that is none leaves no half version behind."""
    with pytest.raises(ConfigError, match="no adapter"):
        registry.add(version("one"), adapter=tmp_path)
    with pytest.raises(ConfigError, match=r"there is no triage .*none\.safetensors"):
        registry.add(version("one"), triage=tmp_path / "none.safetensors")
    with pytest.raises(BadInputError, match=r"nowhere holds no results"):
        registry.add(version("one"), evaluation=tmp_path / "nowhere")
    assert list((tmp_path / "models").iterdir()) == []


@pytest.mark.parametrize("method", ["", "n"])
def test_an_evaluation_of_something_else_is_refused(registry: Registry, tmp_path: Path, method: str) -> None:
    """A version never changes, so what no promotion could read is not entered; those that there are, are named."""
    with pytest.raises(BadInputError, match=r"results has no method .*Name what the version is called .*: m"):
        registry.add(
            version("one").model_copy(update={"method": method}), evaluation=results(tmp_path / "results", 0.0)
        )
    assert registry.names() == []


def test_a_name_that_is_none_is_refused(tmp_path: Path) -> None:
    """The command says which names there may be."""
    result = CliRunner().invoke(app, ["models", "add", "V1", "--registry", str(tmp_path / "models")])
    assert isinstance(result.exception, ConfigError)
    assert str(result.exception).startswith("V1 is no name of a version")


def test_a_broken_history_is_removed_and_written_anew(registry: Registry, tmp_path: Path) -> None:
    """The error says so, and it helps."""
    registry.add(version("one"))
    current = tmp_path / "models" / CURRENT
    current.write_text('{"current": "o')
    for command in (registry.rollback, lambda: registry.promote("one")):
        with pytest.raises(ConfigError, match=r"current\.json is broken: .*Remove it, and promote a version"):
            command()
    current.unlink()
    assert registry.promote("one").current == "one"


def test_there_is_no_way_back_to_a_version_that_is_gone(registry: Registry, tmp_path: Path) -> None:
    """It is named, and what is current stays so."""
    for name in ("one", "two"):
        registry.add(version(name))
        registry.promote(name)
    shutil.rmtree(tmp_path / "models" / "one")
    with pytest.raises(ConfigError, match=r"has no version one\. It has: two"):
        registry.rollback()
    assert registry.history().current == "two"


def test_promotion_and_the_way_back(registry: Registry) -> None:
    """As often as there were promotions, not further."""
    for name in ("one", "two", "three"):
        registry.add(version(name))
        registry.promote(name)
    assert registry.rollback().current == "two"
    assert registry.rollback().current == "one"
    with pytest.raises(ConfigError, match="no version was current before"):
        registry.rollback()
    with pytest.raises(ConfigError, match="current version already"):
        registry.promote("one")


def test_only_a_better_version_has_nothing_against_it(registry: Registry, tmp_path: Path) -> None:
    """Worse anywhere, or better nowhere, is said with its figures."""
    for name, more in (("old", 0.0), ("better", 3.0), ("same", 0.0), ("worse", -3.0)):
        add(registry, tmp_path, name, more)
    old = registry.read("old")
    assert registry.why_not_better(registry.read("better"), old) == []
    assert registry.why_not_better(registry.read("same"), old) == [
        "it finds more campaigns, beyond chance, on none of 1 comparisons"
    ]
    assert registry.why_not_better(registry.read("worse"), old)[0] == "c at 3 searches: 79.5 campaigns to 82.5"


def test_one_group_of_seeds_is_no_proof(registry: Registry, tmp_path: Path) -> None:
    """A version that finds more in it is refused for it, and told how many groups there must be."""
    add(registry, tmp_path, "old", 0.0)
    add(registry, tmp_path, "new", 3.0, groups=1)
    assert registry.why_not_better(registry.read("new"), registry.read("old")) == [
        "c at 3 searches: 1 of at least 5 groups of seeds",
        "it finds more campaigns, beyond chance, on none of 1 comparisons",
    ]


def test_without_an_evaluation_nothing_is_beaten(registry: Registry, tmp_path: Path) -> None:
    """A version that nobody measured is not promoted over one that somebody did."""
    add(registry, tmp_path, "old", 0.0)
    registry.add(version("new"))
    with pytest.raises(BadInputError, match="new has no evaluation"):
        registry.why_not_better(registry.read("new"), registry.read("old"))


def test_a_first_version_without_an_evaluation_is_no_dead_end(registry: Registry, tmp_path: Path) -> None:
    """It needs none to be promoted, but then nothing can beat it: the remedy says the way, and it works."""
    registry.add(version("old"))
    registry.promote("old")
    add(registry, tmp_path, "new", 3.0)
    remedy = r"Add it under another name, .* remove .*current\.json, and promote it and new"
    with pytest.raises(BadInputError, match=f"old, which is current, has no evaluation. {remedy}"):
        registry.why_not_better(registry.read("new"), registry.read("old"))
    add(registry, tmp_path, "measured", 0.0)
    (tmp_path / "models" / CURRENT).unlink()
    registry.promote("measured")
    assert registry.why_not_better(registry.read("new"), registry.read("measured")) == []
