"""`qexplorer stack`: Kafka and OpenSearch on this machine, in the background."""

import json
from pathlib import Path
from typing import Annotated

import typer

from qexplorer.paths import cache_dir
from qexplorer.stack import NEWEST, OpenSearchVersion, kafka, opensearch
from qexplorer.stack.access import ADMIN, WORKER
from qexplorer.stack.detached import start_detached, stop_detached
from qexplorer.stack.opensearch import SECURED
from qexplorer.stack.report import engine_reports, to_json
from qexplorer.stack.state import StackState, read_state, supervisor_of
from qexplorer.stack.supervisor import StackOptions

NOTHING_RUNS = 12
UNHEALTHY = 13

app = typer.Typer(
    name="stack",
    help="Run the real Kafka and OpenSearch on this machine, without Docker or an installed Java.",
    no_args_is_help=True,
)


@app.command()
def up(
    *,
    with_kafka: Annotated[bool, typer.Option("--kafka/--no-kafka", help="Run Kafka.")] = True,
    with_opensearch: Annotated[bool, typer.Option("--opensearch/--no-opensearch", help="Run OpenSearch.")] = True,
    opensearch_version: Annotated[
        OpenSearchVersion | None,
        typer.Option(help=f"OpenSearch's version; without it {NEWEST}, or {SECURED} with users."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Keep topics and indices in this folder; without it `down` throws them away."),
    ] = None,
    kafka_heap_mb: Annotated[int, typer.Option(min=128, help="Kafka's heap in MB.")] = kafka.DEFAULT_HEAP_MB,
    opensearch_heap_mb: Annotated[
        int, typer.Option(min=256, help="OpenSearch's heap in MB.")
    ] = opensearch.DEFAULT_HEAP_MB,
    brokers: Annotated[
        int, typer.Option(min=1, max=9, help="Kafka brokers; with three or more, topics have three replicas.")
    ] = 1,
    search_nodes: Annotated[int, typer.Option(min=1, max=8, help="OpenSearch nodes.")] = 1,
    secured: Annotated[
        bool, typer.Option("--secured", help="Ask for logins, by TLS; settings files with them are written.")
    ] = False,
) -> None:
    """Start the engines in the background and wait until they are healthy."""
    if not with_kafka and not with_opensearch:
        raise typer.BadParameter("with --no-kafka and --no-opensearch there is nothing to start")
    cache = cache_dir()
    state = read_state(cache)
    if state and supervisor_of(state):
        typer.echo("The stack is already up; for other options, take it down first: qexplorer stack down")
    else:
        options = StackOptions(
            kafka=with_kafka,
            opensearch=with_opensearch,
            opensearch_version=opensearch_version.value if opensearch_version else None,
            data=str(data.absolute()) if data else None,
            kafka_heap_mb=kafka_heap_mb,
            opensearch_heap_mb=opensearch_heap_mb,
            brokers=brokers,
            search_nodes=search_nodes,
            secured=secured,
        )
        state = start_detached(options, cache, lambda text: typer.echo(f"… {text}", err=True))
    _print_endpoints(state)


@app.command()
def down() -> None:
    """End the engines and wait until they are gone."""
    typer.echo("The stack is down." if stop_detached(cache_dir()) else "No stack was running.")


@app.command()
def status(*, as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """Show the engines: exit code 0 when healthy, 12 when none runs, 13 when one is not healthy."""
    state = read_state(cache_dir())
    supervisor = supervisor_of(state) if state else None
    reports = engine_reports(state) if state and supervisor else []
    if as_json:
        typer.echo(json.dumps(to_json(state, reports, alive=supervisor is not None)))
    elif not state:
        typer.echo("No stack runs. Start one with: qexplorer stack up")
    elif not supervisor:
        typer.echo(
            f"The stack is gone: its supervisor (process {state.pid}) was killed, and the engines ended with it."
            " Clear up with: qexplorer stack down"
        )
    else:
        for report in reports:
            typer.echo(
                f"{report.name:<11}{report.version:<8}{report.health:<8}{report.address:<24}"
                f"process {report.pid}, {report.memory_mb} MB"
            )
        typer.echo(f"supervisor process {state.pid}")
        _print_folders(state)
    if not supervisor:
        raise typer.Exit(NOTHING_RUNS)
    if not all(report.healthy for report in reports):
        raise typer.Exit(UNHEALTHY)


def _print_endpoints(state: StackState) -> None:
    if state.kafka:
        typer.echo(f"Kafka {state.kafka_version}: {state.kafka}")
    if state.opensearch:
        typer.echo(f"OpenSearch {state.opensearch_version}: {state.opensearch}")
    _print_folders(state)


def _print_folders(state: StackState) -> None:
    typer.echo(f"logs: {state.logs}")
    typer.echo(f"data: {state.data}" + (" (thrown away by `down`)" if state.throwaway else ""))
    if state.access:
        typer.echo(f"settings with logins, for --config: {state.access}/{ADMIN}.yaml, and {WORKER}.yaml without rights")
