"""The pass that computes each prompt once gives what the trainer's own gives, which computes it for each reply."""

from pathlib import Path
from typing import Any

import pytest

from qexplorer.learn.forward import UNSCORED, can_share_prompts, share_prompts
from qexplorer.learn.training import load_base
from qexplorer.llm.tiny import save_tiny_model

pytestmark = [pytest.mark.model, pytest.mark.filterwarnings("ignore")]

END = 2
FIGURES = ("log_probs", "entropy", "mean_logits", "is_top1")
PROMPTS = ([5, 7, 9, 11, 13, 6, 8], [21, 22, 23], [5, 7, 9, 12])
REPLIES = ([31, 32, 33, END], [31, 34, END], [40, 41, 42, 43, 44, 45, END])


class Passes:
    """A model that trainers have prepared, and what a pass of it over rows gives."""

    def __init__(self, folder: Path) -> None:
        import torch
        from peft import LoraConfig, get_peft_model
        from trl.trainer.utils import add_fused_lm_head

        torch.manual_seed(0)
        self.base, _ = load_base(str(save_tiny_model(folder / "model")))
        self.model: Any = get_peft_model(
            self.base, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
        )
        add_fused_lm_head(self.base, outputs=FIGURES)

    def over(self, rows: list[tuple[list[int], list[int]]]) -> tuple[Any, list[Any]]:
        """Return output and gradients for rows of a prompt with what follows it, padded to the longest."""
        import torch

        longest = max(len(prompt) + len(said) for prompt, said in rows)

        def padded(values: list[int], pad: int) -> list[int]:
            return values + [pad] * (longest - len(values))

        ids = torch.tensor([padded([*prompt, *said], 0) for prompt, said in rows])
        labels = torch.tensor([padded([UNSCORED] * len(prompt) + said, UNSCORED) for prompt, said in rows])
        attended = torch.tensor([padded([1] * (len(prompt) + len(said)), 0) for prompt, said in rows])
        self.model.zero_grad()
        output = self.model(input_ids=ids, attention_mask=attended, labels=labels, fused_lm_head=True)
        output.loss.backward()
        return output, [weight.grad.clone() for weight in self.model.parameters() if weight.grad is not None]


@pytest.fixture
def passes(tmp_path: Path) -> Passes:
    import torch

    if torch.cuda.is_available():
        pytest.skip("the trainer's own kernel for GPUs takes no model on a processor")
    return Passes(tmp_path)


def same(ours: Any, theirs: Any) -> None:
    import torch

    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def test_the_figures_are_the_trainers_own(passes: Passes) -> None:
    """Row for row: where prompts differ, where rows share one, as pairs do, and where rows differ in length."""
    rows = [(PROMPTS[0], REPLIES[0]), (PROMPTS[1], REPLIES[2]), (PROMPTS[2], REPLIES[1]), (PROMPTS[0], REPLIES[1])]
    theirs, their_gradients = passes.over(rows)
    share_prompts(passes.model, END)
    ours, our_gradients = passes.over(rows)
    for name in ("loss", *FIGURES, "label_mask"):
        same(getattr(ours, name), getattr(theirs, name))
    assert len(our_gradients) == len(their_gradients) > 0
    same(our_gradients, their_gradients)


def test_replies_in_one_row_do_not_see_each_other(passes: Passes) -> None:
    """A row of a prompt and several replies counts as that many rows."""
    import torch

    theirs, their_gradients = passes.over(
        [(PROMPTS[0], reply) for reply in REPLIES] + [(PROMPTS[1], REPLIES[1]), (PROMPTS[1], REPLIES[0])]
    )
    share_prompts(passes.model, END)
    ours, our_gradients = passes.over(
        [(PROMPTS[0], [*REPLIES[0], *REPLIES[1], *REPLIES[2]]), (PROMPTS[1], [*REPLIES[1], *REPLIES[0]])]
    )
    for name in FIGURES:
        same(getattr(ours, name)[ours.label_mask], getattr(theirs, name)[theirs.label_mask])
    same(ours.loss, theirs.loss)
    assert torch.count_nonzero(ours.log_probs) == sum(map(len, REPLIES)) + len(REPLIES[0]) + len(REPLIES[1])
    assert len(our_gradients) == len(their_gradients) > 0
    same(our_gradients, their_gradients)


def test_a_prompt_is_computed_once(passes: Passes) -> None:
    """What the model computes for rows of one prompt is the prompt and the replies, no more."""
    computed: list[Any] = []
    share_prompts(passes.model, END)
    embeddings = passes.base.get_input_embeddings()
    embeddings.register_forward_hook(lambda _module, given, _out: computed.append(given[0].shape))
    passes.over([(PROMPTS[0], reply) for reply in REPLIES])
    assert computed == [(1, len(PROMPTS[0]) + sum(map(len, REPLIES)))]


SMALL: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "initializer_range": 0.5,
}


@pytest.mark.parametrize(
    ("kind", "more", "shares"),
    [
        ("llama", {}, True),
        ("qwen3", {}, True),
        ("gemma3_text", {"sliding_window": 16}, True),
        ("granite", {"logits_scaling": 8.0}, False),
        ("gemma2", {"final_logit_softcapping": 1.0}, False),
        ("mamba", {"state_size": 4}, False),
    ],
)
def test_a_model_for_which_it_would_be_another_is_told(kind: str, more: dict[str, Any], *, shares: bool) -> None:
    """What is done to the logits behind the head is no part of our pass, and a state runs on through all replies."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **SMALL, **more), attn_implementation="eager")
    assert can_share_prompts(model.eval()) is shares
