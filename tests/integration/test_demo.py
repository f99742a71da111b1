"""The demo as a newcomer runs it, with the scripted engine in place of the model."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

MAIN = "from qexplorer.cli.app import main; main()"


def demo(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the demo in a folder and return how it ended."""
    return subprocess.run(  # noqa: S603 - our own arguments
        [sys.executable, "-c", MAIN, "demo", "--model", "scripted", "--out", "out/demo", *arguments],
        capture_output=True, text=True, check=False, timeout=280, cwd=folder,
    )  # fmt: skip


@pytest.mark.engines
def test_the_demo_runs_to_its_summary_and_leaves_its_records(tmp_path: Path) -> None:
    """Every flag is answered; table, curve and examples are shown; records, chart and logs are where it says."""
    done = demo(tmp_path, "--count", "5000", "--seeds", "6")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "every flag is answered" in done.stdout
    assert "finds that the other misses" in done.stdout
    out = tmp_path / "out" / "demo"
    assert {"suspects.jsonl", "audit.jsonl", "curve.png", "worker-1.log", "worker-2.log"} <= {
        path.name for path in out.iterdir()
    }
    suspects = [json.loads(line) for line in (out / "suspects.jsonl").read_text().splitlines()]
    assert suspects
    assert all(suspect["versions"]["triage"].startswith("linear@") for suspect in suspects)
    assert (out / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_a_file_without_ground_truth_is_refused(tmp_path: Path) -> None:
    """The demo says what the file needs, before anything is started."""
    (tmp_path / "mine.jsonl").write_text('{"id": "a", "text": "x"}\n')
    done = demo(tmp_path, "--data", "mine.jsonl")
    assert done.returncode == 3
    assert "told apart by the column toxic" in done.stderr
    assert "Traceback" not in done.stderr
