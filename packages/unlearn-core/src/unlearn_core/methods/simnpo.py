"""Negative preference optimization without a reference."""

from dataclasses import dataclass
from typing import ClassVar

from unlearn_core import _checks
from unlearn_core.batch import Batch
from unlearn_core.forward import Forward
from unlearn_core.losses import sequence_sums, simnpo_loss
from unlearn_core.losses._answers import answer_mask
from unlearn_core.method import LossParts, Method, Need
from unlearn_core.methods._terms import nll, supplied, weigh


@dataclass(frozen=True, kw_only=True)
class SimNPO(Method):
    """Simple negative preference optimization.

    γ · SimNPO(forget) + α · NLL(retain). It pushes down the mean log-probability of a token of the answers to forget,
    less and less once it is below -δ, and pulls up the answers to keep.

    Attributes:
        beta: β, the inverse temperature. Default 4.5, as in the paper on TOFU and in OpenUnlearning.
        delta: δ, the margin in nats a token. Default 0, likewise.
        forget_weight: γ, the weight of the forget term. Default 0.125, as in OpenUnlearning.
        retain_weight: α, the weight of the retain term. Default 1, likewise.
    """

    paper: ClassVar[str] = "Fan et al. 2024, https://arxiv.org/abs/2410.07163"
    summary: ClassVar[str] = "NPO without a reference, normalized by the length of the answer."
    needs: ClassVar[frozenset[Need]] = frozenset({"forget", "retain"})
    together: ClassVar[tuple[Need, ...]] = ("forget", "retain")

    beta: float = 4.5
    delta: float = 0.0
    forget_weight: float = 0.125
    retain_weight: float = 1.0

    def __post_init__(self) -> None:
        _checks.positive("beta", self.beta)
        _checks.number("delta", self.delta)
        _checks.positive("forget_weight", self.forget_weight)
        _checks.non_negative("retain_weight", self.retain_weight)

    def loss(self, forward: Forward, forget: Batch | None, retain: Batch | None) -> LossParts:
        """Returns γ · SimNPO(forget) + α · NLL(retain)."""
        forget = supplied(forget, "forget")
        logps = sequence_sums(forward.token_logps(forget), forget.labels)
        lengths = answer_mask(forget.labels).sum(1)
        forget_loss = simnpo_loss(logps, lengths, beta=self.beta, delta=self.delta) * forget.sequence_share
        retain_loss = nll(forward, supplied(retain, "retain"))
        return weigh(forget_loss, retain_loss, forget_weight=self.forget_weight, retain_weight=self.retain_weight)
