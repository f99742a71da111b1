"""How every command ends."""

import subprocess
import sys
from pathlib import Path

import pytest

from qexplorer import errors
from qexplorer.cli.run import run
from qexplorer.errors import ConfigError, QExplorerError

MAIN = "from qexplorer.cli.app import main; main()"


def test_an_error_of_ours_is_two_lines_and_its_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    """The thing, the remedy, and a code that says of which kind it is."""

    def command() -> None:
        raise ConfigError("the file x is missing", remedy="Give its path")

    with pytest.raises(SystemExit) as ended:
        run(command)
    assert ended.value.code == 4
    assert capsys.readouterr().err == "error: the file x is missing\n  → Give its path\n"


def test_a_bug_shows_no_traceback_unless_asked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unexpected error is one line; QEXPLORER_DEBUG=1 shows where it came from."""

    def command() -> None:
        raise KeyError("boom")

    with pytest.raises(SystemExit) as ended:
        run(command)
    assert ended.value.code == 1
    assert "KeyError: 'boom'" in capsys.readouterr().err
    monkeypatch.setenv("QEXPLORER_DEBUG", "1")
    with pytest.raises(KeyError):
        run(command)


def test_exit_codes_are_distinct() -> None:
    """Each kind of error has a code of its own, none of which means a bug or a wrong command line."""
    kinds = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, QExplorerError) and "exit_code" in vars(kind)
    ]
    codes = [kind.exit_code for kind in kinds if kind is not QExplorerError]
    assert len(codes) == len(set(codes))
    assert not set(codes) & {0, 1, 2}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_named() -> None:
    """Writing to a full disk ends with the storage code and a remedy, not with half a file in silence."""
    done = subprocess.run(  # noqa: S603 - our own arguments
        [sys.executable, "-c", MAIN, "marketplace", "--count", "5000", "--out", "/dev/full"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 11, done.stderr
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_reader_that_goes_away_is_no_error() -> None:
    """`qexplorer marketplace | head -1` ends well."""
    arguments = [sys.executable, "-c", MAIN, "marketplace", "--count", "50000"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as writer:  # noqa: S603 - our own
        assert writer.stdout is not None
        assert writer.stderr is not None
        assert writer.stdout.readline()
        writer.stdout.close()
        assert writer.stderr.read() == b""
    assert writer.returncode == 0


@pytest.mark.parametrize("option", ["--workers", "--seeds", "--count"])
def test_a_demo_of_nothing_is_refused_before_it_starts(option: str) -> None:
    """Without workers the engines would come up first, and without flags the data would be blamed."""
    done = subprocess.run(  # noqa: S603 - our own arguments
        [sys.executable, "-c", MAIN, "demo", option, "0"], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2, done.stderr
    assert option in done.stderr
