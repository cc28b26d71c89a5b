"""Negative preference optimization."""

from dataclasses import dataclass
from typing import ClassVar

from unlearn_core import _checks
from unlearn_core.batch import Batch
from unlearn_core.forward import Forward
from unlearn_core.losses import npo_loss
from unlearn_core.method import LossParts, Method, Need
from unlearn_core.methods._terms import nll, scored, supplied, weigh


@dataclass(frozen=True, kw_only=True)
class NPO(Method):
    """Negative preference optimization.

    γ · NPO(forget) + α · NLL(retain). It pushes the answers to forget below their probability under the reference, less
    and less as they sink, and pulls up the answers to keep.

    Attributes:
        beta: β, the inverse temperature; towards 0 the forget term becomes gradient ascent. Default 0.1, as in the
            paper.
        forget_weight: γ, the weight of the forget term. Default 1, as in the paper and OpenUnlearning.
        retain_weight: α, the weight of the retain term; 0 gives the paper's NPO without one. Default 1, likewise.
    """

    paper: ClassVar[str] = "Zhang et al. 2024, https://arxiv.org/abs/2404.05868"
    summary: ClassVar[str] = "Disprefers the answers to forget relative to the reference: an ascent that fades."
    needs: ClassVar[frozenset[Need]] = frozenset({"forget", "retain", "ref_logps"})
    together: ClassVar[tuple[Need, ...]] = ("forget", "retain")

    beta: float = 0.1
    forget_weight: float = 1.0
    retain_weight: float = 1.0

    def __post_init__(self) -> None:
        _checks.positive("beta", self.beta)
        _checks.positive("forget_weight", self.forget_weight)
        _checks.non_negative("retain_weight", self.retain_weight)

    def loss(self, forward: Forward, forget: Batch | None, retain: Batch | None) -> LossParts:
        """Returns γ · NPO(forget) + α · NLL(retain)."""
        forget = supplied(forget, "forget")
        logps, ref_logps = scored(forward, forget)
        forget_loss = npo_loss(logps, ref_logps, beta=self.beta) * forget.sequence_share
        retain_loss = nll(forward, supplied(retain, "retain"))
        return weigh(forget_loss, retain_loss, forget_weight=self.forget_weight, retain_weight=self.retain_weight)
