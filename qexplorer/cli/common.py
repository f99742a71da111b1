"""What the commands share: options, settings, progress on stderr, JSONL on stdout."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from qexplorer.settings import Settings

Config = Annotated[Path | None, typer.Option("--config", help="YAML file with settings.")]
OpenSearchUrl = Annotated[str | None, typer.Option("--opensearch", help="URL of OpenSearch.")]
Fields = Annotated[
    list[str] | None, typer.Option("--field", help="Our field = your column, e.g. title=text. May be repeated.")
]
Output = Annotated[Path | None, typer.Option("--out", help="File to write; standard output without it.")]


def settings_of(config: Path | None, opensearch: str | None = None, **sections: dict[str, Any]) -> "Settings":
    """Return the settings with what the command line overrides."""
    from qexplorer.settings import load_settings

    overrides: dict[str, Any] = {name: given for name, given in sections.items() if given}
    if opensearch:
        overrides["search"] = {"url": opensearch}
    return load_settings(config, **overrides)


@contextmanager
def opensearch_of(settings: "Settings", url: str | None, data: Path | None = None) -> Iterator["Settings"]:
    """Yield settings that name an OpenSearch: the given one, or an embedded one for as long as it is needed.

    `data` keeps the embedded one's indices for the next time.
    """
    patient = {"timeout_s": max(60.0, settings.search.timeout_s)}
    if url:
        yield settings.model_copy(update={"search": settings.search.model_copy(update=patient)})
        return
    from qexplorer.stack import running

    with running(kafka=False, data=data, on_progress=lambda line: typer.echo(line, err=True)) as endpoints:
        search = settings.search.model_copy(update={**patient, "url": endpoints.opensearch})
        yield settings.model_copy(update={"search": search})


@contextmanager
def lines_to(path: Path | None) -> Iterator["Lines"]:
    """Open a JSONL file, or standard output.

    The file takes its name when it is whole: until then it is NAME.part, beside what has that name.
    """
    if path is None:
        yield Lines(sys.stdout.buffer)
        sys.stdout.flush()
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not path.is_file():
        part = path  # a pipe or a device
    else:
        path = path.resolve()
        part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        yield Lines(file)
    part.replace(path)


class Lines:
    """Writes values as JSON lines."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, value: Any) -> None:
        """Write one value; bytes are taken to be JSON already."""
        import orjson

        self._file.write(value if isinstance(value, bytes) else orjson.dumps(value))
        self._file.write(b"\n")


@contextmanager
def progress(what: str, total: int | None = None) -> Iterator["Meter"]:
    """Show a progress bar on stderr, when that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        yield Meter(bar, bar.add_task(what, total=total))


class Meter:
    """Moves one progress bar."""

    def __init__(self, bar: Any, task: Any) -> None:
        self._bar = bar
        self._task = task
        self._what = ""

    def advance(self, steps: int = 1) -> None:
        """Move on."""
        self._bar.advance(self._task, steps)

    def more(self, what: str, steps: int, total: int) -> None:
        """Move on with one of several things that follow each other, each with a total of its own."""
        if self._what != what:
            self._what = what
            self._bar.update(self._task, description=what, completed=0)
        self._bar.update(self._task, advance=steps, total=total)

    def at(self, done: int, total: int) -> None:
        """Stand at a step of so many."""
        self._bar.update(self._task, completed=done, total=total)
