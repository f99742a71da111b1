"""The documents name what exists: tests, commands, alerts."""

import re
import shlex
from pathlib import Path

import pytest
import yaml
from typer.main import get_command
from typer.testing import CliRunner

from qexplorer.cli.app import app as explorer
from worker.__main__ import app as worker

ROOT = Path(__file__).parents[1]
GUARANTEES = (ROOT / "docs/guarantees.md").read_text()
RUNBOOK = (ROOT / "docs/runbook.md").read_text()


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(tests/[\w/]+\.py::\w+)`", GUARANTEES))))
def test_each_promise_names_a_test_that_exists(name: str) -> None:
    """A test that was renamed is renamed in the document too."""
    path, _, function = name.partition("::")
    assert re.search(rf"^(async )?def {function}\(", (ROOT / path).read_text(), re.MULTILINE)


def test_each_alert_has_its_chapter() -> None:
    """What rings at night is found in the runbook under its name."""
    rules = yaml.safe_load((ROOT / "k8s/components/monitoring/rules.yaml").read_text())
    alerts = {rule["alert"] for group in rules["spec"]["groups"] for rule in group["rules"]}
    chapters = set(re.findall(r"^## (QExplorer\w+)$", RUNBOOK, re.MULTILINE))
    assert alerts == chapters


def commands() -> list[str]:
    """Return the commands that the runbook has people type, without comments."""
    found = re.findall(r"`((?:python -m worker|qexplorer) [^`]+)`", RUNBOOK)
    blocks = re.findall(r"```sh\n(.*?)```", RUNBOOK, re.DOTALL)
    found += [line for block in blocks for line in block.splitlines() if line.startswith(("python", "qexplorer"))]
    return sorted({line.partition("#")[0].strip() for line in found})


@pytest.mark.parametrize("line", commands())
def test_each_command_of_the_runbook_exists(line: str) -> None:
    """Its name and every option are known to the command line."""
    words = shlex.split(line.removeprefix("python -m "))
    app = worker if words[0] == "worker" else explorer
    command = get_command(app)
    names = []
    for word in words[1:]:
        if not hasattr(command, "commands") or word not in command.commands:
            break
        names.append(word)
        command = command.commands[word]
    assert names, line
    shown = CliRunner().invoke(app, [*names, "--help"], terminal_width=200).output
    for option in re.findall(r"--[a-z-]+", line):
        assert option in shown, (line, option)
