"""LoRA adapters: the one that comes with the project, and what any of them says of its training. Imports no torch."""

import json
from pathlib import Path

from qexplorer.errors import ModelError

PACKAGED = Path(__file__).with_name("smollm2_queries")


def resolve_adapter(adapter: str) -> Path | None:
    """Return the folder of an adapter that is given as "packaged" or a path; None where none is given."""
    if not adapter:
        return None
    path = PACKAGED if adapter == "packaged" else Path(adapter).expanduser()
    if not (path / "adapter_config.json").is_file():
        raise ModelError(f"There is no adapter in {path}", remedy="Give a folder with an adapter_config.json, or none")
    return path


def trained_with(adapter: Path) -> dict[str, str]:
    """Return what an adapter was trained with, `base` and `prompt` as name@hash; empty when it does not say."""
    try:
        record = json.loads((adapter / "training.json").read_text(encoding="utf-8"))
        return {name: str(record[name]) for name in ("base", "prompt") if record.get(name)}
    except (OSError, ValueError, AttributeError):
        return {}


def prompt_for(adapter: str) -> str:
    """Return the name of the prompt that an adapter was trained with, else that of the default one."""
    folder = resolve_adapter(adapter)
    return trained_with(folder).get("prompt", "").partition("@")[0] or "default" if folder else "default"
