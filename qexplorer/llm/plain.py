"""Generation by transformers itself: beam search, and models that cannot share a prefix."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from qexplorer.llm.decode import Row, Stops, draw
from qexplorer.llm.engine import GenerationSource, Sampling

if TYPE_CHECKING:
    from torch import Tensor


# What beam search may keep of its steps: each has a score for every row and word of the vocabulary.
KEPT_BYTES = 2**29


def generate_plainly(
    model: Any,
    ids: Sequence[Sequence[int]],
    sampling: Sampling,
    source: GenerationSource,
    stops: Stops,
    check: Callable[[], None],
) -> list[Row]:
    """Return the rows of one source for whole prompts: one greedy, `samples` drawn or the best `beams` a prompt.

    Samples follow the seed for the same batch. `check` is called at each step and may raise to stop.
    """
    import torch

    if source == "beam" and len(ids) > (fitting := _fitting(model, sampling)):
        apart: list[Row] = []
        for start in range(0, len(ids), fitting):
            some = generate_plainly(model, ids[start : start + fitting], sampling, source, stops, check)
            apart += [replace(row, prompt=start + row.prompt) for row in some]
        return apart
    width = max(map(len, ids))
    padded = torch.tensor([[0] * (width - len(row)) + list(row) for row in ids], device=model.device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in ids], device=model.device)
    # The log-probabilities of what was drawn, a step at a time: the logits of all steps, which `generate` would keep,
    # are 16 GB for 32 listings and a vocabulary of 262,144.
    latest: list[Tensor] = []
    drawn: list[Tensor] = []

    def remember(_module: Any, _inputs: Any, output: Any) -> None:
        if source != "beam":
            latest[:] = [output.logits[:, -1].float()]

    def stop(input_ids: "Tensor", _: Any, **__: Any) -> "Tensor":
        check()
        if source != "beam":
            drawn.append(latest.pop().log_softmax(-1).gather(1, input_ids[:, -1:]))
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)

    per_prompt = {"greedy": 1, "sample": sampling.samples, "beam": sampling.beams}[source]
    if source == "sample":
        padded, mask = (each.repeat_interleave(per_prompt, dim=0) for each in (padded, mask))
    hook = model.register_forward_hook(remember)
    try:
        with torch.random.fork_rng(), torch.inference_mode():
            torch.manual_seed(sampling.seed)
            output = model.generate(
                input_ids=padded,
                attention_mask=mask,
                max_new_tokens=sampling.max_new_tokens,
                do_sample=False,
                eos_token_id=sorted(stops.ends | stops.lines),
                begin_suppress_tokens=sorted(stops.lines) or None,
                pad_token_id=0,
                stopping_criteria=[stop],
                return_dict_in_generate=True,
                output_scores=source == "beam",
                **_strategy(sampling, source),
            )
            if source == "beam":
                scores = model.compute_transition_scores(
                    output.sequences, output.scores, output.beam_indices, normalize_logits=False
                )
            else:
                scores = torch.cat(drawn, dim=1)
    finally:
        hook.remove()
    rows: list[Row] = []
    for i, (tokens, logprobs) in enumerate(zip(output.sequences[:, width:].tolist(), scores.tolist(), strict=True)):
        row = Row(prompt=i // per_prompt, source=source)
        _cut(row, tokens, logprobs, stops)
        rows.append(row)
    return rows


def _fitting(model: Any, sampling: Sampling) -> int:
    """Return how many prompts may go through beam search at once."""
    words: int = model.config.get_text_config().vocab_size
    return max(1, KEPT_BYTES // (4 * words * sampling.max_new_tokens * max(sampling.beams, 2)))


def _strategy(sampling: Sampling, source: GenerationSource) -> dict[str, Any]:
    import torch

    def drawn(_: "Tensor", scores: "Tensor") -> "Tensor":
        # The library's own nucleus sorts the whole vocabulary at each step, which takes longer than the model.
        uniforms = torch.rand(len(scores), device=scores.device)
        tokens = draw(scores.float(), uniforms, temperature=sampling.temperature, top_p=sampling.top_p)
        return torch.full_like(scores, -torch.inf).scatter(1, tokens[:, None], 0.0)

    if source == "sample":
        return {"logits_processor": [drawn]}
    if source == "beam":
        beams = {"num_beams": max(sampling.beams, 2), "num_return_sequences": sampling.beams}
        return {**beams, "length_penalty": 1.0}
    return {}


def _cut(row: Row, tokens: Sequence[int], logprobs: Sequence[float], stops: Stops) -> None:
    """Fill the row up to the token that ends it."""
    for token, logprob in zip(tokens, logprobs, strict=False):
        row.logprobs.append(min(logprob, 0.0))
        if stops.is_over(row.tokens, token):
            row.finished = True
            return
        row.tokens.append(token)
