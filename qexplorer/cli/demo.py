"""`qexplorer demo`: the whole loop on this machine."""

from pathlib import Path
from typing import Annotated

import typer


def demo(
    data: Annotated[
        Path | None, typer.Option(help="Your listings with ground truth (text, kind, toxic); synthetic without it.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="How many listings are flagged.")] = 48,
    count: Annotated[int, typer.Option(min=1, help="Size of the synthetic marketplace.")] = 40_000,
    workers: Annotated[int, typer.Option(min=1, help="Worker processes.")] = 2,
    model: Annotated[str, typer.Option(help="A hub id, a path, `packaged`, or `scripted`.")] = "packaged",
    out: Annotated[Path, typer.Option(help="Folder for records, chart and logs.")] = Path("out/demo"),
) -> None:
    """Run real Kafka and OpenSearch, two workers and a small model on a marketplace, and judge what they find."""
    from rich.console import Console

    from qexplorer.demo.run import run_demo

    console = Console()
    run_demo(data, seeds=seeds, count=count, worker_count=workers, model=model, folder=out, console=console)
