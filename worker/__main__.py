"""The worker's command line: run it, and everything that its operator does."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from qexplorer.cli.run import run as run_app
from qexplorer.logs import configure_logs
from worker.commands import dlq_app, forget, replay, suspects_app
from worker.options import Brokers, Config, Search, settings_of

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
WHY = "Why; it is shown by status and in the logs."
app.add_typer(dlq_app, name="dlq")
app.add_typer(suspects_app, name="suspects")
app.command()(forget)
app.command()(replay)


@app.command()
def run(
    config: Config = None,
    kafka: Brokers = None,
    opensearch: Search = None,
    health_port: Annotated[int | None, typer.Option(help="Port of /live, /ready, /status and /metrics.")] = None,
    dry_run: Annotated[
        str | None, typer.Option(help="Publish suspects to this topic, beside production and without touching it.")
    ] = None,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Consume flags and publish suspects until SIGTERM."""
    configure_logs(log_level)
    settings = settings_of(config, kafka, opensearch, health_port=health_port, dry_run_topic=dry_run)
    from worker.run import run_worker

    raise typer.Exit(asyncio.run(run_worker(settings)))


@app.command()
def topics(
    config: Config = None,
    kafka: Brokers = None,
    create: Annotated[bool, typer.Option("--create", help="Create the missing ones.")] = False,
    partitions: Annotated[int, typer.Option(help="Partitions of a new topic: the most workers that can share.")] = 8,
    replication: Annotated[int, typer.Option(help="Replicas of a new topic.")] = 1,
    dry_run: Annotated[str | None, typer.Option(help="The topics of a dry run, too.")] = None,
) -> None:
    """Say which of the topics exist, or create them."""
    settings = settings_of(config, kafka, None, dry_run_topic=dry_run)
    from worker.topics import check_topics, create_topics, differing

    if create:
        for name, created in asyncio.run(
            create_topics(settings, partitions=partitions, replication=replication)
        ).items():
            typer.echo(f"{name}\t{'created' if created else 'exists'}")
    else:
        for name, count in asyncio.run(check_topics(settings)).items():
            typer.echo(f"{name}\t{count} partitions")
    for name, what in asyncio.run(differing(settings)).items():
        typer.echo(f"{name}: {'; '.join(what)}. Set it with kafka-configs", err=True)


@app.command()
def status(config: Config = None, kafka: Brokers = None) -> None:
    """Show the standing order, and how far the group has come on each partition of the flags."""
    from worker.control import standing_order
    from worker.topics import group_lag
    from worker.wiring import for_dry_run

    settings = for_dry_run(settings_of(config, kafka, None))

    lag = asyncio.run(group_lag(settings))
    last = asyncio.run(standing_order(settings.kafka))
    typer.echo(f"group {settings.kafka.group} on {', '.join(settings.kafka.topics.flags)}")
    if last is None:
        typer.echo("running: no order was ever given")
    else:
        state = "paused" if last.command == "pause" else "running"
        typer.echo(f"{state} since {last.at:%Y-%m-%d %H:%M:%S %Z}, by {last.issued_by}: {last.reason or 'no reason'}")
    for (topic, partition), (committed, end) in lag.items():
        typer.echo(f"{topic} {partition}\tcommitted {committed}\tend {end}\tlag {end - committed}")
    typer.echo(f"total lag {sum(end - committed for committed, end in lag.values())}")


@app.command()
def pause(reason: Annotated[str, typer.Option(help=WHY)], config: Config = None, kafka: Brokers = None) -> None:
    """Have all workers take no more flags; what they have in hand is finished. It holds across restarts."""
    _give_order(config, kafka, "pause", reason)


@app.command()
def resume(reason: Annotated[str, typer.Option(help=WHY)] = "", config: Config = None, kafka: Brokers = None) -> None:
    """Have all workers go on, also after too many dead letters."""
    _give_order(config, kafka, "resume", reason)


def _give_order(config: Path | None, kafka: str | None, command: str, reason: str) -> None:
    settings = settings_of(config, kafka, None)
    from qexplorer.clock import SystemClock
    from schemas import Command
    from worker.control import order
    from worker.kafka import publish_once
    from worker.topics import check_topics

    asyncio.run(check_topics(settings))
    record = order(Command(command), reason, SystemClock(), settings.kafka.topics.control)
    asyncio.run(publish_once(settings.kafka, [record]))
    typer.echo(f"all workers of {settings.kafka.topics.control} are told to {command}")


if __name__ == "__main__":
    run_app(app)
