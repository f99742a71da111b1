import gc
from typing import Any

import pytest
import torch

from qexplorer.llm import plain as plain_module
from qexplorer.llm.decode import ATTENTION, Decoder, Prefix, Stops, make_rows, register_attention
from qexplorer.llm.engine import Sampling
from qexplorer.llm.plain import generate_plainly
from qexplorer.llm.tiny import save_tiny_model

_IDS = [[40, 41, 42], list(range(60, 75))]
_STOPS = Stops(ends=frozenset({2}))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from transformers import AutoModelForCausalLM

    register_attention()
    folder = save_tiny_model(tmp_path_factory.mktemp("tiny"))
    return AutoModelForCausalLM.from_pretrained(folder, attn_implementation=ATTENTION).eval()


def _pass() -> None:
    """Let every step go on."""


def test_greedy_agrees_with_our_own_decoder(model: Any) -> None:
    """Both ways to the greedy reply give the same tokens and log-probabilities."""
    sampling = Sampling(max_new_tokens=10)
    plain = generate_plainly(model, _IDS, sampling, "greedy", _STOPS, _pass)
    own = [row for i, ids in enumerate(_IDS) for row in make_rows(i, sampling, str(ids))]
    Decoder(model, Prefix(), _STOPS, _pass).fill(_IDS, own, sampling)
    assert [row.tokens for row in plain] == [row.tokens for row in own]
    for one, other in zip(plain, own, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-3)


def test_beams_come_best_first(model: Any) -> None:
    """Each prompt has its beams, distinct and ordered by their mean log-probability."""
    rows = generate_plainly(model, _IDS, Sampling(beams=3, max_new_tokens=6), "beam", _STOPS, _pass)
    assert [row.prompt for row in rows] == [0, 0, 0, 1, 1, 1]
    for group in (rows[:3], rows[3:]):
        assert len({tuple(row.tokens) for row in group}) == 3
        means = [sum(row.logprobs) / len(row.logprobs) for row in group]
        assert means == sorted(means, reverse=True)


def test_prompts_go_through_beam_search_as_few_at_once_as_fit(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other they have the same beams."""
    sampling = Sampling(beams=3, max_new_tokens=6)
    together = generate_plainly(model, _IDS, sampling, "beam", _STOPS, _pass)
    monkeypatch.setattr(plain_module, "KEPT_BYTES", 1)
    apart = generate_plainly(model, _IDS, sampling, "beam", _STOPS, _pass)
    assert [(row.prompt, row.tokens) for row in apart] == [(row.prompt, row.tokens) for row in together]


def test_the_logits_of_earlier_steps_are_not_kept(model: Any) -> None:
    """With a large vocabulary and many rows they are more than a machine has."""
    vocabulary = model.config.vocab_size
    counts: list[int] = []

    def count() -> None:
        # Not isinstance: proxies among the objects would be woken by it.
        tensors = [each for each in gc.get_objects() if type(each) is torch.Tensor]
        counts.append(sum(each.ndim == 2 and each.shape[-1] == vocabulary for each in tensors))

    generate_plainly(model, _IDS, Sampling(samples=2, max_new_tokens=12), "sample", _STOPS, count)
    assert len(counts) > 6
    assert counts[-1] <= counts[1]


def test_samples_follow_the_seed(model: Any) -> None:
    """The same seed gives the same samples, another one others."""
    one, same, other = (
        generate_plainly(model, _IDS, Sampling(samples=2, seed=seed, max_new_tokens=8), "sample", _STOPS, _pass)
        for seed in (1, 1, 2)
    )
    assert [row.tokens for row in one] == [row.tokens for row in same]
    assert [row.tokens for row in one] != [row.tokens for row in other]


@pytest.mark.parametrize("cold", [{"temperature": 0.0}, {"top_p": 1e-9}])
def test_a_cold_sample_or_one_of_the_likeliest_token_is_the_greedy_reply(model: Any, cold: dict[str, Any]) -> None:
    """Each prompt has its samples side by side."""
    sampling = Sampling(samples=2, max_new_tokens=8, **cold)
    greedy = generate_plainly(model, _IDS, sampling, "greedy", _STOPS, _pass)
    drawn = generate_plainly(model, _IDS, sampling, "sample", _STOPS, _pass)
    assert [row.prompt for row in drawn] == [0, 0, 1, 1]
    assert [row.tokens for row in drawn] == [row.tokens for row in greedy for _ in range(2)]


def test_check_may_stop_the_work(model: Any) -> None:
    """The deadline is looked at at every step."""

    def over() -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        generate_plainly(model, _IDS, Sampling(), "greedy", _STOPS, over)
