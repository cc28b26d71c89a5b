"""Gradient difference."""

from dataclasses import dataclass
from typing import ClassVar

from unlearn_core import _checks
from unlearn_core.method import Batch, Forward, LossParts, Method, Need
from unlearn_core.methods._terms import nll, supplied, weigh


@dataclass(frozen=True, kw_only=True)
class GradDiff(Method):
    """Gradient difference.

    γ · -NLL(forget) + α · NLL(retain). It pushes down the probability of the answers to forget, and pulls up that of
    the answers to keep.

    Attributes:
        forget_weight: γ, the weight of the forget term. Default 1, as in TOFU and OpenUnlearning.
        retain_weight: α, the weight of the retain term. Default 1, likewise.
    """

    paper: ClassVar[str] = "Liu et al. 2022, https://arxiv.org/abs/2203.12817"
    summary: ClassVar[str] = "Ascends the loss of the answers to forget, descends that of the answers to keep."
    needs: ClassVar[frozenset[Need]] = frozenset({"forget", "retain"})

    forget_weight: float = 1.0
    retain_weight: float = 1.0

    def __post_init__(self) -> None:
        _checks.positive("forget_weight", self.forget_weight)
        _checks.non_negative("retain_weight", self.retain_weight)

    def loss(self, forward: Forward, forget: Batch | None, retain: Batch | None) -> LossParts:
        """Returns γ · -NLL(forget) + α · NLL(retain)."""
        forget_loss = -nll(forward, supplied(forget, "forget"))
        retain_loss = nll(forward, supplied(retain, "retain"))
        return weigh(forget_loss, retain_loss, forget_weight=self.forget_weight, retain_weight=self.retain_weight)
