"""Fetch the jars of a committed lock file and compare each with its sha256 before Java sees it."""

import hashlib
import tempfile
import tomllib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from qexplorer.errors import StackError
from qexplorer.stack.disk import disk_errors
from qexplorer.stack.java import INSTALL_REMEDY

SPECS = Path(__file__).parent / "jars"
_TRIES = 3
_PARALLEL_DOWNLOADS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedJar:
    """One jar that the lock file names."""

    group: str
    artifact: str
    version: str
    classifier: str
    sha256: str
    packaging: str = "jar"

    @property
    def file_name(self) -> str:
        """Return the name that Maven gives the file."""
        return "-".join(filter(None, (self.artifact, self.version, self.classifier))) + f".{self.packaging}"


# Brings one jar into a folder of its own and returns where it lies.
Fetch = Callable[[LockedJar, Path], Path]


def read_lock(spec: Path) -> list[LockedJar]:
    """Return the jars that `spec`/jgo.lock.toml names, in its order; each must carry a sha256."""
    lock = tomllib.loads((spec / "jgo.lock.toml").read_text(encoding="utf-8"))
    return [
        LockedJar(
            group=row["groupId"],
            artifact=row["artifactId"],
            version=row["version"],
            classifier=row.get("classifier", ""),
            sha256=row["sha256"],
            packaging=row.get("packaging", "jar"),
        )
        for row in lock["dependencies"]
    ]


def installed_jars(
    spec: Path, *, cache: Path, on_progress: Callable[[str], None], fetch: Fetch | None = None
) -> list[Path]:
    """Return the class path of `spec`, each jar of it checked against the lock file in this call.

    Missing jars are fetched into a folder of this call's own and moved into place by one rename each, so two
    processes may install at once. Raises StackError naming the jar whose content is not the locked one, or
    that cannot be fetched; StorageError where the cache folder is full or cannot be written.
    """
    jars = read_lock(spec)
    # One folder per lock: an older or newer QExplorer on this machine keeps a set of its own.
    lock_digest = hashlib.sha256("".join(jar.sha256 for jar in jars).encode()).hexdigest()[:8]
    folder = cache / "jars" / f"{spec.name}-{lock_digest}"
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        missing = [jar for jar in jars if not (folder / jar.file_name).exists()]
        if missing:
            on_progress(f"installing {len(missing)} jars of {spec.name}")
            _fetch_all(missing, folder, fetch or fetch_with_jgo())
        paths = [folder / jar.file_name for jar in jars]
        for jar, path in zip(jars, paths, strict=True):
            _require_locked(jar, path, remedy=f"Delete {path} and start again to fetch it anew")
    return paths


def _fetch_all(jars: list[LockedJar], folder: Path, fetch: Fetch) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetch-") as scratch:

        def bring(jar: LockedJar) -> None:
            path = fetch(jar, Path(scratch))
            _require_locked(
                jar,
                path,
                remedy="A mirror or proxy serves another file: fetch from a registry that you trust",
            )
            path.replace(folder / jar.file_name)

        pool = ThreadPoolExecutor(_PARALLEL_DOWNLOADS)
        try:
            list(pool.map(bring, jars))
        finally:
            pool.shutdown(cancel_futures=True)


def _require_locked(jar: LockedJar, path: Path, *, remedy: str) -> None:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != jar.sha256:
        raise StackError(
            f"The jar {jar.file_name} is not the one in the lock file:"
            f" sha256 {digest[:12]}… instead of {jar.sha256[:12]}…",
            remedy=remedy,
        )


def fetch_with_jgo() -> Fetch:
    """Return a fetch that asks the Maven repositories of the user's jgo settings, then Maven Central."""
    try:
        import requests
        from jgo.config import GlobalSettings
        from jgo.constants import MAVEN_CENTRAL_URL
        from jgo.maven import MavenContext
    except ImportError as error:
        raise StackError("The package jgo, which fetches jars, is missing", remedy=INSTALL_REMEDY) from error
    repositories = dict(GlobalSettings.load().repositories)
    repositories.setdefault("central", MAVEN_CENTRAL_URL)

    def fetch(jar: LockedJar, folder: Path) -> Path:
        # A local repository of this call's own: jgo writes jars in place, unsafe beside another process.
        context = MavenContext(repo_cache=folder, remote_repos=repositories)
        artifact = (
            context.project(jar.group, jar.artifact).at_version(jar.version).artifact(jar.classifier, jar.packaging)
        )
        for attempts_left in reversed(range(_TRIES)):
            try:
                return Path(artifact.resolve())
            except (requests.RequestException, RuntimeError) as error:
                # jgo takes what lies there for the whole jar, so half a download must go.
                artifact.cached_path.unlink(missing_ok=True)
                if not attempts_left:
                    raise StackError(
                        f"The jar {jar.file_name} cannot be fetched",
                        remedy="Check the network and its proxy, or name a Maven mirror in jgo's settings",
                    ) from error
        raise AssertionError

    return fetch
