"""Preference alignment: an SFT adapter goes on learning from pairs of replies, with itself as the reference."""

from pathlib import Path
from typing import Any

from qexplorer.errors import BadInputError, ModelError
from qexplorer.learn.forward import can_share_prompts
from qexplorer.learn.guards import BETA
from qexplorer.learn.sft import FEWEST_ROWS, OnStep, run, watcher
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
)
from qexplorer.llm.loading import fingerprint, resolve_model
from qexplorer.llm.prompt import load_template

SFT_SHARE = 0.2


def train_dpo(
    data: Path, adapter: Path, out: Path, settings: TrainingSettings, on_step: OnStep, *, asker: str = ""
) -> dict[str, Any]:
    """Train on from an adapter and write the new one to `out`; return the record of the run.

    The loss is DPO's (arXiv 2305.18290, beta 0.1) plus 0.2 of the SFT loss on the chosen replies, which keeps their
    probability from falling. Raises BadInputError for data without pairs, ModelError for an adapter of another model,
    TrainingError when a guard stops the run.
    """
    from datasets import Dataset
    from peft import PeftModel
    from trl import DPOConfig

    if not (adapter / "adapter_config.json").is_file():
        raise ModelError(f"there is no adapter in {adapter}", remedy="Run: qexplorer train sft")
    record = record_of(settings, "dpo", data, adapter=f"{adapter.name}@{fingerprint(adapter)}", asker=asker)
    template = load_template(settings.prompt)
    base, tokenizer = load_base(settings.model)
    rows = [
        {
            "prompt_ids": prompt_ids(tokenizer, template, row),
            "chosen_ids": said_ids(tokenizer, row["chosen"]),
            "rejected_ids": said_ids(tokenizer, row["rejected"]),
        }
        for row in rows_of(data, "chosen", "rejected")
        if not asker or row["asker"] == asker
    ]
    if len(rows) < FEWEST_ROWS:
        raise BadInputError(
            f"{data} has {len(rows)} pairs", remedy="Have the model write replies: dataset build --model"
        )
    record |= {"rows": len(rows), "prompt": template.version}
    with first_then_others():
        resume = fresh_or_resumed(out, record)
    shares = can_share_prompts(base)
    try:
        # Trainable and without a further configuration: the trainer freezes a copy of the adapter as the reference.
        model = PeftModel.from_pretrained(base, str(adapter), is_trainable=True)
    except (ValueError, RuntimeError, KeyError, OSError) as error:
        raise ModelError(
            f"the adapter in {adapter} does not fit the model: {error}", remedy="Name its model"
        ) from error
    # An adapter names its base; where that lies on this machine keeps the library from asking a hub for it.
    model.peft_config["default"].base_model_name_or_path = str(resolve_model(settings.model))
    steps = -(-len(rows) // settings.batch_size) * settings.epochs
    trainer = _trainer()(
        model=model,
        args=DPOConfig(
            # Grouping by length needs a column that the trainer drops.
            **arguments(settings, out, steps=int(steps)) | {"train_sampling_strategy": "random"},
            beta=BETA,
            loss_type=["sigmoid", "sft"],
            loss_weights=[1.0, SFT_SHARE],
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        callbacks=[watcher(on_step)],
    )
    run(trainer, resume=resume, shares=shares)
    finish(out, trainer.model, record, trainer.state.log_history)
    return record


def _trainer() -> Any:
    from trl import DPOTrainer

    class TokenDPOTrainer(DPOTrainer):  # type: ignore[misc]  # the library is not followed by the type checker
        """Takes rows that are tokens already: made by the engine's own code, they cannot differ from what it sees."""

        def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
            return dataset

        def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
            # The library takes the reference, which has a folder there, for all that a checkpoint holds.
            (model or self.model).load_adapter(resume_from_checkpoint, "default", is_trainable=True)

    return TokenDPOTrainer
