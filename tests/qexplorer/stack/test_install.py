import hashlib
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from qexplorer.errors import StackError, StorageError
from qexplorer.stack.install import SPECS, LockedJar, fetch_with_jgo, installed_jars, read_lock
from qexplorer.stack.running import ignore_progress

CONTENTS = {"one-1.0.jar": b"first", "two-2.0-linux.jar": b"second"}


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny"
    folder.mkdir()
    rows = [
        ("one", "1.0", "", CONTENTS["one-1.0.jar"]),
        ("two", "2.0", "linux", CONTENTS["two-2.0-linux.jar"]),
    ]
    (folder / "jgo.lock.toml").write_text(
        "\n".join(
            f'[[dependencies]]\ngroupId = "org.example"\nartifactId = "{artifact}"\nversion = "{version}"\n'
            f'classifier = "{classifier}"\nsha256 = "{hashlib.sha256(content).hexdigest()}"'
            for artifact, version, classifier, content in rows
        )
    )
    return folder


def fetch(jar: LockedJar, folder: Path) -> Path:
    path = folder / jar.file_name
    path.write_bytes(CONTENTS[jar.file_name])
    return path


def refuse(jar: LockedJar, _folder: Path) -> Path:
    raise AssertionError(jar)


def test_jars_are_fetched_once(spec: Path, tmp_path: Path) -> None:
    """A second call takes every jar from the cache, in the lock's order, and leaves no scratch folder."""
    told: list[str] = []
    first = installed_jars(spec, cache=tmp_path, on_progress=told.append, fetch=fetch)
    second = installed_jars(spec, cache=tmp_path, on_progress=told.append, fetch=refuse)
    assert [path.name for path in first] == ["one-1.0.jar", "two-2.0-linux.jar"]
    assert first == second
    assert told == ["installing 2 jars of tiny"]
    assert {path.name for path in (tmp_path / "jars").iterdir()} == {first[0].parent.name}


def test_a_changed_jar_in_the_cache_is_refused(spec: Path, tmp_path: Path) -> None:
    """A cached jar of other content is named together with the remedy, and the others do not hide it."""
    jars = installed_jars(spec, cache=tmp_path, on_progress=ignore_progress, fetch=fetch)
    jars[1].write_bytes(b"planted")
    with pytest.raises(StackError, match=r"two-2\.0-linux\.jar") as caught:
        installed_jars(spec, cache=tmp_path, on_progress=ignore_progress, fetch=fetch)
    assert f"Delete {jars[1]}" in caught.value.remedy
    jars[1].unlink()
    assert installed_jars(spec, cache=tmp_path, on_progress=ignore_progress, fetch=fetch) == jars


def test_a_fetched_jar_that_is_not_the_locked_one_never_reaches_the_cache(spec: Path, tmp_path: Path) -> None:
    """A jar that a mirror changed is refused before it lies where Java would find it."""

    def fetch_changed(jar: LockedJar, folder: Path) -> Path:
        path = folder / jar.file_name
        path.write_bytes(b"planted")
        return path

    with pytest.raises(StackError, match=r"one-1\.0\.jar"):
        installed_jars(spec, cache=tmp_path, on_progress=ignore_progress, fetch=fetch_changed)
    assert list((tmp_path / "jars").rglob("*.jar")) == []


def test_two_installs_at_once_agree(spec: Path, tmp_path: Path) -> None:
    """Installs of the same jars at the same time all end with the same checked set."""

    def install(_index: int) -> list[Path]:
        return installed_jars(spec, cache=tmp_path, on_progress=ignore_progress, fetch=fetch)

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(install, range(16)))
    assert all(result == results[0] for result in results)
    assert [path.read_bytes() for path in results[0]] == list(CONTENTS.values())


def test_a_cache_that_is_a_file_is_a_storage_error(spec: Path, tmp_path: Path) -> None:
    """A cache folder that cannot be made is named with a remedy."""
    cache = tmp_path / "cache"
    cache.write_text("")
    with pytest.raises(StorageError, match="cache"):
        installed_jars(spec, cache=cache, on_progress=ignore_progress, fetch=fetch)


def test_a_missing_jgo_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package that fetches jars, the error says what to install."""
    for name in ("jgo", "jgo.config"):  # an earlier test may have imported it
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(StackError) as caught:
        fetch_with_jgo()
    assert "qexplorer[embedded]" in caught.value.remedy


@pytest.mark.parametrize("name", ["kafka", "opensearch-2.19", "opensearch-3.5"])
def test_the_shipped_locks_are_complete(name: str) -> None:
    """Each shipped lock gives every jar a sha256 and a name of its own, and names no host."""
    jars = read_lock(SPECS / name)
    assert all(re.fullmatch(r"[0-9a-f]{64}", jar.sha256) for jar in jars)
    assert len({jar.file_name for jar in jars}) == len(jars)
    assert "://" not in (SPECS / name / "jgo.lock.toml").read_text() + (SPECS / name / "jgo.toml").read_text()
