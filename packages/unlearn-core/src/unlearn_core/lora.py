"""The size of what LoRA adds to a model's weights."""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import Module
from torch.utils.checkpoint import checkpoint


def lora_l1(model: Module) -> Float[Tensor, ""]:
    """Returns the L1 norm of the change that LoRA makes: Σ |s · B · A| over all adapted weights and their entries.

    A regularizer that any method takes. Of the product, not of the factors: these can be large where their product is
    not, and only the product changes the model. The products are computed again in the backward pass, so that no more
    than one of them exists at a time.

    Args:
        model: Its adapted modules have `lora_A` and `lora_B`, modules with a `weight` by the adapter's name, and
            `scaling`, numbers by that name, as those of PEFT do.

    Raises:
        ValueError: If no module is adapted.

    Example:
        >>> from torch.nn import Linear, Module, ModuleDict
        >>> adapted = Module()
        >>> adapted.lora_A = ModuleDict({"default": Linear(3, 1, bias=False)})
        >>> adapted.lora_B = ModuleDict({"default": Linear(1, 2, bias=False)})
        >>> adapted.scaling = {"default": 2.0}
        >>> for factor in (adapted.lora_A, adapted.lora_B):
        ...     _ = torch.nn.init.constant_(factor["default"].weight, -1.0)
        >>> lora_l1(adapted).item()  # 6 entries of 2 · 1
        12.0
    """
    norms = [checkpoint(_norm, *factors, use_reentrant=False) for factors in _factors(model)]
    if not norms:
        raise ValueError("the model has no LoRA weights: add an adapter, or leave the L1 norm of its change out.")
    total: Tensor = torch.stack(norms).sum()
    return total


def _factors(model: Module) -> Iterator[tuple[Tensor, Tensor, float]]:
    for module in model.modules():
        first: Any = getattr(module, "lora_A", {})
        for name in first:
            second: Any = module.lora_B
            scaling: Any = module.scaling
            yield second[name].weight, first[name].weight, scaling[name]


def _norm(second: Tensor, first: Tensor, scale: float) -> Tensor:
    change = scale * (second.flatten(1) @ first.flatten(1))
    return change.abs().sum(dtype=torch.promote_types(change.dtype, torch.float32))
