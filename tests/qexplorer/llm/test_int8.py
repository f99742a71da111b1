import pytest

from qexplorer.llm.int8 import quantise


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_quantised_layer_is_close_to_its_original(bias: bool) -> None:
    """The product in 8 bits is within 3 % of the exact one, also in rows beside one with huge values."""
    import torch

    generator = torch.Generator().manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(64, 32, bias=bias))
    inputs = torch.randn(3, 5, 64, generator=generator)
    inputs[0, 0] *= 1000
    with torch.inference_mode():
        exact = model(inputs)
        close = quantise(model)(inputs)
    error = (close - exact).norm(dim=-1) / exact.norm(dim=-1)
    assert close.shape == exact.shape
    assert error.max() < 0.03


def test_rows_of_nothing_stay_nothing() -> None:
    """A row of zeros has no scale and gives zeros."""
    import torch

    model = quantise(torch.nn.Sequential(torch.nn.Linear(8, 4, bias=False)))
    with torch.inference_mode():
        assert model(torch.zeros(2, 8)).abs().max() == 0


def test_large_weights_are_not_cut_off() -> None:
    """Weights and inputs that are all at their largest give the exact sum: no pair overflows."""
    import torch

    linear = torch.nn.Linear(256, 2, bias=False)
    with torch.inference_mode():
        linear.weight.fill_(1.0)
        product = quantise(torch.nn.Sequential(linear))(torch.ones(1, 256))
    assert product.flatten().tolist() == pytest.approx([256.0, 256.0], rel=0.01)
