"""Weighted gradient ascent."""

from dataclasses import dataclass
from typing import ClassVar

from unlearn_core import _checks
from unlearn_core.batch import Batch
from unlearn_core.forward import Forward
from unlearn_core.losses import wga_loss
from unlearn_core.method import LossParts, Method, Need
from unlearn_core.methods._terms import nll, supplied, weigh


@dataclass(frozen=True, kw_only=True)
class WGA(Method):
    """Weighted gradient ascent.

    γ · mean p^β · log p (forget) + α · NLL(retain). It pushes down the probability of the answers to forget, less and
    less as their tokens become unlikely, and pulls up the answers to keep.

    Attributes:
        beta: β, the exponent of the weight; 0 is GradDiff. Default 1, as in the paper and OpenUnlearning.
        forget_weight: γ, the weight of the forget term. Default 1, likewise.
        retain_weight: α, the weight of the retain term. Default 1, likewise.
    """

    paper: ClassVar[str] = "Wang et al. 2025, https://arxiv.org/abs/2502.19301"
    summary: ClassVar[str] = "Ascends the loss of the answers to forget, each token as far as it is still likely."
    needs: ClassVar[frozenset[Need]] = frozenset({"forget", "retain"})
    together: ClassVar[tuple[Need, ...]] = ("forget", "retain")

    beta: float = 1.0
    forget_weight: float = 1.0
    retain_weight: float = 1.0

    def __post_init__(self) -> None:
        _checks.non_negative("beta", self.beta)
        _checks.positive("forget_weight", self.forget_weight)
        _checks.non_negative("retain_weight", self.retain_weight)

    def loss(self, forward: Forward, forget: Batch | None, retain: Batch | None) -> LossParts:
        """Returns γ · mean p^β · log p (forget) + α · NLL(retain)."""
        forget = supplied(forget, "forget")
        forget_loss = wga_loss(forward(forget), forget.labels, beta=self.beta) * forget.token_share
        retain_loss = nll(forward, supplied(retain, "retain"))
        return weigh(forget_loss, retain_loss, forget_weight=self.forget_weight, retain_weight=self.retain_weight)
