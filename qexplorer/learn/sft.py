"""Instruction tuning: a LoRA adapter learns to write the replies of sft.parquet."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from qexplorer.errors import BadInputError, TrainingError
from qexplorer.learn.forward import can_share_prompts, share_prompts
from qexplorer.learn.guards import check_log
from qexplorer.learn.training import (
    TrainingSettings,
    arguments,
    finish,
    first_then_others,
    fresh_or_resumed,
    load_base,
    prompt_ids,
    record_of,
    rows_of,
    said_ids,
    same_order,
)
from qexplorer.llm.prompt import load_template

FEWEST_ROWS = 8
MOST_TOGETHER = 8  # replies a row: flags of one text would make it as long as they are many
OnStep = Callable[[int, int, float], None]


def train_sft(data: Path, out: Path, settings: TrainingSettings, on_step: OnStep) -> dict[str, Any]:
    """Train an adapter and write it to `out`; return the record of the run.

    `on_step` hears the steps done, their number, and the last loss. Raises BadInputError for data without rows,
    TrainingError when the run diverges.
    """
    from datasets import Dataset
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    record = record_of(settings, "sft", data)
    template = load_template(settings.prompt)
    base, tokenizer = load_base(settings.model)
    replies: dict[tuple[int, ...], list[list[int]]] = {}
    for row in rows_of(data, "reply"):
        replies.setdefault(tuple(prompt_ids(tokenizer, template, row)), []).append(said_ids(tokenizer, row["reply"]))
    count = sum(map(len, replies.values()))
    if count < FEWEST_ROWS:
        raise BadInputError(f"{data} has {count} rows", remedy="Give more flags, or an index that holds siblings")
    shares = can_share_prompts(base)
    together = MOST_TOGETHER if shares else 1
    rows = [row for prompt, said in replies.items() for row in _rows(prompt, said, together)]
    record |= {"rows": count, "tokens": sum(len(row["input_ids"]) for row in rows), "prompt": template.version}
    with first_then_others():
        resume = fresh_or_resumed(out, record)
    steps = -(-len(rows) // settings.batch_size) * settings.epochs
    trainer = SFTTrainer(
        model=base,
        args=SFTConfig(**arguments(settings, out, steps=int(steps)), completion_only_loss=True, packing=False),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=LoraConfig(
            r=settings.rank, lora_alpha=2 * settings.rank, target_modules="all-linear", task_type="CAUSAL_LM"
        ),
        callbacks=[watcher(on_step)],
    )
    run(trainer, resume=resume, shares=shares)
    finish(out, trainer.model, record, trainer.state.log_history)
    return record


def _rows(prompt: Sequence[int], replies: Sequence[Sequence[int]], together: int) -> Iterator[dict[str, list[int]]]:
    """Give at most so many replies to a prompt a row with it: the trainer's pass computes the prompt once a row."""
    for start in range(0, len(replies), together):
        said = list(itertools.chain.from_iterable(replies[start : start + together]))
        yield {"input_ids": [*prompt, *said], "completion_mask": [0] * len(prompt) + [1] * len(said)}


def run(trainer: Any, *, resume: bool, shares: bool) -> None:
    """Train, or go on from the last checkpoint; `shares` says whether the model can share prompts.

    Raises TrainingError with the reason when a guard has stopped it.
    """
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    if shares:
        share_prompts(trainer.model, trainer.processing_class.eos_token_id)
    trainer.train(resume_from_checkpoint=resume or None)
    stopped = [each.error for each in trainer.callback_handler.callbacks if getattr(each, "error", None)]
    if stopped:
        raise stopped[0]


def watcher(on_step: OnStep) -> Any:
    """Return the callback that tells of progress, keeps the order of rows and applies the guards to what is logged."""
    from transformers import TrainerCallback

    class Watcher(TrainerCallback):  # type: ignore[misc]  # the library is not followed by the type checker
        def __init__(self) -> None:
            self.error: TrainingError | None = None
            self.loss = float("nan")

        def on_epoch_begin(self, args: Any, state: Any, _control: Any, **_: Any) -> None:
            # The order of an epoch is drawn at its beginning; a run that goes on within one draws it once more.
            same_order(Path(args.output_dir) / f"epoch-{int(state.epoch or 0)}.random")

        def on_log(self, _args: Any, state: Any, control: Any, logs: Mapping[str, Any], **_: Any) -> None:
            self.loss = logs.get("loss", self.loss)
            try:
                check_log(logs, state.global_step / max(1, state.max_steps))
            except TrainingError as error:
                self.error = error
                control.should_training_stop = True

        def on_step_end(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
            # A step's loss is logged behind it, so the last one waits for its own.
            if state.global_step < state.max_steps:
                on_step(state.global_step, state.max_steps, self.loss)

        def on_train_end(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
            on_step(state.global_step, state.max_steps, self.loss)

    return Watcher()
