import errno
import os
from collections import namedtuple
from pathlib import Path

import pytest

from qexplorer.errors import StorageError
from qexplorer.stack.disk import disk_errors, require_space

Usage = namedtuple("Usage", "total used free")  # noqa: PYI024 - as shutil.disk_usage gives it


@pytest.mark.parametrize(
    ("code", "words"),
    [
        pytest.param(errno.ENOSPC, "is full", id="full"),
        pytest.param(errno.EACCES, "cannot be written", id="not allowed"),
        pytest.param(errno.EROFS, "cannot be written", id="read-only"),
    ],
)
def test_refusals_of_the_disk_name_the_path(code: int, words: str) -> None:
    """A refusal of the operating system becomes a StorageError with the path in it and a remedy."""
    with pytest.raises(StorageError, match=f"/data/x.*{words}|{words}.*") as caught, disk_errors(Path("/data")):
        raise OSError(code, os.strerror(code), "/data/x")
    assert "/data/x" in caught.value.message
    assert caught.value.remedy


def test_other_errors_pass() -> None:
    """An error that is not about the disk stays what it is."""
    with pytest.raises(InterruptedError), disk_errors(Path("/data")):
        raise InterruptedError(errno.EINTR, "interrupted")


def test_a_nearly_full_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk with 100 MB left is refused before the engines meet it."""
    monkeypatch.setattr("shutil.disk_usage", lambda _path: Usage(0, 0, 100 * 2**20))
    with pytest.raises(StorageError, match="100 MB left"):
        require_space(tmp_path)
