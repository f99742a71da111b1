"""The model's last step for labelled tokens alone gives what the trainer's own gives for all."""

from pathlib import Path
from typing import Any

import pytest

from qexplorer.learn.head import score_replies_only
from qexplorer.learn.training import load_base
from qexplorer.llm.tiny import save_tiny_model

pytestmark = [pytest.mark.model, pytest.mark.filterwarnings("ignore")]


def test_the_figures_are_the_trainers_own(tmp_path: Path) -> None:
    """Loss, what is logged, and the gradients of the adapter, where rows are padded and differ in length."""
    import torch
    from peft import LoraConfig, get_peft_model
    from trl.trainer.utils import add_fused_lm_head

    if torch.cuda.is_available():
        pytest.skip("a GPU has the trainer's own kernel")
    torch.manual_seed(0)
    base, _ = load_base(str(save_tiny_model(tmp_path / "model")))
    model: Any = get_peft_model(base, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False))
    add_fused_lm_head(base, outputs=("log_probs", "entropy", "mean_logits", "is_top1"))
    ids = torch.randint(3, 60, (3, 20))
    labels = ids.clone()
    attended = torch.ones_like(ids)
    for row, (start, stop) in enumerate(((5, 20), (12, 14), (9, 17))):
        labels[row, :start] = labels[row, stop:] = -100
        attended[row, stop:] = 0

    def figures() -> tuple[Any, list[Any]]:
        model.zero_grad()
        output = model(input_ids=ids, attention_mask=attended, labels=labels, fused_lm_head=True)
        output.loss.backward()
        return output, [weight.grad.clone() for weight in model.parameters() if weight.grad is not None]

    theirs, their_gradients = figures()
    score_replies_only(model)
    ours, our_gradients = figures()
    for name in ("loss", "log_probs", "entropy", "mean_logits", "is_top1", "label_mask"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name), rtol=1e-4, atol=1e-5)
    assert len(our_gradients) == len(their_gradients) > 0
    torch.testing.assert_close(our_gradients, their_gradients, rtol=1e-3, atol=1e-5)
