import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from qexplorer.llm.decode import (
    ATTENTION,
    Decoder,
    Prefix,
    Row,
    Stops,
    can_share,
    compute_prefix,
    draw,
    make_rows,
    register_attention,
)
from qexplorer.llm.engine import Sampling
from qexplorer.llm.tiny import save_tiny_model

_BEFORE = list(range(30, 55))
_OWN = [[40, 41, 42], list(range(60, 75)), [99], [40, 41, 43, 44, 45, 46]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from transformers import AutoModelForCausalLM

    register_attention()
    folder = save_tiny_model(tmp_path_factory.mktemp("tiny"))
    return AutoModelForCausalLM.from_pretrained(folder, attn_implementation=ATTENTION).eval()


def _pass() -> None:
    """Let every step go on."""


def _decode(
    model: Any, own: Sequence[Sequence[int]], sampling: Sampling, *, shared: bool = True, stops: Stops | None = None
) -> list[Row]:
    rows = [row for i, ids in enumerate(own) for row in make_rows(i, sampling, str(ids))]
    prefix = compute_prefix(model, _BEFORE) if shared else Prefix()
    whole = own if shared else [[*_BEFORE, *ids] for ids in own]
    Decoder(model, prefix, stops or Stops(), _pass).fill(whole, rows, sampling)
    return rows


def test_shared_prefix_changes_nothing(model: Any) -> None:
    """Greedy and sampled replies are the same whether the instruction is shared or each row carries its own."""
    sampling = Sampling(samples=3, max_new_tokens=12)
    shared, whole = _decode(model, _OWN, sampling), _decode(model, _OWN, sampling, shared=False)
    assert [row.tokens for row in shared] == [row.tokens for row in whole]
    for one, other in zip(shared, whole, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-3)


def test_greedy_is_what_the_model_itself_says(model: Any) -> None:
    """Each greedy token is the likeliest after all before it, by a pass of the model without any cache."""
    import torch

    sampling = Sampling(max_new_tokens=8)
    for ids, row in zip(_OWN, _decode(model, _OWN, sampling), strict=True):
        with torch.inference_mode():
            logits = model(torch.tensor([[*_BEFORE, *ids, *row.tokens]]), use_cache=False).logits[0]
        start = len(_BEFORE) + len(ids) - 1
        assert logits[start:-1].argmax(-1).tolist() == row.tokens
        logprobs = logits.log_softmax(-1)[range(start, start + 8), row.tokens]
        assert row.logprobs == pytest.approx(logprobs.tolist(), abs=1e-3)


def test_rows_do_not_depend_on_their_batch(model: Any) -> None:
    """A prompt decoded alone gives what it gives beside others."""
    sampling = Sampling(samples=2, max_new_tokens=10)
    together = [row.tokens for row in _decode(model, _OWN, sampling)]
    alone = [row.tokens for ids in _OWN for row in _decode(model, [ids], sampling)]
    assert together == alone


@pytest.mark.parametrize("samples", [3, 0])
def test_rows_that_end_leave_the_others_alone(model: Any, samples: int) -> None:
    """When some rows end early, or all of a listing, the rest goes on as if they were still there."""
    sampling = Sampling(samples=samples, max_new_tokens=12)
    free = _decode(model, _OWN, sampling)
    ends = frozenset(row.tokens[i] for i, row in zip((1, 3, 5), free, strict=False))
    for row, full in zip(_decode(model, _OWN, sampling, stops=Stops(ends=ends)), free, strict=True):
        size = next((i for i, token in enumerate(full.tokens) if token in ends), len(full.tokens))
        assert row.tokens == full.tokens[:size]
        assert row.finished == (size < len(full.tokens))
        assert len(row.logprobs) == size + row.finished


def test_check_may_stop_the_work(model: Any) -> None:
    """The deadline is looked at before every step."""
    calls: list[int] = []

    def third_time() -> None:
        calls.append(1)
        if len(calls) == 3:
            raise TimeoutError

    with pytest.raises(TimeoutError):
        Decoder(model, Prefix(), Stops(), third_time).fill([[40]], [Row(prompt=0)], Sampling())


def test_sharing_is_refused_where_the_model_does_not_do_it(model: Any, tmp_path: Path) -> None:
    """A model that is run with another attention would ignore the prefix, and this is noticed."""
    from transformers import AutoModelForCausalLM

    other = AutoModelForCausalLM.from_pretrained(save_tiny_model(tmp_path), attn_implementation="eager")
    assert can_share(model)
    assert not can_share(other)


@pytest.mark.parametrize(
    ("uniform", "top_p", "temperature", "token"),
    [
        (0.49, 1.0, 1.0, 1),  # cumulative 0.5, 0.8, 1.0
        (0.51, 1.0, 1.0, 2),
        (0.81, 1.0, 1.0, 0),
        (0.81, 0.7, 1.0, 2),  # nucleus 0.5, 0.3: cumulative 0.5 of 0.8 = 0.625, 1.0
        (0.62, 0.7, 1.0, 1),
        (0.63, 0.7, 1.0, 2),
        (0.99, 0.4, 1.0, 1),  # only the first is in the nucleus
        (0.65, 1.0, 0.5, 1),  # squares 0.25, 0.09, 0.04 of 0.38: cumulative 0.658, 0.895, 1.0
        (0.67, 1.0, 0.5, 2),
        (0.999999, 1.0, 0.0, 1),  # no temperature is greedy
    ],
)
def test_draw_inverts_the_cumulative_distribution(uniform: float, top_p: float, temperature: float, token: int) -> None:
    """Probabilities 0.2, 0.5, 0.3 of the tokens 0, 1, 2 are cut, sharpened and inverted as computed by hand."""
    import torch

    logits = torch.tensor([[math.log(0.2), math.log(0.5), math.log(0.3)]])
    assert draw(logits, torch.tensor([uniform]), temperature=temperature, top_p=top_p).tolist() == [token]


def test_stops() -> None:
    """An end token ends at once, a line end once something was said, a semicolon at the sixth query."""
    stops = Stops(ends=frozenset({2}), lines=frozenset({10}), separators=frozenset({59}))
    assert stops.is_over([], 2)
    assert not stops.is_over([], 10)
    assert stops.is_over([7], 10)
    assert not stops.is_over([59] * 4, 59)
    assert stops.is_over([59, 7] * 5, 59)
    assert not stops.is_over([59] * 5, 7)


def test_random_numbers_follow_seed_prompt_and_sample() -> None:
    """Each sample has numbers of its own, and the same ones whenever it is made again."""
    sampling = Sampling(greedy=True, samples=2, seed=1)
    greedy, first, second = make_rows(0, sampling, "a")
    assert not greedy.uniforms
    assert first.uniforms != second.uniforms
    assert make_rows(5, sampling, "a")[1].uniforms == first.uniforms
    assert make_rows(0, sampling, "b")[1].uniforms != first.uniforms
