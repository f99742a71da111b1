"""`qexplorer train sft | dpo | all`."""

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qexplorer.cli.common import Config, OpenSearchUrl, opensearch_of, progress, settings_of

if TYPE_CHECKING:
    from qexplorer.settings import SearchSettings

LINES_EVERY = 20

app = typer.Typer(no_args_is_help=True, help="Train an extractor's adapter on the data that `dataset build` has made.")

Out = Annotated[Path, typer.Option("--out", help="Folder for the adapter; a run that was cut off goes on in it.")]
Model = Annotated[str, typer.Option(help="A path, a hub id, or `packaged`.")]
PromptName = Annotated[str, typer.Option(help="Prompt template that the adapter is trained with.")]
Seed = Annotated[int, typer.Option(help="Seed of the run.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Prompts a step, each with all its replies; in DPO pairs.")]
Epochs = Annotated[float, typer.Option(min=0.01, help="Passes over the data.")]


@app.command()
def sft(
    data: Annotated[Path, typer.Argument(help="sft.parquet of a candidate store.")],
    out: Out,
    model: Model = "packaged",
    prompt: PromptName = "known",
    rank: Annotated[int, typer.Option(min=1, help="Rank of the adapter.")] = 16,
    learning_rate: Annotated[float, typer.Option(help="Highest learning rate.")] = 5e-4,
    batch_size: BatchSize = 8,
    epochs: Epochs = 2.0,
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
    _say(f"{out}: trained on {record['rows']} rows, {record['tokens']} tokens")


@app.command()
def dpo(
    store: Annotated[Path, typer.Argument(help="Candidate store of `dataset build`; replies are added to it.")],
    adapter: Annotated[Path, typer.Option(help="The SFT adapter to go on from.")],
    out: Out,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds, each with replies of the newest adapter.")] = 1,
    model: Model = "packaged",
    prompt: PromptName = "known",
    flags: Annotated[int, typer.Option(min=1, help="Flags of each index to write replies for, at most.")] = 250,
    samples: Annotated[int, typer.Option(min=4, help="Replies drawn of each.")] = 8,
    temperature: Annotated[float, typer.Option(help="Temperature of the draws.")] = 1.0,
    learning_rate: Annotated[float, typer.Option(help="Highest learning rate.")] = 3e-5,
    batch_size: BatchSize = 4,
    epochs: Epochs = 1.0,
    seed: Seed = 0,
    opensearch: OpenSearchUrl = None,
    config: Config = None,
) -> None:
    """Align the adapter with what the search finds for its own replies, in rounds."""
    from qexplorer.learn.rounds import RoundSettings, train_rounds
    from qexplorer.learn.store import IndexRow, Store
    from qexplorer.learn.training import TrainingSettings, first_then_others
    from qexplorer.search.client import OpenSearchClient

    search = settings_of(config, opensearch).search
    held = Store(store)
    with first_then_others():
        for index in {row.index for row in held.read(IndexRow)}:
            held.claim(index, search.index(index).model_dump(mode="json"))
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
        last = train_rounds(
            held,
            adapter,
            out,
            settings,
            RoundSettings(flags=flags, samples=samples, temperature=temperature),
            rounds=rounds,
            searcher=lambda: OpenSearchClient(search),
            on_step=on_step,
        )
    _say(f"{last} is the adapter of the last round")


@app.command("all")
def train_all(
    folders: Annotated[list[Path], typer.Argument(help="Folders with train.jsonl (flags) and listings.jsonl.")],
    out: Out,
    rounds: Annotated[int, typer.Option(min=0, help="Rounds of DPO behind the SFT.")] = 1,
    searches: Annotated[int, typer.Option(min=1, help="Distinct queries to run in each index, at most.")] = 30_000,
    model: Model = "packaged",
    prompt: PromptName = "known",
    seed: Seed = 0,
    config: Config = None,
    opensearch: OpenSearchUrl = None,
) -> None:
    """Train an adapter from known flags and listings: triage, index, candidate store, SFT, DPO.

    Without --opensearch the engine that comes with the project runs for it. A run that was cut off goes on.
    """
    from qexplorer.learn.recipe import claim, fill_from, sources_of, train_adapter
    from qexplorer.learn.store import Store
    from qexplorer.learn.training import TrainingSettings
    from qexplorer.policies import load_policies
    from qexplorer.search.client import OpenSearchClient

    settings = settings_of(config, opensearch)
    sources = sources_of(folders)
    policies = load_policies(settings.policies)
    how = TrainingSettings(model=model, prompt=prompt, seed=seed)
    claim(out, sources, policies, how, searches=searches, rounds=rounds)
    store = Store(out / "store")

    async def fill_all(search: "SearchSettings") -> None:
        async with OpenSearchClient(search) as client:
            for source in sources:
                await fill_from(
                    store,
                    source,
                    client,
                    policies,
                    searches=searches,
                    seed=seed,
                    say=lambda line: typer.echo(line, err=True),
                )

    with opensearch_of(settings, opensearch, data=out / "opensearch") as reachable, ExitStack() as bars:
        asyncio.run(fill_all(reachable.search))
        last = train_adapter(
            store,
            out,
            how,
            rounds=rounds,
            client=lambda: OpenSearchClient(reachable.search),
            on_step=lambda what: bars.enter_context(_steps(what)),
        )
    typer.echo(f"the adapter is in {last}", err=True)


def _say(text: str) -> None:
    """Tell it once, however many processes there are."""
    from qexplorer.learn.training import launched

    if launched()[0] == 0:
        typer.echo(text, err=True)


@contextmanager
def _steps(what: str) -> Iterator[Callable[[int, int, float], None]]:
    """Show a bar on a terminal, and lines in a log; of several processes only the first does."""
    from qexplorer.learn.training import launched

    if launched()[0]:
        yield lambda _done, _total, _loss: None
        return
    with progress(what) as meter:

        def on_step(done: int, total: int, loss: float) -> None:
            meter.at(done, total)
            if not sys.stderr.isatty() and (done % LINES_EVERY == 0 or done == total):
                typer.echo(f"{what}: step {done} of {total}, loss {loss:.3f}", err=True)

        yield on_step
