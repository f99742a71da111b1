"""What the commands share."""

import os
import threading
from contextlib import suppress
from pathlib import Path

from qexplorer.cli.common import lines_to


def test_an_earlier_result_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    """A command that fails leaves it, also behind a link, and what was written so far is beside it."""
    path = tmp_path / "a.jsonl"
    (tmp_path / "link").symlink_to(path)
    with lines_to(path) as lines:
        lines.write({"n": 1})
    with suppress(KeyError), lines_to(tmp_path / "link") as lines:
        lines.write({"n": 2})
        raise KeyError
    assert path.read_bytes() == b'{"n":1}\n'
    assert (tmp_path / "a.jsonl.part").read_bytes() == b'{"n":2}\n'
    with lines_to(tmp_path / "link") as lines:
        lines.write({"n": 3})
    assert path.read_bytes() == b'{"n":3}\n'


def test_a_pipe_is_written_to_as_it_is(tmp_path: Path) -> None:
    """`--out >(gzip > …)` names one."""
    os.mkfifo(tmp_path / "pipe")
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    with lines_to(tmp_path / "pipe") as lines:
        lines.write(b"{}")
    reader.join(timeout=10)
    assert read == [b"{}\n"]
