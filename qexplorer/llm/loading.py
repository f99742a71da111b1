"""Find a model, load it in the number type that suits the processor, and merge an adapter into it."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from qexplorer.errors import ModelError
from qexplorer.llm.adapters import resolve_adapter, trained_with
from qexplorer.llm.decode import ATTENTION, can_share, register_attention
from qexplorer.llm.engine import EngineSettings, EngineVersion, Prompt
from qexplorer.llm.ids import frame_ids
from qexplorer.llm.int8 import quantise
from qexplorer.llm.packaged import NAME, Progress, packaged_model, quiet_transformers

Dtype = Literal["float32", "bfloat16", "int8"]
_SLICES = 64
_SLICE_BYTES = 2**20
_WEIGHTS = (".safetensors", ".bin")


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A model ready to answer, its tokenizer, what they are called, and whether replies can share a prefix."""

    model: Any
    tokenizer: Any
    version: EngineVersion
    dtype: Dtype
    shares: bool


def load_model(settings: EngineSettings, *, progress: Progress | None = None) -> Loaded:
    """Load model, tokenizer and adapter onto the GPU if there is one, else the processor.

    Raises ModelError that names what is missing and what to do.
    """
    import torch

    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    folder = resolve_model(settings.model, progress=progress)
    adapter = resolve_adapter(settings.adapter)
    if adapter:
        _require_base(adapter, settings.model, folder)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = best_dtype(device) if settings.dtype == "auto" else settings.dtype
    if dtype == "int8" and device != "cpu":
        raise ModelError("int8 is computed on the processor only", remedy="Use dtype auto on a machine with a GPU")
    register_attention()
    with quiet_transformers():
        tokenizer = load_tokenizer(folder)
        model = load_weights(folder, torch.bfloat16 if dtype == "bfloat16" else torch.float32)
        if adapter:
            model = _merge(model, adapter)
    model = model.to(device).eval()
    _require_numbers(model, folder)
    shares = _share_if_possible(model)
    if dtype == "int8":
        model = quantise(model)
    version = EngineVersion(
        model=base_version(settings.model, folder),
        adapter=f"{adapter.name}@{fingerprint(adapter)}" if adapter else "",
        dtype=dtype,
    )
    return Loaded(model=model, tokenizer=tokenizer, version=version, dtype=dtype, shares=shares)


def resolve_model(model: str, *, progress: Progress | None = None) -> Path:
    """Return the folder of a model that is given as "packaged", a path or a hub id."""
    if model == "packaged":
        return packaged_model(progress=progress)
    path = Path(model).expanduser()
    if (path / "config.json").is_file():
        return path
    if path.exists() or path.is_absolute() or model.startswith((".", "~")) or model.count("/") > 1:
        raise ModelError(f"There is no model in {path}", remedy="Give a folder with a config.json, or `packaged`")
    return _from_hub(model)


def _from_hub(model: str) -> Path:
    from huggingface_hub import snapshot_download

    with quiet_transformers():
        try:
            return Path(
                snapshot_download(model, allow_patterns=["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"])
            )
        # The client raises errors of its own, of its transport and of the system.
        except Exception as error:
            raise ModelError(
                f"The model {model!r} is neither a folder here nor to be had from its hub ({type(error).__name__})",
                remedy="Give the path of a model, or use `packaged`",
            ) from error


def base_version(model: str, folder: Path) -> str:
    """Name a model by its name and the hash of its weights."""
    return f"{_name(model, folder)}@{fingerprint(folder)}"


def _require_base(adapter: Path, model: str, folder: Path) -> None:
    wanted = trained_with(adapter).get("base", "")
    found = base_version(model, folder)
    if wanted and wanted.rpartition("@")[2] != found.rpartition("@")[2]:
        raise ModelError(
            f"The adapter in {adapter} was trained on {wanted}, the model is {found}",
            remedy="Use the model that it was trained on, or train it anew",
        )


def load_tokenizer(folder: Path) -> Any:
    """Load the tokenizer for left padding with a token that ends nothing. Raises ModelError."""
    from jinja2 import TemplateError
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"The tokenizer in {folder} cannot be read: {error}", remedy="Save it beside the model"
        ) from error
    if tokenizer.chat_template is None:
        raise ModelError(f"The tokenizer in {folder} has no chat template", remedy="Use an instruction-tuned model")
    try:
        frame_ids(tokenizer, Prompt(instruction="i", listing="<l>\nl\n</l>", max_listing_tokens=1))
    except TemplateError as error:
        # Such as that of Gemma 2, which refuses an instruction of its own.
        raise ModelError(
            f"The chat template in {folder} cannot be used: {error}",
            remedy="Use a model whose template takes a system message, or write one",
        ) from error
    tokenizer.padding_side = "left"
    if tokenizer.pad_token_id in {None, tokenizer.eos_token_id}:
        spare = next((token for token in _spare_tokens(tokenizer) if token != tokenizer.eos_token), None)
        if spare is None:
            raise ModelError(f"The tokenizer in {folder} has no token to pad with", remedy="Add a pad token to it")
        tokenizer.pad_token = spare
    return tokenizer


def _spare_tokens(tokenizer: Any) -> list[str]:
    unknown = [tokenizer.unk_token] if tokenizer.unk_token else []
    return [*unknown, *tokenizer.all_special_tokens]


def load_weights(folder: Path, dtype: Any, attention: str | None = None) -> Any:
    """Load a model with its own attention or another one. Raises ModelError."""
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    try:
        return AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, attn_implementation=attention, local_files_only=True
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"The model in {folder} cannot be loaded: {error}", remedy="Check its files") from error


def _require_numbers(model: Any, folder: Path) -> None:
    """Raise ModelError where some weights are no numbers: such a model answers, with nonsense."""
    import torch

    with torch.inference_mode():
        logits = model(input_ids=torch.arange(1, 9, device=model.device)[None], use_cache=False).logits
    if logits.isnan().any():
        raise ModelError(
            f"The model in {folder}, or its adapter, has weights that are no numbers", remedy="Get or train it again"
        )


def _share_if_possible(model: Any) -> bool:
    """Have replies share a prefix where that changes no answer; else leave the model its own attention."""
    own = model.config._attn_implementation  # noqa: SLF001 - the library has no other name for it
    try:
        model.set_attn_implementation(ATTENTION)
    except ValueError:
        return False
    if can_share(model):
        return True
    model.set_attn_implementation(own)
    return False


def _merge(model: Any, adapter: Path) -> Any:
    """Add a LoRA adapter's weights to the model's own."""
    from peft import PeftModel
    from safetensors import SafetensorError

    try:
        return PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise ModelError(
            f"The adapter in {adapter} does not fit the model: {error}", remedy="Use the model that it was trained on"
        ) from error


def best_dtype(device: str) -> Dtype:
    """Choose the number type by looking at the machine: bfloat16 where it has units for it, else float32.

    int8 is faster than float32 too, but changes one greedy token in ten, so it is never chosen unasked.
    """
    import torch

    if device != "cpu":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    return "bfloat16" if has_bfloat16_units() else "float32"


def has_bfloat16_units() -> bool:
    """Tell whether the processor multiplies bfloat16 in hardware; without, it is many times slower than float32."""
    import torch

    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(check() for name in checks if (check := getattr(torch.cpu, name, None)))


def fingerprint(folder: Path) -> str:
    """Return 12 hex digits that follow the weights, and how an adapter weighs in.

    They are of names, sizes, and evenly spaced slices of large files.
    """
    digest = hashlib.sha256()
    for path in _identifying_files(folder):
        size = path.stat().st_size
        digest.update(f"{path.name}:{size}".encode())
        with path.open("rb") as file:
            for number in range(_SLICES if size > _SLICES * _SLICE_BYTES else 1):
                file.seek(number * (size // _SLICES))
                digest.update(file.read(_SLICE_BYTES if size > _SLICES * _SLICE_BYTES else size))
    return digest.hexdigest()[:12]


def _identifying_files(folder: Path) -> Sequence[Path]:
    # An adapter's configuration holds the factor of its weights, lora_alpha / r.
    return sorted(path for path in folder.iterdir() if path.suffix in _WEIGHTS or path.name == "adapter_config.json")


def _name(model: str, folder: Path) -> str:
    if model == "packaged":
        return NAME
    return folder.name if os.sep in model and folder == Path(model).expanduser() else model.lower()
