"""Gradient ascent, held by the divergence from the reference."""

from dataclasses import dataclass
from typing import ClassVar

from unlearn_core import _checks
from unlearn_core.batch import Batch
from unlearn_core.forward import Forward
from unlearn_core.method import Asked, LossParts, Method, Need
from unlearn_core.methods._terms import kl, nll, supplied, weigh


@dataclass(frozen=True, kw_only=True)
class KL(Method):
    """KL minimization.

    γ · -NLL(forget) + α · KL(reference ‖ model) on retain. It pushes down the probability of the answers to forget, and
    holds what the model says where the answers to keep are predicted.

    Attributes:
        forget_weight: γ, the weight of the forget term. Default 1, as in TOFU.
        retain_weight: α, the weight of the divergence. Default 1, likewise.
    """

    paper: ClassVar[str] = "Maini et al. 2024, https://arxiv.org/abs/2401.06121"
    summary: ClassVar[str] = "Ascends the loss of the answers to forget, and stays near the reference on those to keep."
    needs: ClassVar[frozenset[Need]] = frozenset({"forget", "retain", "ref_logits"})
    together: ClassVar[tuple[Need, ...]] = ("forget", "retain")

    forget_weight: float = 1.0
    retain_weight: float = 1.0

    def __post_init__(self) -> None:
        _checks.positive("forget_weight", self.forget_weight)
        _checks.non_negative("retain_weight", self.retain_weight)

    def references(self) -> frozenset[Asked]:
        """Returns the reference's logits on retain."""
        return frozenset({Asked("retain")})

    def loss(self, forward: Forward, forget: Batch | None, retain: Batch | None) -> LossParts:
        """Returns γ · -NLL(forget) + α · KL(reference ‖ model) on retain."""
        forget_loss = -nll(forward, supplied(forget, "forget"))
        retain_loss = kl(forward, supplied(retain, "retain"))
        return weigh(forget_loss, retain_loss, forget_weight=self.forget_weight, retain_weight=self.retain_weight)
