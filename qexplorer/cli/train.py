"""`qexplorer train sft | dpo`."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from qexplorer.cli.common import progress

LINES_EVERY = 20

app = typer.Typer(no_args_is_help=True, help="Train an extractor's adapter on the data that `dataset build` has made.")

Out = Annotated[Path, typer.Option("--out", help="Folder for the adapter; a run that was cut off goes on in it.")]
Model = Annotated[str, typer.Option(help="A path, a hub id, or `packaged`.")]
PromptName = Annotated[str, typer.Option(help="Prompt template that the adapter is trained with.")]
Seed = Annotated[int, typer.Option(help="Seed of the run.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Rows a step.")]
Epochs = Annotated[float, typer.Option(help="Passes over the data.")]


@app.command()
def sft(
    data: Annotated[Path, typer.Argument(help="sft.parquet of a candidate store.")],
    out: Out,
    model: Model = "packaged",
    prompt: PromptName = "short",
    rank: Annotated[int, typer.Option(min=1, help="Rank of the adapter.")] = 16,
    learning_rate: Annotated[float, typer.Option(help="Highest learning rate.")] = 5e-4,
    batch_size: BatchSize = 16,
    epochs: Epochs = 1.0,
    seed: Seed = 0,
) -> None:
    """Teach the model the replies that find most."""
    from qexplorer.learn.sft import train_sft
    from qexplorer.learn.training import TrainingSettings

    settings = TrainingSettings(
        model=model,
        prompt=prompt,
        rank=rank,
        learning_rate=learning_rate,
        batch_size=batch_size,
        epochs=epochs,
        seed=seed,
    )
    with _steps("sft") as on_step:
        record = train_sft(data, out, settings, on_step)
    typer.echo(f"{out}: trained on {record['rows']} rows, {record['tokens']} tokens", err=True)


@app.command()
def dpo(
    data: Annotated[Path, typer.Argument(help="pairs.parquet of a candidate store.")],
    adapter: Annotated[Path, typer.Option(help="The SFT adapter that wrote the replies.")],
    out: Out,
    model: Model = "packaged",
    prompt: PromptName = "short",
    learning_rate: Annotated[float, typer.Option(help="Highest learning rate.")] = 3e-5,
    batch_size: BatchSize = 4,
    epochs: Epochs = 1.0,
    seed: Seed = 0,
) -> None:
    """Align the adapter with what the search system found better."""
    from qexplorer.learn.dpo import train_dpo
    from qexplorer.learn.training import TrainingSettings

    settings = TrainingSettings(
        model=model,
        prompt=prompt,
        rank=0,
        learning_rate=learning_rate,
        batch_size=batch_size,
        epochs=epochs,
        seed=seed,
    )
    with _steps("dpo") as on_step:
        record = train_dpo(data, adapter, out, settings, on_step)
    typer.echo(f"{out}: trained on {record['rows']} pairs", err=True)


@contextmanager
def _steps(what: str) -> Iterator[Callable[[int, int, float], None]]:
    """Show a bar on a terminal, and lines in a log."""
    with progress(what) as meter:

        def on_step(done: int, total: int, loss: float) -> None:
            meter.at(done, total)
            if not sys.stderr.isatty() and (done % LINES_EVERY == 0 or done == total):
                typer.echo(f"{what}: step {done} of {total}, loss {loss:.3f}", err=True)

        yield on_step
