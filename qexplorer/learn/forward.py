"""The model's pass in training, over each prompt once and with a score for the tokens of replies alone.

Replies to one prompt are laid behind it, each blind to the others: four of five tokens belong to a prompt, which the
trainers would compute again for each reply. And they score every position against the whole vocabulary, in float32,
where only the replies' have a loss.
"""

import itertools
import types
from collections.abc import Mapping, Sequence
from typing import Any

UNSCORED = -100
# A prompt and two replies to it, in tokens, that most models differ over.
_TRIED = ([5, 9, 14, 6, 11, 8], ([12, 7, 15, 10], [13, 5, 9, 12]))


def can_share_prompts(base: Any) -> bool:
    """Try whether a model gives replies that lie behind one prompt the log-probabilities that each has alone.

    Not so for models that scale or cap what their head gives, or that carry a state from token to token.
    """
    import torch

    prompt, replies = _TRIED
    ids = [*prompt, *itertools.chain.from_iterable(replies)]
    labels = [*[UNSCORED] * len(prompt), *ids[len(prompt) :]]
    with torch.no_grad():
        alone = [
            base(input_ids=torch.tensor([[*prompt, *reply]], device=base.device)).logits[0, len(prompt) - 1 : -1]
            for reply in replies
        ]
        try:
            together = _logits(base, [ids], [labels], {}, replies[0][-1])
        except (TypeError, AttributeError, KeyError, IndexError, RuntimeError, ValueError):
            return False
    theirs, ours = torch.cat(alone).float().log_softmax(-1), together.log_softmax(-1)
    return bool((ours - theirs).abs().max() <= 0.01 * theirs.abs().max())


def share_prompts(model: Any, end: int) -> None:
    """Have a model that a trainer has prepared compute each prompt of a batch once and score labelled tokens only.

    What has no label at the start of a row is its prompt; the labelled tokens behind it are its replies, each up to
    and with the token `end`. The figures are those that the trainer computes from a row for each reply, to rounding:
    log-probabilities, entropies, mean logits and whether the label was likeliest, each [rows, tokens − 1] and zero
    where there is no label.
    """
    import torch
    from trl.trainer.utils import FusedCausalLMOutput

    base = model.get_base_model()
    before = base.forward

    def forward(
        self: Any, *inputs: Any, fused_lm_head: bool = False, input_ids: Any = None, labels: Any = None, **more: Any
    ) -> Any:
        if not fused_lm_head:
            return before(*inputs, input_ids=input_ids, labels=labels, **more)
        count = more.pop("num_items_in_batch", None)
        mask = labels[:, 1:] != UNSCORED
        wanted = labels[:, 1:][mask]
        logits = _logits(self, input_ids.tolist(), labels.tolist(), more, end)
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


def _logits(
    base: Any, ids: Sequence[Sequence[int]], labels: Sequence[Sequence[int]], more: Mapping[str, Any], end: int
) -> Any:
    """Return what the head gives for each labelled token, in the order of the rows: [labelled, vocabulary], float32."""
    import torch

    tokens, positions, seen, sources = (made.to(base.device) for made in _together(ids, labels, end))
    hidden = base.base_model(
        tokens,
        **{
            **more,
            "position_ids": positions,
            # Added to the attention's weights: what is not seen has none.
            "attention_mask": torch.where(seen, 0.0, -torch.inf)[:, None],
            "use_cache": False,
        },
    ).last_hidden_state
    return base.get_output_embeddings()(hidden.flatten(0, 1)[sources]).float()


def _together(ids: Sequence[Sequence[int]], labels: Sequence[Sequence[int]], end: int) -> tuple[Any, Any, Any, Any]:
    """Return the rows with all replies to a prompt behind it, and whence each labelled token is foretold.

    That is tokens and positions, each [prompts, longest], what sees what, [prompts, longest, longest], and for each
    labelled token, in the order of the rows given, the place of the one before it among all tokens returned.
    """
    import torch

    numbers: dict[tuple[int, ...], int] = {}
    tokens: list[list[int]] = []
    positions: list[list[int]] = []
    parts: list[list[int]] = []  # 0 in a prompt, the number of the reply in one
    sources: list[tuple[int, int]] = []
    for row, labelled in zip(ids, labels, strict=True):
        first = next((place for place, label in enumerate(labelled) if label != UNSCORED), len(labelled))
        prompt = tuple(row[:first])
        number = numbers.setdefault(prompt, len(numbers))
        if number == len(tokens):
            tokens.append(list(prompt))
            positions.append(list(range(first)))
            parts.append([0] * first)
        starts = True
        for token in itertools.takewhile(lambda label: label != UNSCORED, labelled[first:]):
            # What foretells a reply's first token is the prompt's last.
            before = first - 1 if starts else len(tokens[number]) - 1
            sources.append((number, before))
            positions[number].append(positions[number][before] + 1)
            parts[number].append(parts[number][-1] + starts)
            tokens[number].append(token)
            starts = token == end
    longest = max(map(len, tokens))

    def padded(rows: Sequence[Sequence[int]], pad: int) -> Any:
        return torch.tensor([[*row, *[pad] * (longest - len(row))] for row in rows])

    part = padded(parts, -1)
    seen = (part[:, None, :] == 0) | (part[:, :, None] == part[:, None, :])
    earlier = torch.ones(longest, longest, dtype=torch.bool).tril()
    return (
        padded(tokens, 0),
        padded(positions, 0),
        seen & earlier,
        torch.tensor([number * longest + place for number, place in sources], dtype=torch.long),
    )
