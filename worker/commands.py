"""What an operator does to what the worker has left: dead letters, suspects, and what is to be forgotten."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from qexplorer.settings import Settings
from worker.options import Brokers, Config, Search, settings_of

if TYPE_CHECKING:
    from qexplorer.search.client import OpenSearchClient
    from worker.dlq import DeadLetterBox, Letter, Which
    from worker.kafka import KafkaPublisher

JSON_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"?', re.DOTALL)
T = TypeVar("T", str, list[str] | None)

dlq_app = typer.Typer(no_args_is_help=True, help="Dead letters: look at them, send them again, throw them away.")
suspects_app = typer.Typer(no_args_is_help=True, help="What was published for review.")

Reason = Annotated[str | None, typer.Option(help="Only those with this reason.")]
Start = Annotated[str, typer.Option("--from", help="From this offset of the flags, or time: 2026-01-31T04:00Z.")]
End = Annotated[str, typer.Option("--to", help="To before this offset or time.")]
Partition = Annotated[int | None, typer.Option(help="Only those from this partition of the flags.")]


def _said(value: T) -> T:
    """Refuse what an unset variable of a shell gives: it would mean all that has no seller, no id or no version."""
    if any(not each.strip() for each in ([value] if isinstance(value, str) else value or ())):
        raise typer.BadParameter("is blank")
    return value


Ids = Annotated[list[str] | None, typer.Argument(help="Ids of letters; all that the options leave, without any.")]


@dlq_app.command("list")
def list_letters(
    ids: Ids = None,
    reason: Reason = None,
    start: Start = "",
    end: End = "",
    partition: Partition = None,
    config: Config = None,
    kafka: Brokers = None,
) -> None:
    """List the dead letters, oldest first, and count them by reason."""
    which = _which(ids, reason, start, end, partition)
    letters = asyncio.run(_list(settings_of(config, kafka, None), which))
    counts: dict[str, int] = {}
    for each in letters:
        letter, place = each.letter, each.letter.position
        where = f"{place.topic}/{place.partition}@{place.offset}"
        typer.echo(
            f"{letter.letter_id}  {letter.at:%Y-%m-%d %H:%M:%S}  {letter.reason.value:15} {where}"
            f"  attempt {letter.attempts}  {each.size} bytes  {each.state}  {letter.error[:120]}"
        )
        counts[letter.reason.value] = counts.get(letter.reason.value, 0) + 1
    by_reason = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
    typer.echo(f"{len(letters)} dead letters" + (f": {by_reason}" if by_reason else ""))


@dlq_app.command()
def show(
    letter_id: Annotated[str, typer.Argument(help="Id of a letter.")], config: Config = None, kafka: Brokers = None
) -> None:
    """Show one letter: why, where, its headers and its message, contacts hidden."""
    settings = settings_of(config, kafka, None)
    for line in asyncio.run(_show(settings, letter_id)):
        typer.echo(line)


@dlq_app.command()
def redrive(
    ids: Ids = None,
    reason: Reason = None,
    start: Start = "",
    end: End = "",
    partition: Partition = None,
    limit: Annotated[int, typer.Option(min=1, help="Send at most this many.")] = 100,
    most_attempts: Annotated[int, typer.Option(min=1, help="Leave those alone that have failed so often.")] = 3,
    config: Config = None,
    kafka: Brokers = None,
) -> None:
    """Send letters to their topic again, each once; what fails again is a new letter."""
    which = _which(ids, reason, start, end, partition)
    settings = settings_of(config, kafka, None)

    async def send() -> tuple[int, int]:
        async with _box(settings) as box:
            return await box.redrive(which, limit=limit, most_attempts=most_attempts, tell=typer.echo)

    sent, left = asyncio.run(send())
    typer.echo(f"{sent} sent again, {left} left" + (": run it again for more" if left else ""))


@dlq_app.command()
def purge(
    ids: Ids = None,
    reason: Reason = None,
    start: Start = "",
    end: End = "",
    partition: Partition = None,
    everything: Annotated[bool, typer.Option("--all", help="Throw all away.")] = False,
    config: Config = None,
    kafka: Brokers = None,
) -> None:
    """Throw letters away. Without a filter `--all` is needed."""
    which = _which(ids, reason, start, end, partition)
    settings = settings_of(config, kafka, None)
    from worker.dlq import Which

    if which == Which() and not everything:
        raise typer.BadParameter("name letters or a filter, or say --all")

    async def throw() -> int:
        async with _box(settings) as box:
            return await box.purge(which)

    typer.echo(f"{asyncio.run(throw())} thrown away")


@suspects_app.command()
def retract(
    version: Annotated[
        str,
        typer.Option(callback=_said, help="A release, model, adapter, prompt or triage, with or without its hash."),
    ],
    since: Annotated[str, typer.Option(help="What was found from this time on, as 2026-01-31T04:00Z.")],
    reason: Annotated[str, typer.Option(help="Why; reviewers see it.")] = "a bad version",
    config: Config = None,
    kafka: Brokers = None,
    opensearch: Search = None,
) -> None:
    """Take back what a bad version has published; others may find and publish it again."""
    from worker.reading import Place
    from worker.wiring import for_dry_run

    settings = for_dry_run(settings_of(config, kafka, opensearch))
    at = Place.parse(since).at
    if at is None:
        raise typer.BadParameter(f"{since} is no time; write 2026-01-31T04:00Z")

    async def take_back() -> str:
        from qexplorer.clock import SystemClock
        from worker.suspects import retract as retract_suspects
        from worker.wiring import Memory

        async with _ends(settings) as (publisher, search):
            memory = Memory.of(search, settings)
            done = await retract_suspects(
                settings, publisher, memory.discoveries, SystemClock(), version=version, since=at, reason=reason
            )
        kept_back = f"; {done.kept_back} more will not be published" if done.kept_back else ""
        return f"{done.taken_back} suspects taken back, of {done.found} that {version} had published since{kept_back}"

    typer.echo(asyncio.run(take_back()))


def forget(
    seller: Annotated[list[str] | None, typer.Option(callback=_said, help="Id of a seller; may be repeated.")] = None,
    listing: Annotated[list[str] | None, typer.Option(callback=_said, help="Id of a listing; may be repeated.")] = None,
    store: Annotated[
        list[Path] | None, typer.Option(exists=True, file_okay=False, help="A candidate store to clear, too.")
    ] = None,
    file: Annotated[
        list[Path] | None,
        typer.Option(exists=True, dir_okay=False, help="A JSONL file to remove them from, as of a replay."),
    ] = None,
    topic: Annotated[list[str] | None, typer.Option(help="A topic of a replay or a dry run to clear, too.")] = None,
    config: Config = None,
    kafka: Brokers = None,
    opensearch: Search = None,
) -> None:
    """Remove sellers or listings from all that is kept: topics, indices, and the stores and files that you name."""
    if not seller and not listing:
        raise typer.BadParameter("name a --seller or a --listing")
    settings = settings_of(config, kafka, opensearch)
    from qexplorer.learn.store import Store
    from worker.forget import Forgetting, Traces, forget_in_file

    async def remove() -> Traces:
        async with _ends(settings) as (publisher, search):
            forgetting = Forgetting(settings, publisher, search, typer.echo)
            return await forgetting.forget(frozenset(seller or ()), frozenset(listing or ()), topic or ())

    traces = asyncio.run(remove())
    for folder in store or ():
        typer.echo(f"{folder}: {Store(folder).forget(traces.listings)} rows removed")
    for path in file or ():
        typer.echo(f"{path}: {forget_in_file(path, traces)} lines removed")


def replay(
    run: Annotated[str, typer.Option(help="Name of the run; the same name goes on where it stopped.")],
    out: Annotated[str, typer.Option(help="A file of JSON lines, or topic:NAME.")],
    start: Annotated[str, typer.Option("--from", help="From this offset or time; all that is there without it.")] = "",
    end: Annotated[str, typer.Option("--to", help="To before this offset or time; what is there now without it.")] = "",
    model: Annotated[str, typer.Option(help="Model of the default engine: a path, a hub id, `packaged`.")] = "",
    adapter: Annotated[str | None, typer.Option(help="Its adapter: a folder, `packaged`, or nothing.")] = None,
    prompt: Annotated[str, typer.Option(help="Prompt of the policies that name none.")] = "",
    triage: Annotated[Path | None, typer.Option(help="Triage artefact.")] = None,
    index: Annotated[str, typer.Option(help="Search this index or alias instead of the policies'.")] = "",
    rate: Annotated[float, typer.Option(min=0, help="At most so many flags a second in this process.")] = 0.0,
    compare: Annotated[
        list[Path] | None, typer.Option(help="Compare with the file of another run; may be repeated.")
    ] = None,
    truth: Annotated[
        Path | None, typer.Option(help="Labels for that: JSON lines with id and toxic, or verdicts.")
    ] = None,
    config: Config = None,
    kafka: Brokers = None,
    opensearch: Search = None,
) -> None:
    """Take a part of the flags through the worker again, beside production and without touching it."""
    from worker.reading import Place
    from worker.replay import Replay, run_replay

    settings = settings_of(config, kafka, opensearch)
    engine = {name: value for name, value in (("model", model or None), ("adapter", adapter)) if value is not None}
    engines = {**settings.engines, "default": settings.engines["default"].model_copy(update=engine)}
    settings = settings.model_copy(update={"engines": engines, **({"triage": triage} if triage else {})})
    if engine:
        # What is named here takes the place of the registry's current version.
        settings = settings.model_copy(update={"models": None})
    if compare and out.startswith("topic:"):
        raise typer.BadParameter("--compare reads files: give a file as --out")
    plan = Replay(
        run=run,
        out=out,
        start=Place.parse(start) if start else None,
        end=Place.parse(end) if end else None,
        index=index,
        prompt=prompt,
        rate=rate,
    )

    def say(line: str) -> None:
        typer.echo(line, err=True)

    done = asyncio.run(run_replay(settings, plan, say))
    rate_of = done.flags / done.seconds if done.seconds else 0.0
    typer.echo(f"{run}: {done.flags} flags in {done.seconds:.0f} s ({rate_of:.1f}/s), {done.dead_letters} set aside")
    if compare:
        from worker.runs import compare_runs

        for line in compare_runs([Path(out), *compare], truth, say):
            typer.echo(line)


@asynccontextmanager
async def _ends(settings: Settings) -> AsyncIterator[tuple["KafkaPublisher", "OpenSearchClient"]]:
    from qexplorer.search.client import OpenSearchClient
    from worker.kafka import KafkaPublisher

    async with KafkaPublisher(settings.kafka) as publisher, OpenSearchClient(settings.search) as search:
        yield publisher, search


def _which(ids: list[str] | None, reason: str | None, start: str, end: str, partition: int | None) -> "Which":
    from schemas import DeadLetterReason
    from worker.dlq import Which
    from worker.reading import Place

    known = [each.value for each in DeadLetterReason]
    if reason is not None and reason not in known:
        raise typer.BadParameter(f"there is no reason {reason}; there are: {', '.join(known)}")
    return Which(
        ids=frozenset(ids or ()),
        reason=DeadLetterReason(reason) if reason else None,
        start=Place.parse(start) if start else Place(),
        end=Place.parse(end) if end else Place(),
        partition=partition,
    )


@asynccontextmanager
async def _box(settings: Settings) -> AsyncIterator["DeadLetterBox"]:
    from qexplorer.clock import SystemClock
    from worker.dlq import DeadLetterBox
    from worker.kafka import KafkaPublisher

    async with KafkaPublisher(settings.kafka) as publisher:
        yield DeadLetterBox(settings, publisher, SystemClock())


async def _list(settings: Settings, which: "Which") -> "list[Letter]":
    async with _box(settings) as box:
        return await box.letters(which)


async def _show(settings: Settings, letter_id: str) -> list[str]:
    from worker.dead_letters import LETTER
    from worker.dlq import original

    async with _box(settings) as box:
        message = await box.message(letter_id)
    key, value, headers = original(message)
    return [
        dict(message.headers)[LETTER].decode(),
        f"key: {_hidden(key)}",
        *(f"header {name}: {_hidden((data or b'')[:200])}" for name, data in headers),
        f"message, {len(value or b'')} bytes: {_hidden(value)}",
    ]


def _hidden(value: bytes | None) -> str:
    """Return the beginning of a message, contacts hidden: each text of its JSON is read before it is looked at."""
    from qexplorer.redact import redact

    if value is None:
        return "(none)"

    def read(literal: re.Match[str]) -> str:
        try:
            # The last one may be cut off.
            text = json.loads(literal[0].removesuffix('"') + '"', strict=False)
            return json.dumps(redact(text), ensure_ascii=False)
        except ValueError:
            return redact(literal[0])

    return redact(JSON_TEXT.sub(read, value[:4000].decode("utf-8", "replace")))
