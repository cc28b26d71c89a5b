"""Finetuning on the retain set alone."""

from dataclasses import dataclass
from typing import ClassVar

from unlearn_core import _checks
from unlearn_core.batch import Batch
from unlearn_core.forward import Forward
from unlearn_core.method import LossParts, Method, Need
from unlearn_core.methods._terms import nll, supplied


@dataclass(frozen=True, kw_only=True)
class RetainFinetune(Method):
    """Finetuning on the retain set.

    α · NLL(retain). It pulls up the probability of what is to be kept, and leaves forgetting to oblivion.

    Attributes:
        retain_weight: α, the weight of the retain term. Default 1, as in every finetuning.
    """

    paper: ClassVar[str] = "Golatkar et al. 2020, https://arxiv.org/abs/1911.04933"
    summary: ClassVar[str] = "Goes on training on what is kept; the baseline of doing nothing about the rest."
    needs: ClassVar[frozenset[Need]] = frozenset({"retain"})

    retain_weight: float = 1.0

    def __post_init__(self) -> None:
        _checks.positive("retain_weight", self.retain_weight)

    def loss(self, forward: Forward, forget: Batch | None, retain: Batch | None) -> LossParts:
        """Returns α · NLL(retain); `forget` is not read."""
        retain_loss = nll(forward, supplied(retain, "retain"))
        return LossParts(self.retain_weight * retain_loss, None, retain_loss)
