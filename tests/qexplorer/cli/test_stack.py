import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from qexplorer.cli.stack import NOTHING_RUNS, UNHEALTHY
from qexplorer.paths import cache_dir
from qexplorer.stack.access import read_access

ROOT = Path(__file__).parents[3]
COMMAND = "from qexplorer.cli.stack import app; app()"


class Cli:
    """Runs `stack` commands in processes of their own, on a cache that shares only the jars."""

    def __init__(self, cache: Path) -> None:
        self.environment = os.environ | {"QEXPLORER_CACHE": str(cache)}

    def __call__(self, *arguments: str, code: int = 0) -> str:
        done = subprocess.run(  # noqa: S603 - our own argument list
            [sys.executable, "-c", COMMAND, *arguments],
            env=self.environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def status(self, code: int = 0) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self("status", "--json", code=code))
        return answer


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    cache = tmp_path / "cache"
    jars = cache_dir() / "jars"
    cache.mkdir()
    jars.mkdir(parents=True, exist_ok=True)
    (cache / "jars").symlink_to(jars)
    cli = Cli(cache)
    yield cli
    cli("down")


def test_nothing_runs(cli: Cli) -> None:
    """Without a stack, status has its own exit code and down does nothing."""
    assert "stack up" in cli("status", code=NOTHING_RUNS)
    assert cli.status(code=NOTHING_RUNS)["running"] is False
    assert "No stack was running" in cli("down")


def test_nothing_to_start_is_a_usage_error(cli: Cli) -> None:
    """Both engines switched off is a mistake on the command line."""
    cli("up", "--no-kafka", "--no-opensearch", code=2)


@pytest.mark.engines
def test_up_status_down(cli: Cli) -> None:
    """The stack comes up, is shown healthy, is not started twice, and is gone after down with its data."""
    assert "OpenSearch 3.5: http://127.0.0.1:" in cli("up")
    status = cli.status()
    assert [(engine["name"], engine["health"] in {"up", "green", "yellow"}) for engine in status["engines"]] == [
        ("Kafka", True),
        ("OpenSearch", True),
    ]
    assert all(engine["memory_mb"] > 50 for engine in status["engines"])
    assert status["engines"][0]["address"] in cli("status")
    assert "already up" in cli("up")
    assert cli.status()["pid"] == status["pid"]
    assert "is down" in cli("down")
    assert not any(psutil.pid_exists(engine["pid"]) for engine in status["engines"])
    assert not Path(status["data"]).exists()
    cli.status(code=NOTHING_RUNS)


@pytest.mark.engines
def test_a_killed_supervisor_takes_the_engines_along(cli: Cli) -> None:
    """After kill -9 of the supervisor the engine ends, status says so, and down clears up."""
    cli("up", "--no-opensearch")
    status = cli.status()
    engine = psutil.Process(status["engines"][0]["pid"])
    psutil.Process(status["pid"]).kill()
    assert psutil.wait_procs([engine], timeout=60)[1] == []
    assert "gone" in cli("status", code=NOTHING_RUNS)
    cli("down")
    assert not Path(status["data"]).exists()


@pytest.mark.engines
def test_a_dead_engine_is_unhealthy_and_a_kept_folder_stays(cli: Cli, tmp_path: Path) -> None:
    """An engine that died is shown as gone with its own exit code; the user's data folder outlives the stack."""
    data = tmp_path / "data"
    cli("up", "--no-opensearch", "--data", str(data))
    psutil.Process(cli.status()["engines"][0]["pid"]).kill()
    assert cli.status(code=UNHEALTHY)["engines"][0]["health"] == "gone"
    cli("down")
    assert (data / "kafka" / "meta.properties").exists()


@pytest.mark.engines
def test_a_start_that_fails_leaves_no_stack(cli: Cli, tmp_path: Path) -> None:
    """A data folder that cannot be made fails the start, and nothing runs afterwards."""
    (tmp_path / "file").write_text("")
    cli("up", "--data", str(tmp_path / "file"), code=1)
    cli.status(code=NOTHING_RUNS)


@pytest.mark.engines
def test_each_broker_is_shown(cli: Cli) -> None:
    """Three brokers are three lines of the status, and a dead one is named by its address."""
    cli("up", "--no-opensearch", "--brokers", "3", "--kafka-heap-mb", "256")
    engines = cli.status()["engines"]
    assert [engine["health"] for engine in engines] == ["up"] * 3
    assert len({engine["pid"] for engine in engines}) == 3
    psutil.Process(engines[1]["pid"]).kill()
    status = cli.status(code=UNHEALTHY)["engines"]
    assert [engine["health"] for engine in status] == ["up", "gone", "up"]


@pytest.mark.engines
def test_a_secured_stack_shows_where_its_logins_are_and_never_the_logins(cli: Cli) -> None:
    """Health is seen through TLS and a login; no password is in what the commands print."""
    shown = cli("up", "--secured", "--no-kafka")
    status = cli.status()
    assert [engine["health"] for engine in status["engines"]] == ["green"]
    assert status["engines"][0]["version"].startswith("2.19")
    access = read_access(Path(status["access"]))
    assert str(access.settings_file("admin")) in shown
    shown += json.dumps(status) + cli("status") + cli("up")
    assert not [word for word in access.passwords().values() if word.get_secret_value() in shown]


def test_users_need_a_version_that_has_them(cli: Cli) -> None:
    """OpenSearch 3.5 cannot be run with users, and the error says which version can."""
    cli("up", "--secured", "--no-kafka", "--opensearch-version", "3.5", code=1)
    cli.status(code=NOTHING_RUNS)
