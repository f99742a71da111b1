"""What both stages of training share: the model with its adapter, rows as tokens, settings, curves and the record.

A run that was killed goes on from its last checkpoint when it is started again with the same inputs; its adapter
appears in the folder when it is whole.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from qexplorer.errors import BadInputError, ConfigError, ModelError
from qexplorer.learn.store import read_table, write_whole
from qexplorer.llm.ids import frame_ids, listing_ids, reply_ids
from qexplorer.llm.loading import base_version, has_bfloat16_units, load_tokenizer, load_weights, resolve_model
from qexplorer.llm.packaged import quiet_transformers
from qexplorer.llm.prompt import PromptTemplate, render

RECORD = "training.json"
CHECKPOINTS = "checkpoints"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSettings:
    """How to train, as it stands for SFT: `batch_size` counts the prompts of a step, in DPO its pairs.

    `rank` 0 goes on with an adapter; the rate is reached after a short rise.
    """

    model: str = "packaged"
    prompt: str = "known"
    rank: int = 16
    learning_rate: float = 5e-4
    batch_size: int = 8
    epochs: float = 2.0
    seed: int = 0
    save_steps: int = 50


def launched() -> tuple[int, int]:
    """Return the number of this process and how many there are: more than one under `accelerate launch`."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def first_then_others() -> Iterator[None]:
    """Let the first process through, then the others, which find done what it has done."""
    if launched()[1] == 1:
        yield
        return
    import torch
    from accelerate import PartialState

    # The others wait while the first has replies written and searched for a round, which takes longer than the default.
    state = PartialState(cpu=not torch.cuda.is_available(), timeout=timedelta(days=1))
    with state.main_process_first():
        yield


def load_base(model: str) -> tuple[Any, Any]:
    """Return model and tokenizer to train, in float32 and with a pad token that ends nothing."""
    import torch

    folder = resolve_model(model)
    with quiet_transformers():
        tokenizer = load_tokenizer(folder)
        tokenizer.padding_side = "right"
        # For rows this short the fused attention's backward pass costs a fifth of a step on a processor.
        attention = None if torch.cuda.is_available() else "eager"
        base = load_weights(folder, torch.float32, attention)
    return base, tokenizer


def prompt_ids(tokenizer: Any, template: PromptTemplate, row: Mapping[str, Any]) -> list[int]:
    """Return the tokens before the reply, exactly as the engine of this process makes them."""
    prompt = render(
        template,
        title=row["title"],
        description=row["description"],
        kind=row["kind"],
        locale=row["locale"],
        known=row.get("known", ()),
    )
    before, after = frame_ids(tokenizer, prompt)
    return [*before, *listing_ids(tokenizer, prompt), *after]


def rows_of(data: Path, *said: str) -> list[dict[str, Any]]:
    """Return the rows of a data set with the columns of a prompt and those of what is `said`; BadInputError without."""
    rows = list(read_table(data))
    wanted = {"title", "description", "kind", "locale", *said}
    if missing := sorted(wanted - rows[0].keys() if rows else ()):
        raise BadInputError(
            f"{data} has no column {', '.join(missing)}", remedy="Name the sft.parquet or the store of `dataset build`"
        )
    return rows


def said_ids(tokenizer: Any, reply: str) -> list[int]:
    """Return the tokens of a reply. Raises ModelError where its end is also the padding: it would never be learnt."""
    if tokenizer.pad_token_id == tokenizer.eos_token_id:
        raise ModelError("the tokenizer pads with the token that ends a reply", remedy="Give it a pad token of its own")
    return reply_ids(tokenizer, reply)


def arguments(settings: TrainingSettings, out: Path, *, steps: int) -> dict[str, Any]:
    """Return the arguments that both trainers take, for the processor or the GPU that is here.

    Several processes share the rows of a step. Raises ConfigError where they cannot.
    """
    import torch

    gpu = torch.cuda.is_available()
    _, processes = launched()
    if settings.batch_size % processes:
        raise ConfigError(
            f"{processes} processes cannot share {settings.batch_size} rows a step", remedy="Set --batch-size"
        )
    return {
        "output_dir": str(out / CHECKPOINTS),
        "per_device_train_batch_size": settings.batch_size // processes,
        "num_train_epochs": settings.epochs,
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": max(1, steps // 20),
        "max_grad_norm": 1.0,
        "seed": settings.seed,
        "use_cpu": not gpu,
        "bf16": torch.cuda.is_bf16_supported() if gpu else has_bfloat16_units(),
        "gradient_checkpointing": False,
        "dataloader_pin_memory": gpu,
        "train_sampling_strategy": "group_by_length",
        "logging_steps": max(1, min(5, steps)),
        # Else the trainer logs the mean of earlier losses in place of one that is no number, and no guard sees it.
        "logging_nan_inf_filter": False,
        "save_steps": settings.save_steps,
        "save_total_limit": 2,
        "report_to": ["tensorboard"],
        "disable_tqdm": True,
        "max_length": None,
    }


def fresh_or_resumed(out: Path, identity: Mapping[str, Any]) -> bool:
    """Prepare the folder of a run; return whether it has a checkpoint to go on from.

    Raises ConfigError when the folder holds the result, or the beginning, of a run with other inputs.
    """
    if (out / RECORD).exists():
        raise ConfigError(f"{out} holds a trained adapter", remedy="Name another folder, or remove it")
    mark = out / CHECKPOINTS / "inputs.json"
    if mark.exists() and json.loads(mark.read_text()) != json.loads(json.dumps(identity)):
        raise ConfigError(
            f"{out} holds the beginning of a run with other inputs", remedy="Name another folder, or remove it"
        )
    write_whole(mark, json.dumps(identity).encode())
    checkpoints = list((out / CHECKPOINTS).glob("checkpoint-*"))
    whole = [path for path in checkpoints if _is_whole(path)]
    for path in set(checkpoints) - set(whole):
        shutil.rmtree(path)
    return bool(whole)


def _is_whole(checkpoint: Path) -> bool:
    """Whether a checkpoint was written to its end, which is the state of the trainer."""
    try:
        json.loads((checkpoint / "trainer_state.json").read_bytes())
    except (OSError, ValueError):
        return False
    return True


def same_order(path: Path) -> None:
    """Take up the state of torch's random numbers in a file; keep it there where there is none yet."""
    import torch

    if path.exists():
        torch.set_rng_state(torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8))
    elif launched()[0] == 0:
        write_whole(path, torch.get_rng_state().numpy().tobytes())


def finish(out: Path, adapter: Any, record: Mapping[str, Any], history: Sequence[Mapping[str, Any]]) -> None:
    """Put the adapter, its curves and its record in place, the record last, and drop the checkpoints."""
    with first_then_others():
        if launched()[0] == 0:
            _finish(out, adapter, record, history)


def _finish(out: Path, adapter: Any, record: Mapping[str, Any], history: Sequence[Mapping[str, Any]]) -> None:
    part = out / "adapter.part"
    adapter.save_pretrained(part, selected_adapters=["default"])
    # The library notes where the base lay on this machine; what counts is which model it was.
    config = json.loads((part / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = str(record["base"]).partition("@")[0]
    (part / "adapter_config.json").write_text(json.dumps(config, indent=1, sort_keys=True))
    for path in part.iterdir():
        if path.name != "README.md":
            path.replace(out / path.name)
    shutil.rmtree(part)
    curves(history, out / "curves.png")
    write_whole(out / RECORD, json.dumps({**record, "history": list(history)}, indent=1).encode())
    logs = next(iter(sorted((out / CHECKPOINTS).glob("runs"))), None)
    if logs is not None and not (out / "runs").exists():
        logs.replace(out / "runs")
    shutil.rmtree(out / CHECKPOINTS)


def record_of(settings: TrainingSettings, stage: str, data: Path, **more: Any) -> dict[str, Any]:
    """Return what identifies a run: stage, settings, the hash of its data, and the versions behind it."""
    from importlib.metadata import version

    packages = ("qexplorer", "torch", "transformers", "trl", "peft")
    try:
        digest = hashlib.sha256(data.read_bytes()).hexdigest()
    except OSError as error:
        raise BadInputError(f"{data} cannot be read: {error.strerror}", remedy="Run: qexplorer dataset build") from None
    return {
        "stage": stage,
        "settings": asdict(settings),
        "data": {"name": data.name, "sha256": digest},
        "base": base_version(settings.model, resolve_model(settings.model)),
        "versions": {name: version(name) for name in packages},
        **more,
    }


def curves(history: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw what was logged over the steps, a panel a quantity."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib.figure import Figure

    wanted = ("loss", "mean_token_accuracy", "rewards/accuracies", "rewards/margins", "logps/chosen", "logps/rejected")
    names = [name for name in wanted if any(name in entry for entry in history)]
    if not names:
        return
    figure = Figure(figsize=(4 * len(names), 3), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        points = [(entry["step"], entry[name]) for entry in history if name in entry]
        axes.plot(*zip(*points, strict=True))
        axes.set(title=name, xlabel="step")
    figure.savefig(path, dpi=100)
