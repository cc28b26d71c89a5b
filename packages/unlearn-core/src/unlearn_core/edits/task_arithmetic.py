"""Task arithmetic."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import Module

from unlearn_core import _checks
from unlearn_core.batch import Batch
from unlearn_core.edit import Edit
from unlearn_core.forward import Forward
from unlearn_core.material import Material
from unlearn_core.method import LossParts, Method, Need
from unlearn_core.methods._terms import nll, supplied


@dataclass(frozen=True, kw_only=True)
class Memorize(Method):
    """Finetuning on what is to be forgotten."""

    paper: ClassVar[str] = "Ilharco et al. 2022, https://arxiv.org/abs/2212.04089"
    summary: ClassVar[str] = "Descends the loss of the answers to forget."
    needs: ClassVar[frozenset[Need]] = frozenset({"forget"})

    def loss(self, forward: Forward, forget: Batch | None, retain: Batch | None) -> LossParts:
        """Returns NLL(forget)."""
        term = nll(forward, supplied(forget, "forget"))
        return LossParts(term, term, None)


_MEMORIZE = Memorize()


@dataclass(frozen=True, kw_only=True)
class TaskArithmetic(Edit):
    """Task arithmetic.

    θ - λ · (θ⁺ - θ), where θ⁺ is a copy of the model that was finetuned on the rows to forget: a step away from what
    knowing them better looks like. With SKU for what the copy learns by, this is SKU's second stage.

    Attributes:
        scale: λ, how far to go. Default 1, plain negation; the paper chooses it on held-out data.
        learn: The loss method by which the copy learns. Default the NLL of the answers to forget, as in the paper.
    """

    paper: ClassVar[str] = "Ilharco et al. 2022, https://arxiv.org/abs/2212.04089"
    summary: ClassVar[str] = "Subtracts what finetuning on the rows to forget adds to the weights."
    needs: ClassVar[frozenset[str]] = frozenset({"forget", "train"})

    scale: float = 1.0
    learn: Method = _MEMORIZE

    def __post_init__(self) -> None:
        _checks.positive("scale", self.scale)
        if not isinstance(self.learn, Method):
            raise TypeError(
                f"`learn` must be a loss method, got {self.learn!r}: `build_method` makes one from its name."
            )

    def apply(self, model: Module, material: Material) -> None:
        """Trains a copy, and negates the difference."""
        trained = copy.deepcopy(model)
        material.train(trained, self.learn)
        negate(model, dict(trained.named_parameters()), scale=self.scale)


@torch.no_grad()
def negate(model: Module, trained: Mapping[str, Tensor], *, scale: float) -> None:
    """Sets every weight θ of `model` to θ - scale · (trained - θ).

    Args:
        model: Edited in place.
        trained: The other weights, by name.
        scale: How far to go.

    Raises:
        ValueError: If a weight is missing among the others, has another shape there, or would not be finite. The model
            is then left as it was.

    Example:
        >>> model = torch.nn.Linear(1, 1, bias=False)
        >>> _ = model.weight.data.fill_(1.0)
        >>> negate(model, {"weight": torch.tensor([[1.5]])}, scale=2.0)
        >>> model.weight.item()
        0.0
    """
    parameters = dict(model.named_parameters())
    for name, weight in parameters.items():
        if name not in trained or trained[name].shape != weight.shape:
            raise ValueError(f"the trained copy has no weight `{name}` of shape {list(weight.shape)}; copy this model.")
        if not (weight - scale * (trained[name] - weight)).isfinite().all():
            raise ValueError(
                f"`{name}` would not be finite after the edit: look at the training on the rows to forget, or lower "
                f"`scale`, which is {scale}."
            )
    for name, weight in parameters.items():
        weight.sub_(scale * (trained[name] - weight))
