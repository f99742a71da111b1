"""What the worker's commands have in common: where the settings come from."""

from pathlib import Path
from typing import Annotated, Any

import typer

from qexplorer.settings import Settings, load_settings

Config = Annotated[Path | None, typer.Option("--config", help="YAML file with settings.")]
Brokers = Annotated[str | None, typer.Option("--kafka", help="Kafka brokers, host:port with commas.")]
Search = Annotated[str | None, typer.Option("--opensearch", help="URL of OpenSearch.")]


def settings_of(config: Path | None, kafka: str | None, opensearch: str | None, **worker: Any) -> Settings:
    """Return the settings with what the command line overrides."""
    overrides: dict[str, Any] = {}
    if kafka:
        overrides["kafka"] = {"brokers": kafka}
    if opensearch:
        overrides["search"] = {"url": opensearch}
    given = {name: value for name, value in worker.items() if value is not None}
    if given:
        overrides["worker"] = given
    return load_settings(config, **overrides)
