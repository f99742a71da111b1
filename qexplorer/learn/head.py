"""The model's last step in training, for the tokens of replies alone.

The trainers' own scores every position against the whole vocabulary, in float32, forwards and backwards, unless it
runs on a GPU. Four of five tokens belong to a prompt and have no loss: on a processor that is two fifths of all work.
"""

import types
from typing import Any


def score_replies_only(model: Any) -> None:
    """Have a model that a trainer has prepared compute its output for labelled tokens only; nothing to do on a GPU.

    The figures are the trainer's own to rounding: log-probabilities, entropies, mean logits and whether the label was
    likeliest, each [rows, tokens − 1] and zero where there is no label.
    """
    import torch
    from trl.trainer.utils import FusedCausalLMOutput

    if torch.cuda.is_available():
        return
    base = model.get_base_model()
    before = base.forward

    def forward(self: Any, *inputs: Any, fused_lm_head: bool = False, labels: Any = None, **more: Any) -> Any:
        if not fused_lm_head:
            return before(*inputs, labels=labels, **more)
        count = more.pop("num_items_in_batch", None)
        hidden = self.base_model(*inputs, **more | {"use_cache": False}).last_hidden_state[:, :-1]
        mask = labels[:, 1:] != -100
        wanted = labels[:, 1:][mask]
        logits = self.get_output_embeddings()(hidden[mask]).float()
        told = logits.log_softmax(-1)

        def placed(values: Any) -> Any:
            return values.new_zeros(mask.shape).masked_scatter(mask, values)

        log_probs = placed(told.gather(-1, wanted[:, None])[:, 0])
        with torch.no_grad():
            entropy = placed(-(told.exp() * told).sum(-1))
            mean_logits = placed(logits.mean(-1))
            is_top1 = placed(logits.argmax(-1) == wanted)
        return FusedCausalLMOutput(
            loss=-log_probs.sum() / (mask.sum().clamp(min=1) if count is None else count),
            log_probs=log_probs,
            entropy=entropy,
            mean_logits=mean_logits,
            is_top1=is_top1,
            label_mask=mask,
        )

    base.forward = types.MethodType(forward, base)
