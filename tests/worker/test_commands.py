"""What the operator's commands refuse and hide."""

import pytest
from typer.testing import CliRunner

from schemas import Versions
from worker.__main__ import app
from worker.commands import _hidden
from worker.suspects import names


@pytest.mark.parametrize(
    "command",
    [
        ("forget", "--seller", ""),
        ("forget", "--seller", "s", "--listing", " "),
        ("suspects", "retract", "--since", "2026-01-31T04:00Z", "--version", ""),
    ],
)
def test_a_blank_name_is_refused(command: tuple[str, ...]) -> None:
    """An unset variable of a shell would else stand for all that has no seller, or no version of some part."""
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 2
    assert "is blank" in result.output
    assert not names(Versions(model="m@1", prompt="p@1", normaliser="1"), "")


def test_files_to_forget_in_are_looked_for_before_anything_is_removed() -> None:
    """Once the topics are cleared nothing tells any more which listings were the seller's."""
    result = CliRunner().invoke(app, ["forget", "--seller", "s", "--file", "typo.jsonl", "--kafka", "127.0.0.1:1"])
    assert result.exit_code == 2
    assert "does not exist" in result.output


@pytest.mark.parametrize(
    "value",
    [
        b"call 07911 123456",
        b'{"description": "call\\n07911 123456\\nnow"}',
        b'{"description": "call\\u000a\\uff10\\uff17\\uff19\\uff11\\uff11 \\uff11\\uff12\\uff13\\uff14\\uff15\\uff16"}',
        b'{"a": {"b": ["x", "jane@example.com"]}, "half": "mail jane@exam\\u0070le.com',
        b'{"phone": 447911123456}',
    ],
)
def test_no_contact_of_a_letter_is_shown(value: bytes) -> None:
    """However its JSON writes it: behind a line break, escaped, cut off, or as a number."""
    shown = _hidden(value)
    assert not any(part in shown for part in ("123456", "\uff11\uff12\uff13", "jane@", "911123"))


def test_what_is_no_contact_is_shown_as_it_is() -> None:
    """Who looks for the reason sees the message, in its own letters."""
    assert _hidden(b'{"title": "\\u51fa\\u552e lamp", "n": 7}') == '{"title": "出售 lamp", "n": 7}'
    assert _hidden(None) == "(none)"
