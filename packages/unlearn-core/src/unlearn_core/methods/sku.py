"""Selective knowledge negation, the first stage."""

from dataclasses import dataclass
from typing import ClassVar

from unlearn_core import _checks
from unlearn_core.batch import Batch
from unlearn_core.forward import Forward
from unlearn_core.method import Asked, LossParts, Method, Need
from unlearn_core.methods._terms import kl, nll, supplied, weigh


@dataclass(frozen=True, kw_only=True)
class SKU(Method):
    """Selective knowledge negation, the stage that learns.

    γ · (NLL(forget) + ρ · NLL(forget questions with other rows' answers)) - α · KL(reference ‖ model) on retain. It
    makes a model that knows what is to be forgotten even better, and little else: the second stage, task arithmetic,
    takes the change away from the weights. By itself it forgets nothing.

    Attributes:
        forget_weight: γ, the weight of the forget term. Default 1: the paper tunes it by model.
        random_weight: ρ, the weight of the other rows' answers in it. Default 1, likewise.
        retain_weight: α, the weight of the divergence that is sought. Default 1, likewise.
    """

    paper: ClassVar[str] = "Liu et al. 2024, https://arxiv.org/abs/2402.10058"
    summary: ClassVar[str] = (
        "Learns what is to be forgotten and drifts on what is to be kept, for its change to be negated."
    )
    needs: ClassVar[frozenset[Need]] = frozenset({"forget", "retain", "shuffled", "ref_logits"})
    together: ClassVar[tuple[Need, ...]] = ("forget", "shuffled", "retain")

    forget_weight: float = 1.0
    random_weight: float = 1.0
    retain_weight: float = 1.0

    def __post_init__(self) -> None:
        _checks.positive("forget_weight", self.forget_weight)
        _checks.non_negative("random_weight", self.random_weight)
        _checks.non_negative("retain_weight", self.retain_weight)

    def references(self) -> frozenset[Asked]:
        """Returns the reference's logits on retain."""
        return frozenset({Asked("retain")})

    def loss(self, forward: Forward, forget: Batch | None, retain: Batch | None) -> LossParts:
        """Returns γ · (NLL(forget) + ρ · NLL(other rows' answers)) - α · KL(reference ‖ model) on retain."""
        forget = supplied(forget, "forget")
        mismatch = nll(forward, supplied(forget.shuffled, "shuffled"))
        forget_loss = nll(forward, forget) + self.random_weight * mismatch
        retain_loss = -kl(forward, supplied(retain, "retain"))
        return weigh(forget_loss, retain_loss, forget_weight=self.forget_weight, retain_weight=self.retain_weight)
