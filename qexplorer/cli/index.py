"""`qexplorer index load | check`: an index of ours, or one that the platform already has."""

import asyncio
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from qexplorer.cli.common import Config, Fields, OpenSearchUrl, progress, settings_of
from qexplorer.errors import ConfigError

app = typer.Typer(no_args_is_help=True, help="Fill an index of listings, or check one that exists.")


@app.command()
def load(
    source: Annotated[Path, typer.Argument(help="JSONL, CSV or Parquet; - for JSONL on standard input.")],
    index: Annotated[str, typer.Option(help="Name of the index; made where it is missing.")] = "listings",
    field: Fields = None,
    rejects: Annotated[Path | None, typer.Option(help="File for refused rows; beside the source without it.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Start from the first row.")] = False,
    config: Config = None,
    opensearch: OpenSearchUrl = None,
) -> None:
    """Load listings into an index of ours. A load that was cut off goes on where it stopped."""
    from qexplorer.clock import SystemClock
    from qexplorer.paths import cache_dir
    from qexplorer.rows import STDIN, parse_fields, read_rows
    from qexplorer.search.client import OpenSearchClient
    from qexplorer.search.load import Checkpoint, Loaded, convert_row
    from qexplorer.search.load import load as load_rows

    settings = settings_of(config, opensearch)
    fields = parse_fields(field or ())
    key = settings.explore.contact_key.get_secret_value().encode()
    if source != STDIN and not source.is_file():
        raise ConfigError(f"{source} does not exist", remedy="Check the path")
    checkpoint = (
        None
        if source == STDIN
        else Checkpoint.of(cache_dir(), source, settings.search.url, index, fields=fields, contact_key=key)
    )
    if again and checkpoint is not None:
        checkpoint.clear()
    refused = rejects or (Path("rejects.jsonl") if source == STDIN else source.with_name(source.name + ".rejects"))

    async def work() -> Loaded:
        with ExitStack() as stack:
            lines = stack.enter_context(refused.open("a", encoding="utf-8"))
            meter = stack.enter_context(progress(f"loading {source.name}"))
            async with OpenSearchClient(settings.search) as client:
                return await load_rows(
                    client,
                    index,
                    read_rows(source),
                    convert=partial(convert_row, fields=fields, contact_key=key),
                    clock=SystemClock(),
                    rejects=lines,
                    checkpoint=checkpoint,
                    on_rows=meter.advance,
                )

    done = asyncio.run(work())
    typer.echo(
        f"{index}: {done.loaded} loaded, {done.refused} refused, {done.skipped} had been loaded before", err=True
    )
    if done.refused:
        typer.echo(f"refused rows, one line each: {refused}", err=True)
    elif refused.is_file() and refused.stat().st_size == 0:  # not a device, such as /dev/null
        refused.unlink()


@app.command()
def check(
    index: Annotated[str, typer.Argument(help="Name of the index or alias.")],
    config: Config = None,
    opensearch: OpenSearchUrl = None,
) -> None:
    """Say what of an existing index works as it is, and what a normalised field would add. Writes nothing."""
    from qexplorer.search.check import check_index
    from qexplorer.search.client import OpenSearchClient

    settings = settings_of(config, opensearch)

    async def work() -> list[tuple[str, str, str]]:
        async with OpenSearchClient(settings.search) as client:
            return await check_index(client, index, settings.search.index(index))

    found = asyncio.run(work())
    for verdict, what, says in found:
        typer.echo(f"{verdict:5} {what}: {says}")
    if any(verdict == "fails" for verdict, _, _ in found):
        raise ConfigError(
            f"the index {index} cannot be explored with these settings", remedy=f"Mend search.indices.{index}"
        )
