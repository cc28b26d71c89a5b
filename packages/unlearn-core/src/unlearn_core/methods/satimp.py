"""Saturation and importance weighted ascent."""

from dataclasses import dataclass
from typing import ClassVar

from unlearn_core import _checks
from unlearn_core.batch import Batch
from unlearn_core.forward import Forward
from unlearn_core.losses import satimp_loss
from unlearn_core.method import LossParts, Method, Need
from unlearn_core.methods._terms import nll, supplied, weigh


@dataclass(frozen=True, kw_only=True)
class SatImp(Method):
    """Saturation and importance weighted gradient ascent.

    γ · mean p^β₁ · (1 - p)^β₂ · log p (forget) + α · NLL(retain). It pushes down the probability of the answers to
    forget, least the tokens that are unlikely already or certain anyhow, and pulls up the answers to keep.

    Attributes:
        beta1: β₁, the exponent of p. Default 5, as in the paper's code.
        beta2: β₂, the exponent of 1 - p; at 0 this is WGA. Default 1, likewise.
        forget_weight: γ, the weight of the forget term. Default 1, likewise.
        retain_weight: α, the weight of the retain term. Default 0.1, likewise.
    """

    paper: ClassVar[str] = "Yang et al. 2025, https://arxiv.org/abs/2505.11953"
    summary: ClassVar[str] = (
        "Ascends the loss of the tokens to forget that are neither unlikely yet nor certain anyhow."
    )
    needs: ClassVar[frozenset[Need]] = frozenset({"forget", "retain"})
    together: ClassVar[tuple[Need, ...]] = ("forget", "retain")

    beta1: float = 5.0
    beta2: float = 1.0
    forget_weight: float = 1.0
    retain_weight: float = 0.1

    def __post_init__(self) -> None:
        _checks.non_negative("beta1", self.beta1)
        _checks.non_negative("beta2", self.beta2)
        _checks.positive("forget_weight", self.forget_weight)
        _checks.non_negative("retain_weight", self.retain_weight)

    def loss(self, forward: Forward, forget: Batch | None, retain: Batch | None) -> LossParts:
        """Returns γ · mean p^β₁ · (1 - p)^β₂ · log p (forget) + α · NLL(retain)."""
        forget = supplied(forget, "forget")
        forget_loss = (
            satimp_loss(forward(forget), forget.labels, beta1=self.beta1, beta2=self.beta2) * forget.token_share
        )
        retain_loss = nll(forward, supplied(retain, "retain"))
        return weigh(forget_loss, retain_loss, forget_weight=self.forget_weight, retain_weight=self.retain_weight)
