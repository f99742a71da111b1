"""Linear layers in 8 bits for processors without bfloat16 units.

Weights have one scale an output, and 7 bits: products of pairs are then never cut off on processors that add
them in 16 bits. Inputs have one scale a row: a few values of this kind of model are a hundred times the others,
and under a scale for the whole batch the other rows would be lost.
"""

import warnings
from typing import TYPE_CHECKING, Any

from qexplorer.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor

_MOST = 63
_LEAST_SCALE = 1e-8


def quantise(model: Any) -> Any:
    """Replace every linear layer of the model, in place, and return it. CPU only.

    Raises ModelError when this build of torch cannot.
    """
    import torch

    try:
        for module in list(model.modules()):
            for name, child in list(module.named_children()):
                if isinstance(child, torch.nn.Linear):
                    setattr(module, name, _layer(child))
    except (AttributeError, RuntimeError) as error:
        raise ModelError("This build of torch cannot compute in int8 here", remedy="Use dtype float32") from error
    return model


def _layer(linear: Any) -> Any:
    """Return a layer that computes what `linear` does, in 8 bits."""
    import torch

    weight = linear.weight.detach().float()
    scales = (weight.abs().amax(dim=1) / _MOST).clamp(min=_LEAST_SCALE).double()
    zeros = torch.zeros(len(weight), dtype=torch.long)
    with warnings.catch_warnings():
        # The tensor type is called deprecated; the product below takes its weights in no other.
        warnings.simplefilter("ignore")
        packed = torch.ops.quantized.linear_prepack(
            torch.quantize_per_channel(weight, scales, zeros, 0, torch.qint8), None
        )
    bias = None if linear.bias is None else linear.bias.detach().float()

    def forward(inputs: "Tensor") -> "Tensor":
        scale = inputs.abs().amax(dim=-1, keepdim=True).clamp(min=_LEAST_SCALE)
        product: Tensor = torch.ops.quantized.linear_dynamic(inputs / scale, packed) * scale
        return product if bias is None else product + bias

    layer = torch.nn.Module()
    layer.forward = forward
    return layer
