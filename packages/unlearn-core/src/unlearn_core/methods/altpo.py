"""Preference optimization towards alternate answers."""

from dataclasses import dataclass
from typing import ClassVar

from unlearn_core import _checks
from unlearn_core.batch import Batch
from unlearn_core.forward import Forward
from unlearn_core.method import LossParts, Method, Need
from unlearn_core.methods._terms import nll, preference, supplied, weigh


@dataclass(frozen=True, kw_only=True)
class AltPO(Method):
    """Alternate preference optimization.

    γ · DPO(alternate answers over answers, on forget) + α · NLL(retain). It pulls plausible other answers above, and
    pushes the answers to forget below, their probability under the reference, and pulls up the answers to keep.

    Attributes:
        beta: β, the inverse temperature. Default 0.1, as in DPO.
        forget_weight: γ, the weight of the forget term. Default 1, as in the paper.
        retain_weight: α, the weight of the retain term. Default 1, likewise.
    """

    paper: ClassVar[str] = "Mekala et al. 2024, https://arxiv.org/abs/2409.13474"
    summary: ClassVar[str] = "Prefers a plausible other answer to the one to forget, relative to the reference."
    needs: ClassVar[frozenset[Need]] = frozenset({"forget", "retain", "alternate", "ref_logps"})
    together: ClassVar[tuple[Need, ...]] = ("forget", "alternate", "retain")

    beta: float = 0.1
    forget_weight: float = 1.0
    retain_weight: float = 1.0

    def __post_init__(self) -> None:
        _checks.positive("beta", self.beta)
        _checks.positive("forget_weight", self.forget_weight)
        _checks.non_negative("retain_weight", self.retain_weight)

    def loss(self, forward: Forward, forget: Batch | None, retain: Batch | None) -> LossParts:
        """Returns γ · DPO(alternates over answers, on forget) + α · NLL(retain)."""
        forget = supplied(forget, "forget")
        preferred = supplied(forget.alternate, "alternate")
        forget_loss = preference(forward, forget, preferred, beta=self.beta)
        retain_loss = nll(forward, supplied(retain, "retain"))
        return weigh(forget_loss, retain_loss, forget_weight=self.forget_weight, retain_weight=self.retain_weight)
