"""Jensen-Shannon unlearning."""

from dataclasses import dataclass
from typing import ClassVar

from unlearn_core import _checks
from unlearn_core.batch import Batch
from unlearn_core.forward import Forward
from unlearn_core.losses import jensun_loss, js_loss
from unlearn_core.method import Asked, LossParts, Method, Need
from unlearn_core.methods._terms import supplied, weigh


@dataclass(frozen=True, kw_only=True)
class JensUn(Method):
    """Unlearning with the Jensen-Shannon divergence.

    γ · JSD(model, refusal) on the forget questions + α · JSD(model, reference) on retain. It pulls the model to
    refusals and holds what it says of what is to be kept; both terms are bounded by log 2, so that neither can run
    away.

    Attributes:
        forget_weight: γ, the weight of the forget term. Default 1: the paper tunes it by model and data.
        retain_weight: α, the weight of the retain term. Default 1, likewise.
    """

    paper: ClassVar[str] = "Singh et al. 2025, https://arxiv.org/abs/2509.02820"
    summary: ClassVar[str] = "Learns refusals and stays near the reference, both by a bounded divergence."
    needs: ClassVar[frozenset[Need]] = frozenset({"forget", "retain", "idk", "ref_logits"})
    together: ClassVar[tuple[Need, ...]] = ("idk", "retain")

    forget_weight: float = 1.0
    retain_weight: float = 1.0

    def __post_init__(self) -> None:
        _checks.positive("forget_weight", self.forget_weight)
        _checks.non_negative("retain_weight", self.retain_weight)

    def references(self) -> frozenset[Asked]:
        """Returns the reference's logits on retain."""
        return frozenset({Asked("retain")})

    def loss(self, forward: Forward, forget: Batch | None, retain: Batch | None) -> LossParts:
        """Returns γ · JSD(model, refusal) on forget + α · JSD(model, reference) on retain."""
        refusals, retain = supplied(supplied(forget, "forget").idk, "idk"), supplied(retain, "retain")
        ref_logits = supplied(retain.ref_logits, "ref_logits")()
        forget_loss = jensun_loss(forward(refusals), refusals.labels) * refusals.token_share
        retain_loss = js_loss(forward(retain), ref_logits, retain.labels) * retain.token_share
        return weigh(forget_loss, retain_loss, forget_weight=self.forget_weight, retain_weight=self.retain_weight)
