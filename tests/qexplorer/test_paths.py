from pathlib import Path

import pytest

from qexplorer.errors import ConfigError
from qexplorer.paths import cache_dir


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        pytest.param({"QEXPLORER_CACHE": "/a", "XDG_CACHE_HOME": "/b"}, "/a", id="own variable first"),
        pytest.param({"XDG_CACHE_HOME": "/b"}, "/b/qexplorer", id="then the desktop's"),
        pytest.param({"HOME": "/c"}, "/c/.cache/qexplorer", id="then the home folder's"),
        pytest.param({"QEXPLORER_CACHE": "", "XDG_CACHE_HOME": "", "HOME": "/c"}, "/c/.cache/qexplorer", id="empty"),
    ],
)
def test_the_cache_folder(variables: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache folder follows our variable, then the desktop's, then the home folder."""
    for name in ("QEXPLORER_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache_dir() == Path(expected)


def test_a_user_without_a_home_folder_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container that runs under a number has none; that is no bug of ours."""
    monkeypatch.setenv("QEXPLORER_CACHE", "~nobody-of-this-name/cache")
    with pytest.raises(ConfigError, match="Name a folder as QEXPLORER_CACHE"):
        cache_dir()
